"""What was measured fills table and figure, and is what it says."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from docs.architectures import build as architectures
from docs.architectures import measure as benchmark
from docs.architectures.build import measure_speed, read_measurements, read_probe, tabulate
from docs.architectures.figure import draw
from docs.build import render_page
from docs.facts import Facts
from frostline.backbones.registry import build_backbone, scale_pixels
from frostline.errors import InputError
from frostline.files import read_csv, read_json, write_csv, write_json
from frostline.laying.studies import load_study, write_study
from tests.docs.architectures import BACKBONES, STUDY, measurement, recorded
from tests.figures import find_overlaps, find_text_boxes
from tests.project import ROOT
from tests.toys import TRAINING

RECORDED = ROOT / "docs" / "architectures"


MEASURED = (
    "forward_images_per_second", "training_images_per_second", "measured_px", "measured_batch",
    "probe_accuracy", "probe_accuracy_low", "probe_accuracy_high", "probe_replicates",
)  # fmt: skip


def shelve(root: Path) -> Path:
    """Return the folder below `root` in which measurements lie."""
    folder = root / "docs" / "architectures"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def page(table: pd.DataFrame, root: Path) -> str:
    """Return the page of the table, beside which lies below `root` what was measured."""
    write_csv(shelve(root) / "architectures.csv", table)
    return render_page(ROOT, Path("architectures/architectures.md"), Facts(root))


def write_record(folder: Path, *names: str) -> None:
    write_csv(folder / "plans.csv", recorded(*names))
    write_json(folder / "source.json", {"origin": "a shelf", "images": 2624})
    write_json(folder / "study.json", {"replicates": [0, 1], "image_px": 224})


@pytest.fixture(scope="module")
def full() -> pd.DataFrame:
    return tabulate(BACKBONES, measurement(*BACKBONES), recorded(*BACKBONES))


def test_speed_is_the_median_over_repeats() -> None:
    asked = measurement("alexnet", "vgg16")
    assert measure_speed("vgg16", asked) == {
        "forward_images_per_second": 64, "training_images_per_second": 32, "measured_px": 224, "measured_batch": 16,
    }  # fmt: skip


def test_a_probe_is_the_head_alone_and_no_other_plan() -> None:
    row = read_probe("vgg16", recorded("alexnet", "vgg16"))
    assert row == {
        "probe_accuracy": 0.8,
        "probe_accuracy_low": 0.7,
        "probe_accuracy_high": 0.95,
        "probe_replicates": 6,
    }


def test_where_nothing_was_measured_the_table_says_nothing_and_the_page_says_why(
    plain: pd.DataFrame, tmp_path: Path
) -> None:
    assert plain[[*MEASURED]].isna().all(axis=None)
    told = page(plain, tmp_path)
    rows = [line for line in told.splitlines() if line.startswith("| `")]
    assert len(rows) == len(BACKBONES)
    assert all(row.endswith(" |  |  |  |") for row in rows)
    assert "- Speed was not measured yet, which `make architectures` does." in told
    assert "- No frozen probe was recorded yet, which `make record STUDY=architectures` does." in told


def test_cells_of_backbones_whose_weights_could_not_be_had_are_empty_and_the_page_says_why(tmp_path: Path) -> None:
    names = ["alexnet", "efficientnet_lite0"]
    write_json(shelve(tmp_path) / "measured.json", measurement("alexnet"))
    write_record(shelve(tmp_path), "efficientnet_lite0")
    table = tabulate(names, measurement("alexnet"), recorded("efficientnet_lite0"))
    told = page(table, tmp_path)
    alexnet, lite0 = (line for line in told.splitlines() if line.startswith("| `"))
    assert alexnet.endswith("| 56.5 % | 128 | 64 |  |")
    assert lite0.endswith("|  |  |  | 0.800 (0.700\N{EN DASH}0.950) |")
    assert "It is not told of `alexnet`: their weights could not be reached where this was made" in told
    assert "Not measured: `efficientnet_lite0`." in told
    assert "(2 threads, AVX512, torch 2.14): the median of 3 repeats of 64 images of 224 px, batch 16" in told
    assert "2 replicates, of 2,624 images (a shelf) at 224 px" in told


def test_made_again_the_files_are_the_same_bytes_and_with_measurements_differ_in_their_columns_alone(
    tmp_path: Path, plain: pd.DataFrame
) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    write_json(folder / "measured.json", measurement("alexnet", "vit_b_16"))
    write_record(folder, "vgg16")
    first, again = (made(folder) for _ in range(2))
    assert first == again
    assert {*first} == {f"architectures.{ending}" for ending in ("csv", "svg", "png")}
    write_csv(tmp_path / "plain.csv", plain)
    measured, unmeasured = read_csv(folder / "architectures.csv"), read_csv(tmp_path / "plain.csv")
    different = {name for name in measured if not measured[name].equals(unmeasured[name])}
    assert different == {*MEASURED}


def made(folder: Path) -> dict[str, bytes]:
    architectures.main(study=STUDY, folder=folder)
    return {path.name: path.read_bytes() for path in folder.glob("architectures.*")}


def test_the_table_that_is_kept_is_what_the_command_makes(tmp_path: Path) -> None:
    kept = [path for path in RECORDED.iterdir() if path.suffix in (".csv", ".json") and path.stem != "architectures"]
    for path in kept:
        shutil.copy(path, shelve(tmp_path))
    table = tabulate(BACKBONES, *read_measurements(shelve(tmp_path)))
    assert page(table, tmp_path) == (RECORDED / "architectures.md").read_text()
    assert (shelve(tmp_path) / "architectures.csv").read_text() == (RECORDED / "architectures.csv").read_text()


def test_the_picture_names_every_backbone_over_each_cost_and_no_two_texts_overlap(full: pd.DataFrame) -> None:
    figure = draw(full)
    assert not find_overlaps(figure)
    texts = [text for text, _ in find_text_boxes(figure)]
    for row in full.to_dict("records"):
        unknown = " (no top-1)" if pd.isna(row["published_top1"]) else ""
        assert texts.count(f"{row['backbone']}, {row['year']}{unknown}") == 1
        assert texts.count(f"{row['backbone']}{unknown}") == 1


def test_without_speeds_the_picture_is_of_the_counted_cost_alone(plain: pd.DataFrame) -> None:
    (axes,) = draw(plain).axes
    assert axes.get_xlabel().startswith("computation of one image forward")


def test_the_picture_is_drawn_where_no_top1_is_published_at_all(plain: pd.DataFrame) -> None:
    texts = [text for text, _ in find_text_boxes(draw(plain[plain.published_top1.isna()]))]
    assert "efficientnet_lite0, 2020 (no top-1)" in texts


def test_in_both_panels_what_costs_more_stands_to_the_right(full: pd.DataFrame) -> None:
    counted, measured = draw(full).axes
    at = [
        {text.get_text().split(",")[0].split(" (")[0]: text.xy[0] for text in axes.texts}
        for axes in (counted, measured)
    ]
    assert sorted(BACKBONES, key=at[0].__getitem__) == list(full.sort_values("flops", kind="stable").backbone)
    assert sorted(BACKBONES, key=at[1].__getitem__) == BACKBONES  # the n-th takes n seconds


def setting(images: int = 16) -> benchmark.Setting:
    noise = np.random.default_rng(0).integers(0, 256, (images, 32, 32, 3), dtype=np.uint8)
    training = TRAINING.model_copy(update={"batch_size": 16, "views": 1})
    return benchmark.Setting(noise, training, "float32", torch.device("cpu"), 1)


def test_what_is_timed_forward_is_the_whole_backbone_on_every_image() -> None:
    asked = setting()
    torch.manual_seed(benchmark.SEED)
    whole = build_backbone("mobilenet_v3_small", "none", benchmark.CLASSES).eval()
    with torch.no_grad():
        wanted = whole(scale_pixels("mobilenet_v3_small", torch.from_numpy(asked.images)))
    torch.testing.assert_close(benchmark.make_predictor("mobilenet_v3_small", asked)(), wanted)


def test_what_is_timed_in_training_lets_every_tensor_of_the_backbone_learn() -> None:
    parts = benchmark.build_fresh("mobilenet_v3_small", setting())
    before = {name: parameter.detach().clone() for name, parameter in parts.named_parameters()}
    benchmark.make_trainer("mobilenet_v3_small", parts, setting())()
    assert [name for name, parameter in parts.named_parameters() if torch.equal(parameter, before[name])] == []


def test_the_first_repeat_is_run_and_not_counted() -> None:
    runs: list[int] = []
    assert len(benchmark.repeat(lambda: runs.append(1), 3)) == 3
    assert len(runs) == 4


def test_what_was_measured_fills_the_table(tmp_path: Path) -> None:
    asked = benchmark.Options(STUDY, ["mobilenet_v3_large"], 32, 16, 32, 2, shelve(tmp_path) / "measured.json")
    benchmark.main(asked)
    measured = read_json(shelve(tmp_path) / "measured.json")
    seconds = measured["backbones"]["mobilenet_v3_large"]
    assert [len(seconds[f"{what}_seconds"]) for what in ("forward", "training")] == [2, 2]
    table = tabulate(["mobilenet_v3_large", "vgg16"], measured, None)
    assert list(table.training_images_per_second > 0) == [True, False]
    assert "2 repeats of 32 images of 32 px, batch 16" in page(table, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--repeats", "0"], "--repeats must be at least 1. Got 0 instead."),
        (["--images", "0"], "--images must be at least 1. Got 0 instead."),
        (["--images", "40"], "--images must be whole batches of 16. Got 40 instead."),
        (["--batch", "8"], "--batch must be at least 16. Got 8 instead."),
        (["--px", "96"], "--px must be what vit_b_16 takes, 224. Got 96 instead."),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line_before_anything_is(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(line)}$"):
        benchmark.main(benchmark.parse([*arguments, "--out", str(tmp_path / "measured.json")]))
    assert capsys.readouterr().out == ""


def test_the_study_without_internet_is_the_other_in_all_but_its_backbones() -> None:
    both, lite = (load_study(f"architectures{name}", ROOT) for name in ("", "_lite0"))
    assert lite.backbones == ["efficientnet_lite0"]
    assert lite.model_copy(update={"backbones": both.backbones}) == both


def test_the_study_probes_frozen_backbones_alone() -> None:
    study = load_study(STUDY, ROOT)
    assert (study.study.plans, study.plans["head"].from_) == (["head"], "head")
    assert study.plans["head"].weights == "pretrained"


def test_the_study_that_was_recorded_is_one_of_both_as_their_files_have_it() -> None:
    """Until one is recorded there is none."""
    ready = {write_study(f"architectures{name}", ROOT) for name in ("", "_lite0")}
    assert {path.read_text() for path in RECORDED.glob("params.yaml")} <= ready
