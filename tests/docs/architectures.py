"""A table of architectures, and what fills it."""

from typing import Any

import pandas as pd

from frostline.laying.studies import load_study
from tests.project import ROOT

STUDY = "architectures"


BACKBONES = load_study(STUDY, ROOT).backbones


MACHINE = {"threads": 2, "capability": "AVX512", "versions": {"torch": "2.14"}}


def measurement(*names: str) -> dict[str, Any]:
    """Return what might have been measured: the n-th backbone trains on 64 images in n seconds, forward in half."""
    seconds = {
        name: {"forward_seconds": [0.5 * n, 9 * n, 0.1 * n], "training_seconds": [n, 20 * n, 0.2 * n]}
        for n, name in enumerate(names, start=1)
    }
    about = {"images": 64, "repeats": 3, "batch_size": 16, "image_px": 224, "precision": "bfloat16", "device": "EPYC"}
    return about | {"machine": MACHINE, "backbones": seconds}


def recorded(*names: str) -> pd.DataFrame:
    """Return the plans of a study, in which each backbone has a frozen probe and another plan."""
    shown = {"accuracy_low": 0.7, "accuracy_high": 0.95, "replicates": 6}
    accuracies = {"all": 0.9, "head": 0.8}
    rows = [
        {"backbone": name, "plan": plan, "accuracy": accuracies[plan]} | shown for name in names for plan in accuracies
    ]
    return pd.DataFrame(rows)
