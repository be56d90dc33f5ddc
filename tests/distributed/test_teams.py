"""Two processes that share every batch learn what one learns, in float64 to the last digits that are left."""

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from frostline.backbones.audit import AuditError
from frostline.data.images import Rows
from frostline.distributed.normalization import normalize_together
from frostline.distributed.processes import open_team
from frostline.distributed.team import ALONE, Team
from frostline.errors import InputError
from frostline.training.loop import Fit, start_fit, train_epochs
from tests.toys import TRAINING
from tests.training.fits import batches, points

WEIGHTS = torch.tensor([0.5, 2.0])


def points_in(shown: Sequence[Rows], _view: int | None) -> Iterator[Tensor]:
    for rows in shown:
        yield points()[torch.from_numpy(rows)].double()


def normalized() -> nn.Sequential:
    """Return a suffix with statistics that learn, and a layer whose parameters nothing asks for."""
    torch.manual_seed(0)
    suffix = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    suffix[0].spare = nn.Linear(1, 1)
    return suffix.double()


def teach(team: Team, *, weighed: bool) -> Fit:
    """Train for three epochs on batches of 13 and 14 of 40, and validate on 23: neither comes out even."""
    fit = start_fit(normalized(), 0.01, 0.01, 0)
    fit.team = team
    data = replace(
        batches(), inputs=points_in, validation=np.arange(40, 63), class_weights=WEIGHTS if weighed else None
    )
    smoothing = 0.1 if weighed else 0.0
    asked = TRAINING.model_copy(update={"batch_size": 15, "label_smoothing": smoothing})
    for _ in train_epochs(fit, data, asked, "float32"):
        pass
    return fit


def follow(team: Team, _device: torch.device, weighed: bool) -> None:
    teach(team, weighed=weighed)


@pytest.mark.parametrize("weighed", [False, True], ids=["each image alike", "weighed and smoothed"])
def test_what_two_learn_together_is_what_one_learns(weighed: bool) -> None:
    alone = teach(ALONE, weighed=weighed)
    with open_team(2, "cpu", follow, weighed) as team:
        together = teach(team, weighed=weighed)
    for epoch, its in zip(together.history, alone.history, strict=True):
        assert epoch.train_loss == pytest.approx(its.train_loss, rel=1e-6)
        assert epoch.val_loss == pytest.approx(its.val_loss, rel=1e-6)
        assert (epoch.train_accuracy, epoch.val_accuracy) == (its.train_accuracy, its.val_accuracy)
    assert len(together.batch_losses) == len(alone.batch_losses)
    for name, tensor in together.suffix.state_dict().items():
        torch.testing.assert_close(tensor, alone.suffix.state_dict()[name], rtol=1e-5, atol=1e-7)


@dataclass(frozen=True)
class Norm:
    """A norm that is tried: of maps of 5 images in a number format, with a weight of its own or not."""

    dtype: torch.dtype
    affine: bool
    tracks: bool = True

    def make(self) -> nn.BatchNorm2d:
        norm = nn.BatchNorm2d(3, affine=self.affine, track_running_stats=self.tracks)
        if self.affine:
            nn.init.uniform_(norm.weight, 0.5, 2, generator=torch.Generator().manual_seed(1))
        return norm.double() if self.dtype == torch.float64 else norm

    def draw(self) -> tuple[Tensor, Tensor]:
        """Return the maps, and what their normalized values count in a loss."""
        drawn = torch.Generator().manual_seed(0)
        values, counts = (torch.randn(5, 3, 4, 4, generator=drawn, dtype=torch.float64) for _ in range(2))
        return (values * 3 + 7).to(self.dtype), counts.to(self.dtype)


def normalize(team: Team, asked: Norm, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the process's normalized maps and their gradient, and that of the norm's weight over all processes."""
    mine = team.take_share(np.arange(5))
    values, counts = (tensor[torch.from_numpy(mine)] for tensor in asked.draw())
    values.requires_grad_()
    with normalize_together() if team.size > 1 else nullcontext():
        output = norm(values)
    (output * counts).sum().backward()
    assert values.grad is not None
    of_weight = norm.weight.grad if norm.affine else None
    return output.detach(), values.grad, None if of_weight is None else team.add_up(of_weight)


def follow_norm(team: Team, _device: torch.device, asked: Norm) -> None:
    normalize(team, asked, asked.make())


NORMS = {
    "float64": Norm(torch.float64, affine=True),
    "float32": Norm(torch.float32, affine=True),
    "bfloat16": Norm(torch.bfloat16, affine=True),
    "no weight": Norm(torch.float64, affine=False),
    "no running statistics": Norm(torch.float64, affine=True, tracks=False),
}


@pytest.mark.parametrize("name", NORMS)
def test_statistics_and_gradients_are_those_of_the_whole_batch(name: str) -> None:
    asked = NORMS[name]
    norm, alone = asked.make(), asked.make()
    expected, of_values, of_weight = normalize(ALONE, asked, alone)
    with open_team(2, "cpu", follow_norm, asked) as team:
        output, gradient, together = normalize(team, asked, norm)
    near = {"rtol": 0.02, "atol": 0.02} if asked.dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
    assert (output.dtype, gradient.dtype) == (asked.dtype, asked.dtype)
    torch.testing.assert_close(output, expected[:3], **near)
    torch.testing.assert_close(gradient, of_values[:3], **near)
    if asked.affine:
        torch.testing.assert_close(together, of_weight, **near)
    for key, tensor in norm.state_dict().items():
        torch.testing.assert_close(tensor, alone.state_dict()[key], rtol=1e-5, atol=1e-5)


class Unpicklable:
    """What another process cannot take over."""

    def __setstate__(self, _: object) -> None:
        raise ZeroDivisionError

    def __getstate__(self) -> dict[str, int]:
        return {"a": 1}


def test_one_that_ends_before_it_has_come_is_not_waited_for() -> None:
    with pytest.raises(InputError, match="let all processes of a fit run"), open_team(2, "cpu", take, Unpicklable()):
        pass


def take(_team: Team, _device: torch.device, _given: object) -> None:
    pass


def refuse(_team: Team, _device: torch.device) -> None:
    raise InputError.of("the other", "be content", "no")


def fail(_team: Team, _device: torch.device) -> None:
    raise ZeroDivisionError


def end(_team: Team, _device: torch.device) -> None:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("met", "error", "line"),
    [
        (refuse, InputError, "the other must be content. Got no instead."),
        (fail, RuntimeError, "ZeroDivisionError"),
        (end, InputError, "the machine must let all processes of a fit run. Got a process that the system ended"),
    ],
)
def test_what_ended_the_other_is_told_here(met: object, error: type[Exception], line: str) -> None:
    with pytest.raises(error, match=line), open_team(2, "cpu", met) as team:  # type: ignore[arg-type]
        team.wait()


def test_what_this_one_meets_is_raised_as_it_is_and_the_other_is_gone() -> None:
    with pytest.raises(AuditError, match="moved") as met, open_team(2, "cpu", stay):
        raise AuditError("a tensor moved")
    assert met.value.__cause__ is None
    assert not multiprocessing.active_children()


def stay(team: Team, _device: torch.device) -> None:
    team.wait()


def test_of_one_process_nothing_is_shared() -> None:
    rows = np.arange(5)
    with open_team(1, "cpu", fail) as team:
        assert team is ALONE
        assert team.take_share(rows) is team.take_even_share(rows) is rows
        with team.train_together(module := nn.Linear(1, 1)) as trained:
            assert trained is module


@pytest.mark.parametrize("size", [2, 3, 7])
def test_even_shares_hold_every_row_in_its_order(size: int) -> None:
    rows = np.arange(10, 15)
    shares = [Team(rank, size).take_even_share(rows) for rank in range(size)]
    assert len({len(share) for share in shares}) == 1
    assert np.concatenate(shares)[: len(rows)].tolist() == rows.tolist()
    assert np.concatenate([Team(rank, size).take_share(rows) for rank in range(size)]).tolist() == rows.tolist()


def test_a_norm_that_does_not_learn_is_torch_s_own() -> None:
    values, _ = NORMS["float64"].draw()
    mean, variance = torch.zeros(3).double(), torch.ones(3).double()
    with normalize_together():
        assert torch.equal(functional.batch_norm(values, mean, variance), functional.batch_norm(values, mean, variance))
