"""What the pictures show, in words for those who do not see them."""

from typing import Any

import pandas as pd

from frostline.report.comparison import Comparison
from frostline.report.points import KEYS, label_plans
from frostline.units import format_percent, typeset_points

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


def describe_model(about: dict[str, Any]) -> list[str]:
    """Return in sentences what model.json tells: what the model is, what its probabilities are worth, and its forms."""
    if not about["made"]:
        return ["None was left, as params.yaml says finish: false."]
    trained, measured, warmth = about["trained"], about["measured"], about["calibration"]
    epochs = sum(trained["epochs"])
    told = [
        f"Plan {about['plan']['name']} on {about['backbone']}, trained once more on all {trained['images']:,} images "
        f"for {epochs} epoch{'' if epochs == 1 else 's'}, the median of the best; nothing was held back to test it on. "
        f"Its accuracy is the plan's: {measured['accuracy']:.3f} ({measured['accuracy_low']:.3f} to "
        f"{measured['accuracy_high']:.3f}).",
        "Its probabilities are calibrated on predictions of images that their models never saw: logits are divided by "
        f"{warmth['temperature']:.3g}. That takes the negative log-likelihood from {warmth['nll_before']:.3f} to "
        f"{warmth['nll_after']:.3f} nats and the expected calibration error from "
        f"{warmth['calibration_error_before']:.3f} to {warmth['calibration_error_after']:.3f}, both on groups "
        "of images that had no part in it.",
        _describe_doubt(about["doubtful"]),
    ]
    return [*told, _describe_forms(about["onnx"], about["int8"])]


def _describe_doubt(doubt: dict[str, Any]) -> str:
    wanted = format_percent(doubt["level"])
    if doubt["threshold"] is None:
        return f"No probability shows {wanted} of the images to be named rightly: all are doubtful."
    told = (
        f"Below a probability of {doubt['threshold']:.3f} an image is doubtful: {format_percent(doubt['doubtful'])} are"
    )
    if doubt["right"] is None:
        return f"{told}."
    return f"{told}, and of the others {100 * doubt['right']:.1f} % were named rightly (asked were {wanted})."


def _describe_forms(onnx: dict[str, Any], int8: dict[str, Any]) -> str:
    if not onnx["made"]:
        return f"There is no ONNX of it: {onnx['reason']}."
    told = (
        f"As ONNX it names {onnx['same_class']} of {onnx['images']} images as torch does, its logits within "
        f"{onnx['largest_difference']:.1g}."
    )
    if not int8["made"]:
        return f"{told} There is none in 8 bits: {int8['reason']}."
    estimate, low, high = (typeset_points(int8["difference"][name]) for name in ("estimate", "low", "high"))
    return (
        f"{told} In 8 bits it takes {int8['bytes'] / 1e6:.1f} MB instead of {onnx['bytes'] / 1e6:.1f}, names "
        f"{int8['images_per_second']:,.0f} images a second instead of {onnx['images_per_second']:,.0f}, and changes "
        f"the accuracy by {estimate} points ({low} to {high}), as measured on the models of the folds."
    )
