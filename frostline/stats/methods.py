"""Protocol: what was run and how sure its figures can be, as a report must say it."""

from typing import Any

from frostline.constants import name_run
from frostline.stats.intervals import RESAMPLES
from frostline.stats.metrics import Scored
from frostline.stats.significance import LEVEL, count_seeds_needed, find_smallest_p

OF_ALL_RUNS = ("precision", "device", "processor", "threads", "versions")
"""What run.json tells of a machine. Runs of one study may come from several machines, by `dvc pull`."""
RACE = (
    "The study was a race: on validation, of each plan's learning rates the better half went on after half of the "
    "first seed's epochs, after 1 seed, 2, 4 and so on (successive halving, Jamieson and Talwalkar 2016); and a plan "
    "stopped where a cheaper one was seen to be not worse by more than the margin, at 90 %, but for the two most "
    "accurate. What was stopped has no part in the intervals, tests and fronts."
)


def describe_study(
    runs: list[dict[str, Any]], prepared: dict[str, Any], scored: dict[str, Scored], *, racing: bool
) -> dict[str, Any]:
    """Return what study.json tells: data, seeds, splits, machines, and notes in whole sentences."""
    test, seeds = scored["test"], [int(seed) for seed in runs[0]["seeds"]]
    return {
        "seeds": seeds,
        "splits": "drawn" if test.redrawn else "official" if prepared["splits"] == "official" else "drawn",
        "train_images": round(test.train_images),
        "validation_images": round(scored["validation"].images),
        "test_images": round(test.images),
        "distinct_test_images": test.distinct_images,
        "test_predictions": round(test.images * test.seeds),
        "image_px": prepared["image_px"],
        "classes": prepared["classes"],
        "prepared_sha256": prepared["sha256"],
        "backbone_sha256": {name_run(run["backbone"], run["plan"]): run["backbone_sha256"] for run in runs},
        **{name: _tell_shared([run[name] for run in runs]) for name in OF_ALL_RUNS},
        "resamples": RESAMPLES,
        "smallest_p": find_smallest_p(len(seeds)) if len(seeds) > 1 else None,
        "notes": [*write_notes(scored, len(runs)), *([RACE] if racing else [])],
    }


def _tell_shared(values: list[Any]) -> Any:
    """Return the value that all runs share; where they differ, each that there is, in one line."""
    if isinstance(values[0], dict):
        return {name: _tell_shared([value[name] for value in values]) for name in values[0]}
    different = list(dict.fromkeys(values))
    return different[0] if len(different) == 1 else ", ".join(map(str, different))


def write_notes(scored: dict[str, Scored], runs: int) -> list[str]:
    """Return how the intervals and tests were made, what they cover and what not."""
    test = scored["test"]
    return [
        "Learning rate, epoch and plan were chosen on validation; each test set was read once.",
        "Intervals are of 95 %. They are as wide as Student's t makes them, and lie about their estimates as a BCa "
        f"bootstrap does (Efron 1987): {RESAMPLES:,} resamples of {_describe_resampling(test)}, the same for all "
        "plans.",
        *_describe_widths(test),
        *_describe_tests(test.seeds, runs * (runs - 1) // 2),
        "The expected calibration error compares confidence with accuracy in 15 bins (Guo et al. 2017). Of few images "
        "it comes out too large, and its interval is of the error as so many images show it.",
    ]


def _describe_resampling(test: Scored) -> str:
    alone = test.groups == test.distinct_images
    images = "images" if alone else f"{test.groups} groups of images that belong together"
    return f"seeds and of {images}" if test.seeds > 1 else images


def _describe_widths(test: Scored) -> list[str]:
    """Return what was done about their width, and what luck they leave out."""
    if test.seeds == 1:
        return [
            "There is one seed: the luck of training and of the split is not covered, only that of the test images."
        ]
    if test.redrawn:
        overlap = test.images / test.train_images
        return [
            "Every seed draws its own splits of the same images, which therefore overlap, and a plain variance over "
            f"seeds is too small: the variance of a mean is taken as (1/{test.seeds} + {overlap:.2f}) times that over "
            "seeds (Nadeau and Bengio 2003), with "
            f"{test.seeds - 1} degree{'' if test.seeds == 2 else 's'} of freedom."
        ]
    return [
        "All seeds are scored on the same test images: the luck of this split itself is not covered.",
        "The variance of a mean is that of seeds, of images and of both (two-way analysis of variance), with "
        "Satterthwaite's degrees of freedom.",
    ]


def _describe_tests(seeds: int, pairs: int) -> list[str]:
    """Return how pairs were tested, and whether so many seeds can show anything."""
    if not pairs:
        return []
    if seeds == 1:
        return ["With one seed no pair of plans can be tested."]
    made = (
        "Pairs of plans are tested by flipping the signs of their differences, seed by seed (exact permutation test, "
        "Fisher 1935), and by Student's t as in the intervals, which covers what seeds share; the larger p counts. "
        "Both ask about plans, where McNemar's test on images would ask about the models that these seeds trained. A "
        "plan is called better where p, corrected for all pairs (Holm 1979), is at most 0.05 and the interval leaves "
        "out 0."
    )
    least, wanted = find_smallest_p(seeds), count_seeds_needed(pairs)
    if least > LEVEL:
        says = f"cannot reach significance by themselves: the smallest p that they can reach is {least:.3g}"
        return [made, f"{seeds} seeds {says}; for {pairs} pair{'' if pairs == 1 else 's'} it takes {wanted} seeds."]
    if least * pairs > LEVEL:
        says = f"the smallest p is {least:.2g}, and {min(1.0, least * pairs):.2g} when corrected for {pairs} pairs"
        return [
            made,
            f"{seeds} seeds are too few for any of so many pairs to be called better: {says}; {wanted} would do.",
        ]
    return [made, f"The smallest p that {seeds} seeds can reach is {least:.2g}, before correction."]
