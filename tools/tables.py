"""The comparison as rows of text, for the terminal and for README."""

from pathlib import Path

from stages.outputs import read_csv

COLUMNS = ("plan", "trainable parameters", "% of all", "test accuracy", "sd over seeds", "train seconds")


def comparison(reports: Path) -> tuple[list[tuple[str, ...]], int]:
    """Return a row of COLUMNS for each plan of the folder `reports`, and which of the rows is advised."""
    keys = ["backbone", "plan"]
    plans = read_csv(reports / "plans.csv").merge(read_csv(reports / "costs.csv"), on=keys, validate="1:1")
    several = plans.backbone.nunique() > 1
    rows: list[tuple[str, ...]] = [
        (
            f"{plan['backbone']} {plan['plan']}" if several else str(plan["plan"]),
            f"{plan['trainable_parameters']:,}",
            f"{plan['trainable_percent']:.2f}",
            f"{plan['accuracy']:.3f}",
            f"{plan['accuracy_sd']:.3f}" if plan["seeds"] > 1 else "one seed",
            f"{plan['train_seconds']:.0f}",
        )
        for plan in plans.to_dict("records")
    ]
    return rows, int(plans.index[plans.advised][0])
