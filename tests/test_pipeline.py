"""What dvc's users rely on, shown on real dvc: digits through all stages, and what reruns, repeats and travels."""

import json
import re
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from frostline.files import SUMS, read_json
from tests.project import commit, copy_project, read_params, read_study, run, write_params
from tests.reports import write_study
from tests.toys import cnn3_weights

BACKBONE = "cnn3"
STAGES = ("fetch", "prepare", "race", "train", "evaluate", "compare", "look", "finish", "plot")


def tiny_study(folder: Path) -> Path:
    """Return a copy of the project whose params are the digits study, made smaller still.

    Its network is one of our own: in so many processes, libraries of models would take longer to load than it to learn.
    """
    copy_project(folder)
    params = read_study("quick")
    params["backbones"] = [BACKBONE]
    params["data"]["folds"] = 2
    params["training"] |= {"epochs": 2, "batch_size": 128, "schedule": "constant"}
    for plan in ("head", "stage4"):
        params["plans"][plan] |= {"weights": cnn3_weights(folder), "learning_rates": [0.001]}
    write_params(folder, params)
    commit(folder, "digits")
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository in which the tiny study has run and is committed."""
    folder = tiny_study(tmp_path_factory.mktemp("study"))
    run(folder, "dvc", "repro")
    commit(folder, "study")
    return folder


def stages_run(output: str) -> list[str]:
    return re.findall(r"Running stage '(.+?)'", output)


def test_a_second_repro_runs_nothing(study: Path) -> None:
    output = run(study, "dvc", "repro").stdout
    assert not stages_run(output)
    assert "Data and pipelines are up to date." in output


def test_the_study_leaves_finished_fits_and_nothing_unfinished(study: Path) -> None:
    kept = list(study.glob(".dvc/tmp/frostline/*"))
    assert {path.suffix for path in kept} == {".pt", ".json", ".lock"}
    assert len(kept) == 3 * 4  # two plans in two folds
    assert not [path for path in study.rglob("*unfinished*") if ".dvc" not in path.parts]


def test_all_plans_are_scored_on_the_same_images_of_each_replicate(study: Path) -> None:
    head, stage4 = (
        pd.read_parquet(study / f"data/scores/{BACKBONE}-{plan}/predictions.parquet") for plan in ("head", "stage4")
    )
    about = ["replicate", "image", "id", "label"]
    assert head[about].equals(stage4[about])
    tested = [set(mine.image) for _, mine in head.groupby("replicate")]
    assert len(tested) == 2
    assert not tested[0] & tested[1]
    assert len(tested[0] | tested[1]) == len(head)


def test_no_test_image_of_a_replicate_is_trained_or_validated_on(study: Path) -> None:
    splits = pd.read_csv(study / "data/prepared/splits.csv")
    scored = pd.read_parquet(study / f"data/scores/{BACKBONE}-head/predictions.parquet")
    for replicate, mine in splits.groupby("replicate"):
        assert set(scored[scored.replicate == replicate].image) == set(mine[mine.split == "test"].image)
        assert len(mine) == mine.image.nunique()


def test_the_headline_is_flat_with_fixed_keys(study: Path) -> None:
    headline = json.loads((study / "reports/metrics.json").read_text())
    assert list(headline) == [
        *("advised_plan", "advised_backbone", "advice", "probability", "expected_shortfall", "resolution"),
        *("accuracy", "accuracy_low", "accuracy_high", "accuracy_sd"),
        *("trainable_parameters", "trainable_percent", "train_flops", "train_seconds", "peak_memory_bytes"),
        *("plans", "audit", "accuracy_after_choice", "repeats", "replicates"),
    ]
    assert headline["advised_plan"] == "stage4"
    assert (headline["plans"], headline["audit"], headline["replicates"]) == (2, "passed", 2)


def test_the_made_up_tables_behind_tests_of_pages_have_the_columns_of_real_ones(study: Path, tmp_path: Path) -> None:
    made_up = write_study(tmp_path)
    for name in ("plans", "costs", "runs", "pairs", "history", "confusion", "shifted", "stopped"):
        columns = pd.read_csv(study / f"reports/{name}.csv")
        real = {each for each in columns if not each.startswith(("recall_", "top_5_"))}
        shown = {each for each in pd.read_csv(made_up / f"{name}.csv") if not each.startswith("recall_")}
        assert shown == real
    for name, folder in (
        ("advice", "reports"),
        ("study", "reports"),
        ("look/look", "reports"),
        ("source", "data/raw"),
    ):
        assert set(read_json(made_up / f"{name}.json")) == set(read_json(study / folder / f"{name}.json"))


def contents(folder: Path, *patterns: str) -> dict[str, bytes]:
    paths = [path for pattern in patterns for path in folder.glob(pattern) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.long
def test_two_fresh_runs_give_the_same_bytes(study: Path, tmp_path: Path) -> None:
    """Measured seconds and bytes stand in costs.csv, costs.json, the runs' history.csv, the page and metrics.json.

    So the sums of their folders differ too.
    """
    again = tiny_study(tmp_path)
    run(again, "dvc", "repro")
    patterns = ("data/raw/*", "data/prepared/*", "data/runs/*/*", "data/scores/*/*", "reports/**/*")
    patterns += tuple(f"data/model/{name}" for name in ("model.safetensors", "model.onnx", "calibration.csv"))
    first, second = contents(study, *patterns), contents(again, *patterns)
    assert set(first) == set(second)
    differing = {name for name in first if first[name] != second[name]}
    runs = [f"data/runs/{BACKBONE}-{plan}" for plan in ("head", "stage4")]
    measured = {f"{each}/{name}" for each in runs for name in ("costs.json", "history.csv")}
    measured |= {f"{each.replace('runs', 'scores')}/costs.json" for each in runs}
    measured |= {
        f"reports/{name}" for name in ("advice.json", "costs.csv", "metrics.json", "model.json", "report.html")
    }
    costs = ("train_seconds", "peak_memory_bytes")
    measured |= {
        f"reports/figures/{what}_{cost}.{kind}"
        for what in ("difference", "accuracy")
        for cost in costs
        for kind in ("svg", "png")
    }
    measured |= {f"{name.rpartition('/')[0]}/{SUMS}" for name in measured}
    assert differing <= measured
    headlines = [json.loads(each["reports/metrics.json"]) for each in (first, second)]
    assert all(each.pop(cost) > 0 for each in headlines for cost in costs)
    assert headlines[0] == headlines[1]
    for each in runs:
        tables = [pd.read_csv(folder / each / "history.csv").drop(columns="seconds") for folder in (study, again)]
        assert tables[0].equals(tables[1])


def test_editing_one_plan_reruns_that_plan_alone_and_the_comparison(study: Path) -> None:
    params = read_params(study)
    params["plans"]["head"]["learning_rates"] = [0.02]
    write_params(study, params)
    key = f"{BACKBONE}-head"
    assert stages_run(run(study, "dvc", "repro").stdout) == [
        "race", f"train@{key}", f"evaluate@{key}", "compare", "look", "finish", "plot",
    ]  # fmt: skip
    run(study, "git", "checkout", "--quiet", "params.yaml")
    restored = run(study, "dvc", "repro").stdout
    assert f"Stage 'train@{BACKBONE}-head' is cached" in restored
    run(study, "git", "checkout", "--quiet", ".")


@pytest.mark.long
def test_more_repeats_train_only_what_is_new_in_an_experiment_and_by_repro(study: Path) -> None:
    def list_trained(told: str) -> list[str]:
        return sorted(re.findall(r"replicate (\d+): best of", told))

    one = json.loads((study / "reports/metrics.json").read_text())
    told = run(study, "dvc", "exp", "run", "-S", "study.repeats=2").stdout
    assert list_trained(told) == ["2", "2", "3", "3"]
    assert told.count("found, trained before; ") == 4  # of each plan the one that tunes, then the others
    two = json.loads((study / "reports/metrics.json").read_text())
    assert (one["repeats"], one["replicates"], two["repeats"], two["replicates"]) == (1, 2, 2, 4)
    params = read_params(study)
    params["study"]["repeats"] = 3
    write_params(study, params)
    assert list_trained(run(study, "dvc", "repro").stdout) == ["4", "4", "5", "5"]
    run(study, "dvc", "exp", "remove", "--all-commits")
    run(study, "git", "checkout", "--quiet", ".")
    run(study, "dvc", "checkout")


@pytest.mark.long
def test_a_race_is_trained_once_and_tells_what_it_stopped(study: Path) -> None:
    params = read_params(study)
    params["study"]["racing"] = True
    params["plans"]["stage4"]["learning_rates"] = [0.001, 0.00001]
    write_params(study, params)
    told = run(study, "dvc", "repro").stdout
    assert stages_run(told)[0] == "race"
    assert "best of" not in told[told.index("Running stage 'train@") :]  # train takes what the race left
    stopped = pd.read_csv(study / "reports/stopped.csv")
    assert stopped[["plan", "replicates", "epochs"]].values.tolist() == [["stage4", 1, 1]]  # heads are spared
    assert stopped.learning_rate.iloc[0] == 0.00001
    history = pd.read_csv(study / "reports/history.csv")
    assert len(history[(history.plan == "stage4") & ~history.chosen]) == 1
    assert not stages_run(run(study, "dvc", "repro").stdout)
    run(study, "git", "checkout", "--quiet", ".")
    run(study, "dvc", "checkout")


def make_study(folder: Path, *, succeeds: bool) -> str:
    """Run `make study` with this environment in place of a new .venv; return what it printed on both streams."""
    here = Path(sys.executable).parent
    done = run(folder, "make", "study", f"BIN={here}", "--old-file", f"{here}/ready", succeeds=succeeds)
    return done.stdout + done.stderr


def test_a_mistake_in_the_params_stops_before_any_stage_and_costs_nothing(study: Path) -> None:
    before = contents(study, "data/**/*", "reports/**/*")
    params = read_params(study)
    params["training"]["epochs"] = 0
    write_params(study, params)
    told = make_study(study, succeeds=False)
    run(study, "git", "checkout", "--quiet", "params.yaml")
    assert told.splitlines()[0] == "training.epochs must be greater than or equal to 1. Got 0 instead."
    assert not stages_run(told)
    assert contents(study, "data/**/*", "reports/**/*") == before


def test_an_unreadable_image_is_named_and_earlier_outputs_come_back(study: Path, tmp_path: Path) -> None:
    before = contents(study, "data/prepared/*", "data/runs/*/*", "data/scores/*/*", "reports/**/*")
    for name in ("healthy/a.png", "healthy/b.png", "rust/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no image")
    params = read_params(study)
    params["data"] |= {"source": "folder", "folder": str(tmp_path)}
    write_params(study, params)
    told = make_study(study, succeeds=False)
    run(study, "git", "checkout", "--quiet", ".")
    assert "Traceback" not in told
    assert "data must hold only images that can be read. Got healthy/a.png (" in told
    assert contents(study, "data/prepared/*", "data/runs/*/*", "data/scores/*/*", "reports/**/*") == before
    run(study, "dvc", "checkout")


def test_make_study_shows_the_comparison_and_says_when_there_is_nothing_to_run(study: Path) -> None:
    told = make_study(study, succeeds=True)
    assert "Data and pipelines are up to date." in told
    assert "2.57 k" in told
    assert "\nUnfreeze from stage4.\n" in told
    assert str(study / "reports/report.html") in told


def test_pushed_results_arrive_whole_on_a_fresh_clone(study: Path, tmp_path: Path) -> None:
    remote, clone = tmp_path / "remote", tmp_path / "clone"
    run(study, "dvc", "remote", "add", "--force", "--local", "shared", str(remote))
    run(study, "dvc", "push", "--remote", "shared")
    run(tmp_path, "git", "clone", "--quiet", str(study), str(clone))
    assert "up to date" in run(clone, "dvc", "repro", "--allow-missing", "--dry").stdout
    run(clone, "dvc", "remote", "add", "--local", "shared", str(remote))
    run(clone, "dvc", "pull", "--remote", "shared")
    assert "up to date" in run(clone, "dvc", "status").stdout
    assert contents(clone, "data/runs/*/*") == contents(study, "data/runs/*/*")


@pytest.mark.long
def test_a_queued_grid_gives_one_row_per_plan_and_trains_nothing_new(study: Path) -> None:
    run(study, "dvc", "exp", "run", "--queue", "-S", "study.plans=[head],[stage4]")
    run(study, "dvc", "queue", "start")
    until = time.monotonic() + 300
    while "Success" not in (status := run(study, "dvc", "queue", "status").stdout) or re.search(
        "Queued|Running", status
    ):
        assert time.monotonic() < until, status
        assert "Failed" not in status, status
        time.sleep(2)
    shown = json.loads(run(study, "dvc", "exp", "show", "--json", "--hide-workspace").stdout)
    rows = [experiment["revs"][0]["data"] for experiment in shown[-1]["experiments"]]
    metrics = [row["metrics"]["reports/metrics.json"]["data"] for row in rows]
    assert sorted((each["advised_plan"], each["trainable_parameters"]) for each in metrics) == [
        ("head", 2_570),
        ("stage4", 527_114),
    ]
    for name in (experiment["name"] for experiment in shown[-1]["experiments"]):
        assert "train@" not in "".join(stages_run(run(study, "dvc", "queue", "logs", name).stdout))


def test_dvc_plots_draw_without_a_network(study: Path) -> None:
    run(study, "python", "-m", "frostline.laying.plots_page", "--out", ".dvc/plots/page.html")
    run(study, "dvc", "plots", "show", "--out", "dvc_plots")
    page = (study / "dvc_plots/index.html").read_text()
    assert not re.findall(r"<(?:script|link)[^>]+(?:src|href)=", page)
    for name, datum in (("tradeoff", '"plan": "stage4"'), ("curves", '"val_loss"'), ("confusion", '"predicted"')):
        assert f"plot_{name}" in page.replace("-", "_") or name in page
        assert datum in page
