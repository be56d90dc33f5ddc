"""The fit on all images: what it is shown, for how long, and that nothing frozen moved in it."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from frostline.backbones.audit import AuditError
from frostline.backbones.runs import read_run
from frostline.constants import LEFT_OUT
from frostline.data.images import read_prepared
from frostline.files import read_csv, read_yaml, write_yaml
from frostline.model import fitting
from frostline.model.fitting import Course, Fitted, fit_on_all, hold_nothing_back, make_job_of_all, read_course
from frostline.params.loading import load_params
from frostline.training.job import Job
from tests import toys
from tests.model.finished import train_and_score, write_facts

pytestmark = pytest.mark.usefixtures("one_thread")


def prepare_fit(toy: Path, plan: str, **training: object) -> tuple[Job, Course]:
    """Train the plan in its replicates; return the job of all images and the course that the run says."""
    write_facts(toy)
    for name, value in training.items():
        toys.set_params(toy, **{f"training__{name}": value})
    name = train_and_score(toy, plan)
    run = read_run(toy / "runs" / name)
    job = make_job_of_all(load_params(toy / "params.yaml"), read_prepared(toy / "prepared"), run)
    return job, read_course(run, read_csv(toy / "runs" / name / "history.csv"), job.plan, len(job.phases))


def tensors(fitted: Fitted) -> dict[str, torch.Tensor]:
    return toys.copied(fitted.backbone.state_dict())


def test_every_image_is_trained_on_and_none_is_held_back_but_what_the_study_left_out() -> None:
    data = toys.prepared()
    dropped = data.splits.image == 7
    data.splits.loc[dropped, "split"] = LEFT_OUT
    held = hold_nothing_back(data)
    assert held.list_rows("train", [0]).tolist() == [row for row in range(70) if row != 7]
    assert not len(held.list_rows("validation", [0])) + len(held.list_rows("test", [0]))


def write_history(best: dict[int, int], phases: list[int]) -> tuple[object, pd.DataFrame]:
    """Return a run whose replicates were best at these epochs, of phases of so many epochs, and its history."""
    rows = [
        {"learning_rate": rate, "replicate": replicate, "epoch": epoch, "phase": phase, "val_loss": epoch / 8 + rate}
        for rate in (0.001, 0.01)
        for replicate in best
        for epoch, phase in enumerate([p for p, epochs in enumerate(phases, 1) for _ in range(epochs)], 1)
    ]

    replicates = {str(replicate): {"best_epoch": epoch} for replicate, epoch in best.items()}
    return SimpleNamespace(learning_rate=0.01, replicates=replicates), pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("best", "wanted"), [({0: 3, 1: 1, 2: 2}, 2), ({0: 4, 1: 2}, 2), ({0: 1}, 1), ({0: 4, 1: 4, 2: 4}, 4)]
)
def test_it_lasts_as_long_as_the_replicate_in_the_middle_was_best(best: dict[int, int], wanted: int) -> None:
    run, history = write_history(best, [4])
    course = read_course(run, history, toys.plan(from_="stage4"), 1)  # type: ignore[arg-type]
    assert course.epochs == [wanted]
    assert course.rates == (0.01,)
    assert course.losses == pytest.approx([epoch / 8 + 0.01 for epoch in range(1, wanted + 1)])


def test_of_phases_the_earlier_ones_are_whole_and_one_after_the_best_epoch_has_none() -> None:
    for best, epochs in ((5, [3, 2]), (2, [2, 0])):
        run, history = write_history({0: best}, [3, 3])
        assert read_course(run, history, toys.plan(from_="stage4"), 2).epochs == epochs  # type: ignore[arg-type]


@pytest.mark.parametrize("plan", ["part", "norms", "all", "head", "gradual"])
def test_what_is_frozen_stays_and_what_learns_moves(toy: Path, plan: str) -> None:
    job, course = prepare_fit(toy, plan)
    fitted = fit_on_all(job, course)
    torch.manual_seed(fitting.REPLICATE)
    loaded = toys.copied(fitting.build_frozen(job, fitting.REPLICATE, len(job.phases)).state_dict())
    moved = toys.differing(loaded, tensors(fitted))
    learns = {"part": ("stage4.", "head."), "head": ("head.",), "gradual": ("stage4.", "head."), "all": ("",)}
    if plan in learns:
        assert moved
        assert all(name.startswith(learns[plan]) for name in moved)
    assert fitted.images == 70
    assert (fitted.audited == 0) == (plan == "all")
    assert not fitted.backbone.training


def test_kept_outputs_of_the_prefix_change_nothing(toy: Path) -> None:
    job, course = prepare_fit(toy, "part")
    kept = tensors(fit_on_all(job, course))
    live = job.training.model_copy(update={"cache_bytes": 0})
    uncached = Job(**vars(job) | {"training": live})
    assert toys.differing(kept, tensors(fit_on_all(uncached, course))) == set()


def test_a_fit_that_is_killed_between_two_epochs_goes_on_to_the_same_bytes_and_leaves_nothing_behind(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, _ = prepare_fit(toy, "part")
    course = Course((0.003,), [3], [0.5, 0.4, 0.3])
    whole = tensors(fit_on_all(job, course))
    trained: list[int] = []
    train_epoch = fitting.train_epoch

    def be_killed(job: Job, course: Course, fit: fitting.Fit, batches: fitting.Batches) -> None:
        if len(trained) == 2:
            trained.append(0)
            raise KeyboardInterrupt
        train_epoch(job, course, fit, batches)
        trained.append(len(fit.history))

    monkeypatch.setattr(fitting, "train_epoch", be_killed)
    with pytest.raises(KeyboardInterrupt):
        fit_on_all(job, course)
    again = tensors(fit_on_all(job, course))
    assert trained == [1, 2, 0, 3]
    assert toys.differing(whole, again) == set()
    assert toys.left_in_scratch(toy) == []


def test_what_moves_although_it_is_frozen_fails_the_audit(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, course = prepare_fit(toy, "surgical")
    train_epoch = fitting.train_epoch

    def move_what_is_frozen(job: Job, course: Course, fit: fitting.Fit, batches: fitting.Batches) -> None:
        train_epoch(job, course, fit, batches)
        for tensor in fit.suffix.buffers():
            if tensor.is_floating_point():
                tensor.data.add_(1)

    monkeypatch.setattr(fitting, "train_epoch", move_what_is_frozen)
    with pytest.raises(AuditError):
        fit_on_all(job, course)


def test_where_the_rate_fell_on_a_plateau_it_falls_again(toy: Path) -> None:
    job, course = prepare_fit(toy, "part", schedule="plateau", plateau_patience=0, plateau_factor=0.5)
    rising = Course(course.rates, [3], [0.1, 0.2, 0.3])
    falling = Course(course.rates, [3], [0.3, 0.2, 0.1])
    assert toys.differing(tensors(fit_on_all(job, rising)), tensors(fit_on_all(job, falling)))


def test_a_plan_that_is_shown_a_share_of_the_images_is_shown_that_share_of_all(toy: Path) -> None:
    params = read_yaml(toy / "params.yaml")
    params["plans"]["part"]["train_percent"] = 50
    write_yaml(toy / "params.yaml", params)
    job, _ = prepare_fit(toy, "part")
    assert len(job.data.list_rows("train", [0])) == 36  # of each class half, rounded up
