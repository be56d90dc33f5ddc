"""After choice: what the advised plan scores once it is no longer judged on the images that chose it."""

import numpy as np

from frostline.answer.decision import choose, draw_deviations
from frostline.answer.estimator import Estimate
from frostline.answer.outcomes import Floats, Outcomes

RESAMPLES = 500
DRAWS = 1_000


def estimate_after_choice(outcomes: Outcomes, found: Estimate, costs: Floats, margin: float) -> float:
    """Return the metric that advice reaches on images that had no say in it.

    Of several plans the one is advised that came out well, also by luck. Bootstrap bias-corrected cross-validation
    (Tsamardinos, Greasidou and Borboudakis 2018): groups of images are drawn again with replacement, advice is drawn
    from those that came up, and scored on those that did not. Nothing is trained for it.
    """
    rng, groups = np.random.default_rng(0), outcomes.groups
    drawn = rng.multinomial(groups, np.full(groups, 1 / groups), RESAMPLES)
    left = drawn[(drawn == 0).any(1)]
    inside, outside = outcomes.pool(left), outcomes.pool(left == 0)
    deviations = draw_deviations(found, DRAWS)
    reached = []
    for of_drawn, of_rest in zip(inside.T, outside.T, strict=True):
        means = of_drawn[:, None] + deviations
        advised = choose((means.max(0) - means).mean(1), costs, margin)
        reached.append(of_rest[advised])
    return float(np.nanmean(reached))
