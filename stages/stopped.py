"""What a race stopped: learning rates and plans, when and why."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from stages.units import in_points, points

COLUMNS = ("backbone", "plan", "learning_rate", "seeds", "epochs", "reason")


def stopped_table(races: Mapping[tuple[str, str], dict[str, Any]], margin: float) -> pd.DataFrame:
    """Return a row for everything that was stopped, by the seeds and epochs that it had; a plan has no learning rate.

    `races` holds what race.json tells of each backbone and plan; `margin` is a share of images.
    """
    rows = []
    for (backbone, plan), race in races.items():
        for each in race["dropped"]:
            reason = f"validation loss {each['val_loss']:.3f}, and {each['kept_val_loss']:.3f} at a rate that went on"
            rows.append((backbone, plan, each["learning_rate"], each["seeds"], each["epochs"], reason))
        if stop := race["stopped"]:
            reason = (
                f"{stop['against']} is cheaper and not worse by more than {in_points(margin)}: on validation so far "
                f"{points(stop['difference'])} points, at least {points(stop['least'])} at 90 %"
            )
            rows.append((backbone, plan, None, stop["seeds"], stop["epochs"], reason))
    return pd.DataFrame(rows, columns=list(COLUMNS))
