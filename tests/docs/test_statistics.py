"""What simulated studies say of their certainty, held against their truth: a few of them.

`python -m docs.statistics.measure` simulates 200 of each design, and writes what came of them.
"""

import numpy as np
import pytest

from docs.statistics.figure import draw
from docs.statistics.measure import hold, tabulate
from docs.statistics.problems import Design, draw_problem, find_truth, hold_study

SMALL, OFFICIAL = Design(300, 60, 5, 1), Design(400, 400, 1, 3)


@pytest.mark.parametrize("design", [SMALL, OFFICIAL], ids=["folds", "official"])
def test_a_few_studies_of_known_truth_say_of_themselves_what_is_true(design: Design) -> None:
    found = hold(design, 9, seed=0)
    table = tabulate("a design", found).set_index("measure")
    assert len(found.held) == 9 * 6
    assert np.mean(found.held) >= 0.85
    assert table.loc["shortfall in points", "true"] <= table.loc["shortfall in points", "stated"] + 0.5
    assert table.loc["advised", "true"] >= table.loc["advised", "stated"] - 0.25
    assert [name for name in table.index if "race" in name] == ["same advice in a race", "cost of a race"]
    assert table.loc["same advice in a race", "true"] >= 8 / 9 - 1e-9
    assert table.loc["cost of a race", "true"] < 1
    drawn = draw(tabulate("a design", found))
    assert len(drawn.axes[0].lines) == 2  # the design's, and the diagonal


def test_of_a_clear_problem_the_cheap_plan_is_truly_the_worst_and_no_image_is_left_untested() -> None:
    rng = np.random.default_rng(0)
    problem = draw_problem(rng, "clear", grouped=True)
    truth = find_truth(rng, problem, SMALL)
    assert truth[0] < truth[1:].min() - 0.02
    outcomes = hold_study(rng, problem, SMALL).see(range(4))
    assert (outcomes.repeats, outcomes.folds, outcomes.groups, outcomes.images) == (1, 5, 60, 300)
    np.testing.assert_allclose(outcomes.by_replicate.mean(1), outcomes.pooled[:, 0], atol=1e-12)  # folds of one size
