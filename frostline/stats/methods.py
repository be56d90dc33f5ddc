"""Protocol: what was run and how sure its figures can be, as a report must say it."""

from typing import Any

from frostline.answer.decision import DRAWS
from frostline.answer.stopping import LEAST_CHANCE
from frostline.constants import name_run
from frostline.stats.measured import Tested
from frostline.units import format_percent

OF_ALL_RUNS = ("precision", "device", "processor", "threads", "versions")
"""What run.json tells of a machine. Runs of one study may come from several machines, by `dvc pull`."""
RACE = (
    "The study was a race: of each plan's learning rates the better half on validation went on after half of the first "
    "replicate's epochs; after each fold from the second (with official splits: each repeat), a plan stopped where the "
    f"probability that it is advised in the end was under {format_percent(LEAST_CHANCE)}. By what was known then, "
    "that the race missed the plan that would have been advised is, over all looks, less probable than that times the "
    "plans that stopped. A plan that stopped counts as those that went on do on all images, and how it differed from "
    "them where it was tested; its costs are those of all replicates, if the others had been like those that it had."
)
TUNED = {
    "first": "Learning rates were chosen on the validation images of the first replicate, and serve the others.",
    "all": "Learning rates were chosen on the validation images of all replicates.",
}


def describe_study(
    runs: list[dict[str, Any]],
    prepared: dict[str, Any],
    tested: Tested,
    train_images: float,
    *,
    racing: bool,
    tune: str,
) -> dict[str, Any]:
    """Return what study.json tells: data, replicates, splits, machines, and notes in whole sentences."""
    replicates = max(([int(replicate) for replicate in run["replicates"]] for run in runs), key=len)
    per_replicate = [prepared["images_per_split"][str(replicate)] for replicate in replicates]
    repeats = len(tested.folds)
    return {
        "replicates": replicates,
        "splits": prepared["splits"],
        "folds": prepared["folds"],
        "repeats": repeats,
        "train_images": round(train_images),
        "validation_images": round(sum(its["validation"] for its in per_replicate) / len(replicates)),
        "test_images": len(tested.groups),
        "test_groups": int(tested.groups.max()) + 1,
        "test_predictions": len(tested.groups) * repeats,
        "image_px": prepared["image_px"],
        "classes": prepared["classes"],
        "prepared_sha256": prepared["sha256"],
        "backbone_sha256": {name_run(run["backbone"], run["plan"]): run["backbone_sha256"] for run in runs},
        **{name: _tell_shared([run[name] for run in runs]) for name in OF_ALL_RUNS},
        "notes": [*write_notes(tested, prepared["folds"], tune), *([RACE] if racing else [])],
    }


def _tell_shared(values: list[Any]) -> Any:
    """Return the value that all runs share; where they differ, each that there is, in one line."""
    if isinstance(values[0], dict):
        return {name: _tell_shared([value[name] for value in values]) for name in values[0]}
    different = list(dict.fromkeys(values))
    return different[0] if len(different) == 1 else ", ".join(map(str, different))


def write_notes(tested: Tested, folds: int, tune: str) -> list[str]:
    """Return how probabilities and intervals were made, what they cover and what not."""
    images, repeats = len(tested.groups), len(tested.folds)
    return [
        *_describe_tests(images, folds, repeats),
        f"{TUNED[tune]} The epoch was chosen on validation too. Nothing was chosen by a test image but the plan "
        "itself, for which the score after choice allows: bootstrap bias-corrected cross-validation (Tsamardinos et "
        "al. 2018).",
        *_describe_luck(tested, folds, repeats),
        f"A plan's probability is the share of {DRAWS:,} draws of what the plans' true scores may be (multivariate t) "
        "in which it is within the margin of the best; its shortfall is how far it lies below the best, on average. "
        "Advised is the cheapest plan whose shortfall is at most half the margin.",
        "One plan is called better than another where p, corrected for all pairs (Holm 1979), is at most 0.05 and the "
        "interval leaves out 0.",
        "The expected calibration error compares confidence with accuracy in 15 bins (Guo et al. 2017). Of few images "
        "it comes out too large, and its interval is of the error as so many images show it.",
    ]


def _describe_tests(images: int, folds: int, repeats: int) -> list[str]:
    times = "once" if repeats == 1 else f"{repeats} times"
    if folds > 1:
        return [
            f"Each of the {images:,} images was tested {times}, by a network that had not seen it: in {folds} folds, "
            "each with a new head, an order and a validation split of its own."
        ]
    networks = "one network" if repeats == 1 else f"{repeats} networks, each with a new head and an order of its own"
    return [f"The source's own {images:,} test images were tested by {networks}."]


def _describe_luck(tested: Tested, folds: int, repeats: int) -> list[str]:
    """Return what luck the intervals cover."""
    groups = int(tested.groups.max()) + 1
    of_images = (
        f"the luck of which {len(tested.groups):,} images there are"
        if groups == len(tested.groups)
        else f"the luck of which {groups:,} groups of images there are"
    )
    found = f"Intervals are of 95 % and cover {of_images} (jackknife)"
    if folds * repeats == 1:
        return [f"{found}; with one replicate the luck of training is not covered. study.repeats adds more."]
    over = "folds" if folds > 1 else "repeats"
    return [
        f"{found} and the luck of training, which is what differs between {over} beyond that, by Student's t with "
        "Satterthwaite's degrees of freedom. No estimate of a cross-validation's variance is without bias (Bengio and "
        "Grandvalet 2004); this one was held against simulated studies of known truth."
    ]
