"""What is told of a study's fits adds up."""

from hypothesis import given
from hypothesis import strategies as st

from frostline.cluster.progress import Progress


def test_a_fit_waits_then_runs_then_is_done_once_however_often_that_is_noted() -> None:
    progress = Progress()
    progress.expect(3, 4)
    assert str(progress) == "0 of 3 fits done, 0 running, 3 waiting"
    progress.note("a", 0)
    assert str(progress) == "0 of 3 fits done, 1 running, 2 waiting"
    progress.note("a", 2)
    assert str(progress).startswith("0 of 3 fits done, 1 running, 2 waiting, at most ")
    progress.stop("a")
    assert str(progress).startswith("0 of 3 fits done, 0 running, 3 waiting")
    for _ in range(2):
        progress.end("a", 4)
    assert str(progress).startswith("1 of 3 fits done, 0 running, 2 waiting")
    for fit in "bc":
        progress.end(fit, 4)
    assert str(progress) == "3 of 3 fits done, 0 running, 0 waiting"


@given(st.lists(st.tuples(st.sampled_from(["note", "stop", "end"]), st.sampled_from("abc"), st.integers(0, 4))))
def test_done_running_and_waiting_are_all_there_are(happened: list[tuple[str, str, int]]) -> None:
    progress = Progress()
    progress.expect(3, 4)
    for what, fit, epochs in happened:
        if what == "stop":
            progress.stop(fit)
        elif fit not in progress.done:
            getattr(progress, what)(fit, epochs)
    told = str(progress).split()
    assert int(told[0]) + int(told[5]) + int(told[7]) == 3
