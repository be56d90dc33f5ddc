"""Metrics of predictions, and the tallies of groups from which intervals are drawn again."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss, recall_score

Floats = NDArray[np.float64]
BINS = 15
"""Bins of equal width in which confidence is compared with accuracy (Guo et al. 2017, arXiv 1706.04599)."""
OF_ALL = 4
"""Columns of a tally before those of bins and classes."""


def score_predictions(predictions: pd.DataFrame, classes: list[str]) -> dict[str, object]:
    """Return the metrics of predictions that hold `label` and a `probability_<class>` for each class.

    Accuracies, F1, recalls and the expected calibration error are 0 to 1; the negative log likelihood is in nats per
    image. `majority_accuracy` is what always naming the commonest class among these images would get.
    """
    labels, probabilities = predictions.label.to_numpy(), get_probabilities(predictions, classes)
    named, known = probabilities.argmax(1), np.arange(len(classes))
    seen = np.unique(labels)
    recalls = dict(zip(seen, recall_score(labels, named, labels=seen, average=None), strict=True))
    totals = tally(predictions, classes).sum(axis=0)
    return {
        "images": len(labels),
        "accuracy": float(accuracy_score(labels, named)),
        "balanced_accuracy": float(np.mean([*recalls.values()])),
        "macro_f1": float(f1_score(labels, named, average="macro", zero_division=0.0)),
        **({"top_5_accuracy": float(METRICS["top_5_accuracy"](totals))} if has_top_5(classes) else {}),
        "negative_log_likelihood": float(log_loss(labels, probabilities, labels=known)),
        "expected_calibration_error": float(METRICS["expected_calibration_error"](totals)),
        "majority_accuracy": float(np.bincount(labels).max() / len(labels)),
        "recall": {name: float(recalls[c]) if c in recalls else None for c, name in enumerate(classes)},
    }


def tally(predictions: pd.DataFrame, classes: list[str]) -> csr_array:
    """Return what each image adds to the sums that `METRICS` are functions of, images x (4 + bins + 3 x classes).

    The columns: 1, whether it was named rightly, its negative log likelihood (nats), whether its class is among the
    five likeliest; in the bin of its confidence, hit minus confidence; then 1 in the column of its class, in that of
    the class named, and, if they agree, again.
    """
    labels, probabilities = predictions.label.to_numpy(), get_probabilities(predictions, classes)
    images, named = np.arange(len(labels)), probabilities.argmax(1)
    hit, confidence = (named == labels).astype(float), probabilities.max(1)
    near = np.any(np.argsort(-probabilities, axis=1, kind="stable")[:, :5] == labels[:, None], axis=1).astype(float)
    # As scikit-learn's log_loss: the probabilities of a row add up to 1, and none is 0.
    of_label = probabilities[images, labels] / probabilities.sum(1)
    loss = -np.log(np.clip(of_label, np.finfo(np.float64).eps, 1))
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    per_class = OF_ALL + BINS + len(classes) * np.arange(3)[:, None] + np.stack([labels, named, labels])
    columns = np.concatenate([np.repeat(np.arange(OF_ALL)[:, None], len(labels), axis=1), [OF_ALL + bins], per_class])
    ones = np.ones(len(labels))
    values = np.concatenate([[ones, hit, loss, near, hit - confidence], [ones, ones, hit]])
    shape = (len(labels), OF_ALL + BINS + 3 * len(classes))
    return csr_array((values.ravel(), (np.tile(images, len(values)), columns.ravel())), shape=shape)


def _count_per_class(totals: Floats) -> tuple[Floats, Floats, Floats]:
    """Return how many images are of each class, were taken for it, and both (..., classes)."""
    actual, named, both = np.split(totals[..., OF_ALL + BINS :], 3, axis=-1)
    return actual, named, both


def _average_classes(of_class: Floats, counted: NDArray[np.bool_]) -> Floats:
    """Return the mean over the classes that count, along the last axis."""
    mean: Floats = np.where(counted, of_class, 0).sum(-1) / counted.sum(-1)
    return mean


def _compute_balanced_accuracy(totals: Floats) -> Floats:
    actual, _, both = _count_per_class(totals)
    return _average_classes(both / actual, actual > 0)


def _compute_macro_f1(totals: Floats) -> Floats:
    actual, named, both = _count_per_class(totals)
    return _average_classes(2 * both / (actual + named), actual + named > 0)


def _compute_calibration_error(totals: Floats) -> Floats:
    error: Floats = np.abs(totals[..., OF_ALL : OF_ALL + BINS]).sum(-1) / totals[..., 0]
    return error


METRICS: dict[str, Callable[[Floats], Floats]] = {
    "accuracy": lambda totals: totals[..., 1] / totals[..., 0],
    "balanced_accuracy": _compute_balanced_accuracy,
    "macro_f1": _compute_macro_f1,
    "top_5_accuracy": lambda totals: totals[..., 3] / totals[..., 0],
    "negative_log_likelihood": lambda totals: totals[..., 2] / totals[..., 0],
    "expected_calibration_error": _compute_calibration_error,
}
"""Each metric of sums of `tally`, along the last axis. Sums over no image give no number."""


def has_top_5(classes: list[str]) -> bool:
    """Return whether there are classes beside the five likeliest: else the right one is always among them."""
    return len(classes) > 5


def count_confusion(predictions: pd.DataFrame, classes: list[str]) -> NDArray[np.int64]:
    """Return how many images of each class (row) were taken for each class (column)."""
    named = get_probabilities(predictions, classes).argmax(1)
    return np.asarray(confusion_matrix(predictions.label, named, labels=np.arange(len(classes))))


def get_probabilities(predictions: pd.DataFrame, classes: list[str]) -> Floats:
    """Return the probabilities, images x classes."""
    return predictions[[f"probability_{name}" for name in classes]].to_numpy(np.float64)
