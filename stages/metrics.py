"""Metrics: what a table of predictions is worth. scikit-learn does the arithmetic."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    recall_score,
)


def score_predictions(predictions: pd.DataFrame, classes: list[str]) -> dict[str, object]:
    """Return the metrics of predictions that hold `label` and a `probability_<class>` for each class.

    Accuracies, F1 and recalls are 0 to 1; the negative log likelihood is in nats per image. `majority_accuracy` is
    what always naming the commonest class among these images would get.
    """
    labels, probabilities = predictions.label.to_numpy(), probability_array(predictions, classes)
    named, known = probabilities.argmax(1), np.arange(len(classes))
    seen = np.unique(labels)
    recalls = dict(zip(seen, recall_score(labels, named, labels=seen, average=None), strict=True))
    return {
        "images": len(labels),
        "accuracy": float(accuracy_score(labels, named)),
        "balanced_accuracy": float(np.mean([*recalls.values()])),
        "macro_f1": float(f1_score(labels, named, average="macro", zero_division=0.0)),
        "negative_log_likelihood": float(log_loss(labels, probabilities, labels=known)),
        "majority_accuracy": float(np.bincount(labels).max() / len(labels)),
        "recall": {name: float(recalls[c]) if c in recalls else None for c, name in enumerate(classes)},
    }


def count_confusion(predictions: pd.DataFrame, classes: list[str]) -> NDArray[np.int64]:
    """Return how many images of each class (row) were taken for each class (column)."""
    named = probability_array(predictions, classes).argmax(1)
    return np.asarray(confusion_matrix(predictions.label, named, labels=np.arange(len(classes))))


def probability_array(predictions: pd.DataFrame, classes: list[str]) -> NDArray[np.float64]:
    """Return the probabilities, images x classes."""
    return predictions[[f"probability_{name}" for name in classes]].to_numpy(np.float64)
