"""What the pictures show, in words for those who do not see them."""

import pandas as pd

from frostline.report.comparison import Comparison
from frostline.report.points import KEYS, label_plans
from frostline.units import format_percent

MOST_CONFUSIONS = 10
"""So many confusions are told; a picture of many classes has more than anyone would listen to."""


def describe_curves(study: Comparison) -> str:
    """Return for each plan what its kept learning rate reached on validation, and when."""
    kept = study.history[study.history.chosen]
    told = []
    for label, (_, plan) in zip(label_plans(study.plans), study.plans[KEYS].iterrows(), strict=True):
        its = kept[(kept.backbone == plan.backbone) & (kept.plan == plan.plan)].reset_index(drop=True)
        best = its.loc[its.groupby("replicate").val_loss.idxmin()]
        told.append(f"{label} {_format_range(best.val_loss, '.3f')} after {_format_range(best.epoch, 'd')} epochs")
    return f"Loss over epochs, a panel for each plan. Least validation loss of each replicate: {'; '.join(told)}."


def _format_range(values: "pd.Series[float]", form: str) -> str:
    low, high = f"{values.min():{form}}", f"{values.max():{form}}"
    return low if low == high else f"{low} to {high}"


def describe_confusion(counts: pd.DataFrame, label: str) -> str:
    """Return what the run takes for what, the largest shares of a true class first."""
    shares = counts.assign(share=counts.images / counts.groupby("actual").images.transform("sum").clip(lower=1))
    wrong = shares[(shares.actual != shares.predicted) & (shares.images > 0)]
    first = wrong.sort_values("share", ascending=False, kind="stable").head(MOST_CONFUSIONS)
    told = [
        f"{format_percent(share)} of {actual} are taken for {predicted}"
        for share, actual, predicted in zip(first.share, first.actual, first.predicted, strict=True)
    ]
    more = f" and {len(wrong) - len(first)} smaller confusions" if len(wrong) > len(first) else ""
    return f"Confusion matrix of {label} on the test images: {'; '.join(told) or 'nothing is confused'}{more}."
