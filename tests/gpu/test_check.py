"""The claims about a GPU can be tried, hold where they are true of a processor too, and are told one by one."""

from pathlib import Path
from typing import Any

import pytest
import torch

from frostline.errors import InputError
from tools import check_gpu, gpu_claims, gpu_trials
from tools.gpu_claims import CLAIMS
from tools.gpu_trials import Bench, NotTried, Wrong

CPU = torch.device("cpu")


@pytest.mark.long
def test_every_claim_holds_or_says_why_it_was_not_tried(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        assert check_gpu.check(CPU, 60, 32) == []
    finally:
        torch.set_deterministic_debug_mode("default")
    lines = [line for line in capsys.readouterr().out.splitlines() if line[:9].strip() in ("yes", "not tried", "NO")]
    assert len(lines) == len(CLAIMS)
    untried = [line for line in lines if line.startswith("not tried")]
    assert {line.rpartition(": ")[2].partition(" (")[0] for line in untried} <= {
        "a processor waits for nobody", "a process's memory never goes down", "it has no bfloat16",
    }  # fmt: skip


def holds(_: Bench) -> str:
    """One that holds."""
    return "so it is"


def fails(_: Bench) -> str:
    """One that does not hold."""
    raise Wrong("otherwise")


def breaks(_: Bench) -> str:
    """One that breaks."""
    raise ZeroDivisionError("by zero")


def spares(_: Bench) -> str:
    """One that cannot be tried."""
    raise NotTried("there is none")


def test_each_claim_has_a_line_and_those_that_do_not_hold_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check_gpu, "CLAIMS", [holds, fails, breaks, spares])
    monkeypatch.setattr(check_gpu, "set_up", lambda *_: None)
    monkeypatch.setattr(check_gpu, "compute_deterministically", lambda _: None)
    assert check_gpu.check(CPU) == ["fails", "breaks"]
    lines = [line.rpartition(" (")[0].strip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "yes  One that holds: so it is",
        "NO  One that does not hold: otherwise",
        "NO  One that breaks: ZeroDivisionError: by zero",
        "not tried  One that cannot be tried: there is none",
    ]
    assert check_gpu.check(CPU, seconds=-1) == []
    assert capsys.readouterr().out.count("not tried") == 4


def test_without_a_gpu_it_ends_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"this machine must have a GPU that torch can use. Got none instead."):
        check_gpu.main([])


def test_a_claim_is_wrong_where_tensors_differ() -> None:
    ours: dict[str, Any] = {"weight": torch.zeros(2), "bias": torch.ones(1)}
    assert gpu_claims.must_be_same(ours, {**ours}) == "2 tensors"
    with pytest.raises(Wrong, match="1 of 2 tensors differ, such as bias"):
        gpu_claims.must_be_same(ours, ours | {"bias": torch.zeros(1)})


def test_a_stage_that_fails_is_told_by_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(Wrong, match=r"prepare ended with: .*required: --params, --raw, --out"):
        gpu_trials.run_stage(tmp_path, "prepare")
