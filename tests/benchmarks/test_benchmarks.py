"""The benchmark counts, deals and starts as it says; nothing here is timed."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks import steps
from benchmarks.images import ELPV_IMAGES, arrange, find_folder_images, write_elpv_images
from benchmarks.loaders import make_training_loader, make_validation_loader
from benchmarks.machine import name_kind
from benchmarks.options import parse
from benchmarks.published import PUBLISHED, build_model, list_frozen_modules, list_learning
from benchmarks.scripts import get_script
from benchmarks.speed import Measured, Rates, take_turns
from benchmarks.tables import format_figure, make_speed_row, sum_rows
from benchmarks.task import MANY, Outcome, Task
from benchmarks.this_project import (
    build_initial_parts,
    choose_precision,
    count_images,
    cut_parts,
    make_plan,
    prepare_images,
)
from docs.racing import measure as racing
from frostline.constants import BACKBONES, PARTS
from frostline.errors import InputError, join_names
from frostline.hardware import measure_peak_memory
from frostline.params.loading import load_params
from frostline.training.costs import Work
from tests.project import STUDIES

KNOWN = [name for name in PUBLISHED if name in BACKBONES]


def task(**changes: Any) -> Task:
    plain = {"folder": "", "backbone": KNOWN[0], "weights": "none", "plan": "head", "classes": 3}
    return Task(**(plain | {"image_px": 32, "batch_size": 4} | changes))


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return write_elpv_images(tmp_path_factory.mktemp("cells"))


@pytest.fixture(scope="module")
def arranged(cells: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arranged")
    arrange(cells, 24, folder / "images")
    prepare_images(folder, image_px=32, seeds=1)
    return folder


def images(*counts: tuple[str, int]) -> list[Any]:
    return [(None, name, Path(f"/{name}/{number}.png")) for name, count in counts for number in range(count)]


def listed(root: Path) -> dict[str, int]:
    return {path.relative_to(root).as_posix(): len(list(path.iterdir())) for path in sorted(root.glob("*/*"))}


def test_work_is_summed_over_images_and_epochs_with_the_prefix_once() -> None:
    measured = Measured("head", Work(prefix=100, training=3, validation=1), (10, 2))
    assert measured.count_flops(30) == 12 * 100 + 30 * (10 * 3 + 2)


def test_scripts_run_forwards_and_backwards_by_turns() -> None:
    order = [f"{script}{number}" for number, script in take_turns("abc", 3)]
    assert " ".join(order) == "a0 b0 c0 c1 b1 a1 a2 b2 c2"


def test_a_row_compares_medians_and_a_total_the_sums() -> None:
    measured = Measured("head", Work(100, 3, 1), (10, 2), step_seconds=60.0)
    measured.outcomes["lightning"] = [Outcome(1, 0, [12, 9], []), Outcome(3, 0, [12, 11], [])]
    measured.outcomes["project"] = [Outcome(4, 3, [2, 1], []), Outcome(4, 3, [2, 1], [])]
    rates = Rates([{choose_precision(): rate} for rate in (1.0, 2.0, 9.0)])
    row = make_speed_row(measured, rates, ["lightning", "project"], 16)
    assert row["lightning_30_epochs_seconds"] == 2 + 12 + (MANY - 1) * 10
    assert row["project_30_epochs_seconds"] == 4 + 2 + MANY - 1
    assert row["lightning_to_project"] == 304 / 35
    assert row["limit_30_epochs_seconds"] == (1200 + 30 * 32) / 2
    both = sum_rows([row, row], ["lightning", "project"], 0.0)
    assert (row["limit_step_seconds"], row["step_to_limit"]) == (16 * 3 / 2, 2.5)
    assert "step_seconds" not in both
    assert (both["project_epoch_seconds"], both["lightning_to_project"]) == (2, 304 / 35)


def test_figures_have_three_digits() -> None:
    assert [format_figure(x) for x in (1234.5, 12.34, 1.234, 0.1234, 0.01234)] == [
        "1,234",
        "12.3",
        "1.23",
        "0.123",
        "0.0123",
    ]


def test_classes_without_splits_get_all_three_with_every_class(tmp_path: Path) -> None:
    assert arrange(images(("ant", 40), ("bee", 20)), None, tmp_path) == {"train": 48, "validation": 6, "test": 6}
    assert listed(tmp_path) == {
        "test/ant": 4, "test/bee": 2, "train/ant": 32, "train/bee": 16, "validation/ant": 4, "validation/bee": 2
    }  # fmt: skip


def test_no_image_is_in_two_splits_and_every_draw_is_the_same(tmp_path: Path) -> None:
    drawn = []
    for name in ("once", "again"):
        arrange(images(("ant", 40), ("bee", 20)), 24, tmp_path / name)
        drawn.append({(path.parent, path.readlink()) for path in (tmp_path / name).glob("*/*/*")})
    assert {target for _, target in drawn[0]} == {target for _, target in drawn[1]}
    assert len({target for _, target in drawn[0]}) == len(drawn[0])


def test_fewer_images_keep_the_shares_of_classes_and_splits(tmp_path: Path) -> None:
    assert arrange(images(("ant", 400), ("bee", 200)), 48, tmp_path) == {"train": 48, "validation": 6, "test": 6}
    assert (listed(tmp_path)["train/ant"], listed(tmp_path)["train/bee"]) == (32, 16)


def test_for_accuracies_validation_takes_every_image_that_training_leaves(tmp_path: Path) -> None:
    found = images(("ant", 400), ("bee", 200))
    assert arrange(found, 48, tmp_path, spare_validates=True) == {"train": 48, "validation": 60 + 432, "test": 60}
    assert listed(tmp_path)["train/ant"] == 32


def test_a_class_of_one_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^--folder must hold images of every class .*. Got too few of 'bee' instead."
    ):
        arrange(images(("ant", 40), ("bee", 1)), None, tmp_path)


def test_official_splits_are_kept(tmp_path: Path) -> None:
    for split, count in {"train": 8, "validation": 3, "test": 2}.items():
        for name in ("ant", "bee"):
            (tmp_path / "all" / split / name).mkdir(parents=True)
            for number in range(count):
                (tmp_path / "all" / split / name / f"{number}.png").touch()
    counts = arrange(find_folder_images(tmp_path / "all"), None, tmp_path / "arranged")
    assert counts == {"train": 16, "validation": 6, "test": 4}


def test_the_solar_cells_are_dealt_as_many_as_the_beans(cells: list[Any], tmp_path: Path) -> None:
    assert arrange(cells, None, tmp_path) == ELPV_IMAGES
    assert len({path.read_bytes() for path in tmp_path.glob("*/*/*")}) == sum(ELPV_IMAGES.values())


def test_the_command_line_has_defaults_and_takes_what_it_names() -> None:
    options = parse([])
    assert (options.px, options.batch, options.rounds, options.plans) == (224, 16, 2, list(PARTS))
    assert parse(["--images", "48", "--plans", "stem", "head"]).plans == ["stem", "head"]
    quick = parse(["--memory", "--quick"])
    assert (quick.images, quick.rounds, quick.plans, quick.memory) == (32, 1, ["stem", "stage4", "head"], False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--px 8", "--px must be at least 16. Got 8 instead."),
        ("--images 31", "--images must be at least 32. Got 31 instead."),
        ("--rounds 0", "--rounds must be at least 1. Got 0 instead."),
        ("--plans head head", "--plans must name each once. Got head head instead."),
        ("--scripts plain", "--scripts must hold project, with which the others are compared. Got plain instead."),
    ],
)
def test_a_mistake_on_the_command_line_is_told(arguments: str, message: str) -> None:
    with pytest.raises(ValueError, match="must") as told:
        parse(arguments.split())
    assert str(told.value) == message


@pytest.mark.parametrize("backbone", KNOWN)
def test_all_scripts_start_from_the_same_model(backbone: str) -> None:
    at_work = task(backbone=backbone, seed=5)
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(build_model(at_work).eval()(pixels), build_initial_parts(at_work).eval()(pixels))


@pytest.mark.parametrize("backbone", KNOWN)
@pytest.mark.parametrize("plan", PARTS)
def test_the_same_tensors_learn_in_every_script(arranged: Path, backbone: str, plan: str) -> None:
    at_work = task(backbone=backbone, plan=plan, folder=str(arranged), classes=2)
    model = build_model(at_work)
    for module in list_frozen_modules(model, backbone, plan):
        module.requires_grad_(False)
    _, suffix = cut_parts(at_work)
    assert all(torch.equal(*pair) for pair in zip(list_learning(model), list_learning(suffix), strict=True))


def test_every_script_is_shown_the_same_images(arranged: Path) -> None:
    at_work = task(folder=str(arranged))
    shown = tuple(len(loader(at_work).dataset) for loader in (make_training_loader, make_validation_loader))
    assert count_images(at_work) == shown == (24, 3)


@pytest.mark.parametrize("name", ["plain", "project"])
def test_a_script_tells_the_seconds_and_the_accuracy_of_every_epoch(arranged: Path, name: str) -> None:
    outcome = get_script(name)(task(folder=str(arranged), classes=2, epochs=2, steps=1))
    assert len(outcome.epoch_seconds) == len(outcome.accuracies) == 2
    assert outcome.start_seconds > outcome.prefix_seconds >= 0


@pytest.mark.parametrize("fits", [1, 2])
def test_fits_side_by_side_tell_the_share_of_each_and_their_steps_too(
    arranged: Path, fits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = task(folder=str(arranged), classes=2, epochs=2, fits=fits, plan="stem")
    assert make_plan(asked).learning_rates == pytest.approx([asked.learning_rate] * fits, rel=1e-5)
    outcome = get_script("project")(asked)
    assert len(outcome.epoch_seconds) == len(outcome.accuracies) == 2
    assert min(outcome.epoch_seconds) > 0
    monkeypatch.setattr(steps, "SECONDS", 0)
    usual = torch.get_num_threads()
    assert steps.time_steps(asked) > 0
    assert torch.get_num_threads() == max(1, usual // fits)
    torch.set_num_threads(usual)


def test_results_are_kept_apart_by_what_torch_computes_with() -> None:
    assert re.fullmatch(r"[a-z0-9]+(-bf16)?", name_kind())
    assert name_kind().endswith("-bf16") == (choose_precision() == "bfloat16")


def test_lightning_freezes_what_the_plan_freezes_and_by_default_not_its_batch_norm() -> None:
    script = pytest.importorskip("benchmarks.lightning_script", exc_type=ModuleNotFoundError)
    at_work = task(plan="stage2")
    for batch_norm_learns in (False, True):
        classifier = script.Classifier(build_model(at_work), 1e-4)
        script.Freezing(at_work, batch_norm_learns=batch_norm_learns).freeze_before_training(classifier)
        frozen = nn.ModuleList(list_frozen_modules(classifier.model, at_work.backbone, at_work.plan))
        moving = [type(m) for m in frozen.modules() if any(p.requires_grad for p in m.parameters(recurse=False))]
        assert bool(moving) == batch_norm_learns
        assert all(issubclass(each, nn.BatchNorm2d) for each in moving)


def test_a_task_survives_its_journey_to_another_process() -> None:
    assert Task.read_json(task(steps=4).write_json()) == task(steps=4)


def test_memory_is_read_in_bytes() -> None:
    assert 50 * 1024**2 < measure_peak_memory() < 1024**4


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--splits", "0"], "--splits must be at least 1. Got 0 instead."),
        (["--study", "bean"], f"STUDY must name a file in studies: {join_names(STUDIES)}. Got 'bean' instead."),
    ],
)
def test_a_race_that_cannot_be_measured_is_refused_in_one_line(arguments: list[str], line: str) -> None:
    with pytest.raises(InputError) as caught:
        racing.parse(arguments)
    assert str(caught.value) == line


def test_races_are_summed_up_over_splits() -> None:
    row = {"grid_plan": "a", "race_plan": "a", "grid_status": "likely", "race_status": "likely"}
    rows = [
        row | {"grid_seconds": 30.0, "race_seconds": 10.0},
        row | {"grid_seconds": 10.0, "race_seconds": 10.0, "race_plan": "b"},
        row | {"grid_seconds": 10.0, "race_seconds": 5.0, "race_status": "sure"},
    ]
    assert racing.summarise(rows) == {"splits": 3, "same_plan": 2, "same_status": 2, "ratio": 0.5}


def test_the_images_of_all_splits_of_a_folder_are_raced_on_splits_drawn_anew(tmp_path: Path) -> None:
    for place, split in enumerate(("train", "validation", "test")):
        for name in ("cat", "dog"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for number in range(4):
                (folder / f"{number}.png").write_bytes(bytes([place, number]))
    study = "beans_lite0"
    options = racing.parse(["--study", study, "--folder", str(tmp_path / "images"), "--px", "32"])
    (tmp_path / "raced").mkdir()
    settings = racing.arrange(options, tmp_path / "raced", split=2)
    assert (settings.study.repeats, settings.data.image_px) == (3, 32)
    assert not settings.study.racing
    assert load_params(tmp_path / "raced" / "raced.yaml").study.racing
    assert listed(Path(settings.data.folder).parent) == {"images/cat": 12, "images/dog": 12}
