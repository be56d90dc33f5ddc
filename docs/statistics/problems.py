"""Studies whose truth is known: real classifiers on made-up images, which may be drawn again as often as one likes.

An image is 40 numbers, warped, in which two classes differ along a direction of the problem's own; images of a group
share an offset. A plan is a ridge classifier on random features of its own, more or fewer of them, with a little noise
in what it learns, as the luck of a training. Its true accuracy is the mean over classifiers that are trained on further
data sets of the problem, on images of groups of their own. Nothing of the estimator's model is built into it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from frostline.answer.outcomes import Floats, Integers, Outcomes, average_scores

NUMBERS = 40
KINDS = {"equal": (60, 60, 60, 60), "ladder": (30, 40, 50, 70), "clear": (8, 60, 60, 60)}
"""The features of each plan, by what truth they make: the first is the cheapest."""
RIDGE, NOISE = 5.0, 6.0
VALIDATES, TESTS = 0.15, 0.25
"""The share of what a fold does not test that validates, and that of all images which an official split tests."""
DATA_SETS, TRUE_IMAGES = 60, 2_000
"""By so many further data sets and new images a truth is known to about 0.1 points."""


@dataclass(frozen=True)
class Design:
    """How many images in how many groups, and how they are tested: in so many folds (1: an official split), repeats."""

    images: int
    groups: int
    folds: int
    repeats: int

    @property
    def trained_on(self) -> float:
        """The share of the images that a replicate trains on."""
        tested = 1 / self.folds if self.folds > 1 else TESTS
        return (1 - tested) * (1 - VALIDATES)


@dataclass(frozen=True)
class DataSet:
    """Images (N x 40), their labels (-1 or 1) and groups (0, 1, ...)."""

    images: Floats
    labels: Floats
    groups: Integers


@dataclass(frozen=True)
class Problem:
    """A problem: how its classes and groups differ, and each plan's random features (40 x features)."""

    direction: Floats
    distance: float
    group_spread: float
    features: list[Floats]

    def draw(self, rng: np.random.Generator, images: int, groups: int) -> DataSet:
        """Return a data set, its groups one after the other."""
        member = np.arange(images) * groups // images
        labels = rng.choice([-1.0, 1.0], images)
        raw = rng.normal(size=(images, NUMBERS)) + np.outer(labels, self.distance * self.direction)
        raw += self.group_spread * rng.normal(size=(groups, NUMBERS))[member]
        return DataSet(np.tanh(raw + 0.3 * raw**2 * np.sign(self.direction)), labels, member)

    def train(self, rng: np.random.Generator, taught: DataSet, rows: Integers) -> list[Floats]:
        """Return each plan's weights, learned from these rows."""
        learned = []
        for features in self.features:
            seen = np.tanh(2 * taught.images[rows] @ features)
            squares = seen.T @ seen + RIDGE * np.eye(seen.shape[1])
            sums = seen.T @ taught.labels[rows] + NOISE * rng.normal(size=seen.shape[1])
            learned.append(np.asarray(np.linalg.solve(squares, sums), np.float64))
        return learned

    def test(self, learned: list[Floats], asked: DataSet, rows: Integers) -> Floats:
        """Return 1 for each image that a plan names rightly, and 0 for the others, plans x rows."""
        images, labels = asked.images[rows].astype(np.float32), asked.labels[rows]
        named = [
            np.tanh(images @ (2 * features).astype(np.float32)) @ own.astype(np.float32)
            for features, own in zip(self.features, learned, strict=True)
        ]
        return np.asarray(np.sign(named) == labels, np.float64)


def draw_problem(rng: np.random.Generator, kind: str, *, grouped: bool, same: bool = False) -> Problem:
    """Return a problem of the kind, with a truth of its own; or of plans that are the same but for their luck."""
    direction = rng.normal(size=NUMBERS)
    spread = float(rng.uniform(0.2, 0.8)) if grouped else 0.0
    features = [rng.normal(size=(NUMBERS, count)) / np.sqrt(NUMBERS) for count in KINDS[kind]]
    features = [features[0]] * len(features) if same else features
    return Problem(direction / np.linalg.norm(direction), float(rng.uniform(0.8, 2.2)), spread, features)


def find_truth(rng: np.random.Generator, problem: Problem, design: Design) -> Floats:
    """Return the true accuracy of each plan, trained on as many images as in the design."""
    right = []
    for _ in range(DATA_SETS):
        taught = problem.draw(rng, design.images, design.groups)
        rows = np.flatnonzero(taught.groups < round(design.trained_on * design.groups))
        learned = problem.train(rng, taught, rows)
        right.append(problem.test(learned, problem.draw(rng, TRUE_IMAGES, TRUE_IMAGES), np.arange(TRUE_IMAGES)).mean(1))
    truth: Floats = np.mean(right, axis=0)
    return truth


@dataclass(frozen=True)
class Study:
    """What a study finds: a score for each plan, repeat and image, the images' groups, and their folds by repeat."""

    scores: Floats
    groups: Integers
    folds: Integers

    @property
    def replicates(self) -> int:
        """How many fits each plan has in all."""
        return len(self.folds) * (int(self.folds.max()) + 1)

    def see(self, plans: Sequence[int], replicates: int | None = None) -> Outcomes:
        """Return what these plans score, in the first so many replicates or in all."""
        folds = int(self.folds.max()) + 1
        count = self.replicates if replicates is None else replicates
        shown = self.folds[0] < count
        repeats = max(1, count // folds)
        groups = np.unique(self.groups[shown], return_inverse=True)[1].astype(np.int64)
        return average_scores(self.scores[list(plans), :repeats][..., shown], groups, self.folds[:repeats, shown])

    def find_member(self, replicates: int) -> Integers:
        """Return the number, among all groups, of each group that so many replicates test."""
        return np.unique(self.groups[self.folds[0] < replicates]).astype(np.int64)


def hold_study(rng: np.random.Generator, problem: Problem, design: Design) -> Study:
    """Return what one study of the problem finds."""
    data = problem.draw(rng, design.images, design.groups)
    if design.folds == 1:
        return _hold_official(rng, problem, data, design.repeats)
    scores = np.zeros((len(problem.features), design.repeats, design.images))
    folds = np.zeros((design.repeats, design.images), np.int64)
    for repeat in range(design.repeats):
        folds[repeat] = rng.permutation(np.arange(design.groups) % design.folds)[data.groups]
        for fold in range(design.folds):
            tested = folds[repeat] == fold
            learned = problem.train(rng, data, _draw_taught(rng, data, np.flatnonzero(~tested)))
            scores[:, repeat, tested] = problem.test(learned, data, np.flatnonzero(tested))
    return Study(scores, data.groups, folds)


def _hold_official(rng: np.random.Generator, problem: Problem, data: DataSet, repeats: int) -> Study:
    """Return what is found on one split, on which every repeat trains anew."""
    tested = data.groups >= round((1 - TESTS) * (data.groups.max() + 1))
    taught = _draw_taught(rng, data, np.flatnonzero(~tested))
    rows = np.flatnonzero(tested)
    scores = np.stack([problem.test(problem.train(rng, data, taught), data, rows) for _ in range(repeats)], axis=1)
    groups = data.groups[rows] - data.groups[rows].min()
    return Study(scores, groups, np.zeros((repeats, len(rows)), np.int64))


def _draw_taught(rng: np.random.Generator, data: DataSet, rows: Integers) -> Integers:
    """Return the rows that are trained on: some groups of them validate, which nothing here asks."""
    groups = np.unique(data.groups[rows])
    validate = rng.permutation(groups)[: round(VALIDATES * len(groups))]
    return rows[~np.isin(data.groups[rows], validate)]


def hold_studies(rng: np.random.Generator, design: Design, studies: int) -> Iterator[tuple[str, Floats, Study]]:
    """Yield for each study its kind, in turn, the truth and what it found."""
    for place in range(studies):
        kind = list(KINDS)[place % len(KINDS)]
        problem = draw_problem(rng, kind, grouped=design.groups < design.images)
        yield kind, find_truth(rng, problem, design), hold_study(rng, problem, design)
