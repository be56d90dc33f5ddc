"""Studies whose truth is known: images of varying difficulty, plans of known accuracy, replicates with luck of their own.

An image is named rightly when plan + luck of training + easiness of the image + noise > 0, where all but the plan are
normal; so a plan's accuracy over all images and replicates that there could be is a normal probability.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

from frostline.stats.metrics import Floats, Scored, tally_split

CLASSES = ["a", "b"]
DIFFICULTY = 1.0
"""Standard deviation of the images' easiness, in that of the noise."""
TEST, VALIDATION, TRAIN = 0.25, 0.15, 0.6
SHARED = 0.7
"""The share of the training's luck that lies in the images trained on, which replicates have in common."""


@dataclass(frozen=True)
class Design:
    """How many replicates, whether they redraw the split, how many images, and how much luck (in the noise's unit)."""

    redrawn: bool
    replicates: int
    images: int
    luck: float


@dataclass(frozen=True)
class Simulated:
    """The true accuracies of the plans, and their fits scored on both splits."""

    truth: Floats
    validation: Scored
    test: Scored


def true_accuracies(skills: Sequence[float], luck: float) -> Floats:
    """Return each plan's accuracy over all images and replicates."""
    return np.asarray(norm.cdf(np.array(skills) / np.sqrt(1 + DIFFICULTY**2 + luck**2)))


def skills_of(accuracies: Sequence[float], luck: float) -> Floats:
    """Return what makes plans so accurate: the inverse of `true_accuracies`."""
    return np.asarray(norm.ppf(accuracies)) * np.sqrt(1 + DIFFICULTY**2 + luck**2)


def simulate(rng: np.random.Generator, accuracies: Sequence[float], design: Design) -> Simulated:
    """Return one study of plans with these true accuracies."""
    skills = skills_of(accuracies, design.luck)
    easiness = DIFFICULTY * rng.normal(size=design.images)
    labels = rng.integers(0, 2, design.images)
    taught = rng.normal(size=(len(skills), design.images))
    tables: dict[str, list[list[pd.DataFrame]]] = {"validation": [[] for _ in skills], "test": [[] for _ in skills]}
    fixed = split_images(rng, design.images)
    for replicate in range(design.replicates):
        rows = split_images(rng, design.images) if design.redrawn else fixed
        for plan, skill in enumerate(skills):
            lessons = taught[plan, rows["train"]].sum() / np.sqrt(len(rows["train"])) if design.redrawn else 0.0
            own = rng.normal() * np.sqrt(1 - SHARED if design.redrawn else 1.0)
            luck = design.luck * (np.sqrt(SHARED) * lessons + own)
            for split, seen in tables.items():
                images = rows[split]
                right = skill + luck + easiness[images] + rng.normal(size=len(images)) > 0
                seen[plan].append(predictions(replicate, images, labels[images], right))
    # Groups of images that have nothing in common do no harm, and make large studies quick to resample.
    groups, train = np.arange(design.images) // max(1, design.images // 1_000), TRAIN * design.images
    validation, test = (
        tally_split([pd.concat(each) for each in seen], CLASSES, groups, train) for seen in tables.values()
    )
    return Simulated(true_accuracies(skills, design.luck), validation, test)


def split_images(rng: np.random.Generator, images: int) -> dict[str, Floats]:
    order = rng.permutation(images)
    ends = (np.cumsum([TEST, VALIDATION]) * images).astype(int)
    test, validation, train = np.split(order, ends)
    return {"test": test, "validation": validation, "train": train}


def predictions(replicate: int, images: Floats, labels: Floats, right: Floats) -> pd.DataFrame:
    """Every answer is given with a confidence of 0.97."""
    named = np.where(right, labels, 1 - labels)
    of_a = np.where(named == 0, 0.97, 0.03)
    columns = {
        "replicate": replicate,
        "image": images,
        "label": labels,
        "probability_a": of_a,
        "probability_b": 1 - of_a,
    }
    return pd.DataFrame(columns)
