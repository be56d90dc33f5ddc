"""The Pareto front: plans to which no other is preferable, being both as cheap and as accurate."""

import numpy as np

from stages.metrics import Floats


def front_probabilities(accuracies: Floats, costs: Floats) -> Floats:
    """Return each run's share of draws (accuracies: runs x draws) in which it is on the front for the cost.

    A run is off the front when another is no dearer and no less accurate, and better in one of the two.
    """
    cheaper, as_cheap = costs[:, None] < costs, costs[:, None] <= costs
    dominated = np.zeros(accuracies.shape, dtype=bool)
    for run in range(len(accuracies)):
        better, as_good = accuracies > accuracies[run], accuracies >= accuracies[run]
        beats = (as_cheap[:, run, None] & better) | (cheaper[:, run, None] & as_good)
        dominated[run] = beats.any(axis=0)
    share: Floats = 1 - dominated.mean(axis=1)
    return share
