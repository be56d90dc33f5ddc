"""A folder of the tables that a comparison leaves, for tests of what is drawn and said of them.

Nothing is measured here: accuracies, intervals and costs are made up, but of the size and shape that studies have.
"""

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from frostline.constants import COSTS, PARTS, name_run
from frostline.files import write_csv, write_json
from tests.insides import write_made_up_look

PLANS = ("head", "stage4", "stage3", "all", "scratch")
COUNTS = dict(zip(PLANS, (2_562, 2_672_802, 3_318_066, 3_373_570, 3_373_570), strict=True)) | {"head_one_view": 2_562}
ACCURACIES = dict(zip(PLANS, (0.816, 0.797, 0.813, 0.823, 0.754), strict=True))
SECONDS = dict(zip(PLANS, (10.6, 112.0, 176.0, 252.8, 118.2), strict=True)) | {"head_one_view": 4.1}
FLOPS = dict(zip(PLANS, (2.1e12, 7.4e13, 1.31e14, 1.92e14, 8.7e13), strict=True)) | {"head_one_view": 6.0e11}
MEASURES = ("accuracy", "balanced_accuracy", "macro_f1", "negative_log_likelihood", "expected_calibration_error")
PARTS_OF = {"head": "head", "head_one_view": "head", "stage4": "stage4 head", "stage3": "stage3 stage4 head"}


@dataclass(frozen=True)
class Study:
    """What a made-up study compared. Named after params.yaml and source.json where it can be.

    `views` names two plans that differ in their views alone, the one of fewer first, and how many each has.
    """

    plans: tuple[str, ...] = PLANS
    backbones: tuple[str, ...] = ("efficientnet_lite0",)
    seeds: int = 4
    classes: tuple[str, ...] = ("functional", "defective")
    origin: str = "PyPI package elpv-dataset"
    advised: str = "head"
    best: str = "all"
    cost: str = "train_flops"
    shown: bool = True
    splits: str = "drawn"
    equal_costs: bool = False
    shift: float = 0.0
    racing: bool = False
    phased: tuple[str, ...] = ()
    views: tuple[tuple[str, str, int, int], ...] = ()
    shifts: tuple[int, ...] = ()
    notes: tuple[str, ...] = field(
        default=(
            "Intervals hold 95 of 100 times that the study is drawn again: seeds, and test images within them, are "
            "resampled 4,999 times (percentile bootstrap).",
            "With 4 seeds no p-value can be below 0.125, however large the difference.",
        )
    )


VARIANTS = {
    "usual": Study(),
    "one_seed": Study(seeds=1),
    "two_backbones": Study(backbones=("efficientnet_lite0", "mobilenet_v3_large"), plans=PLANS[:4]),
    "twelve_plans": Study(
        plans=(*PLANS, "norms", "biases", "stage2", "stage1", "surgical_first_block", "stage4_last_block", "stem_head")
    ),
    "one_plan": Study(plans=("head",), best="head"),
    "official_split": Study(splits="official"),
    "undecided": Study(shown=False, advised="all"),
    "equal_costs": Study(equal_costs=True),
    "race": Study(racing=True),
    "phases": Study(phased=("stage4", "all")),
    "one_view": Study(plans=("head", "head_one_view", "stage4", "all"), views=(("head_one_view", "head", 1, 4),)),
    "networks": Study(
        backbones=("mlp", "cnn2", "residual20"), plans=("scratch",), advised="scratch", best="scratch", shifts=(4, 8)
    ),
    "sizes": Study(
        plans=tuple(f"{plan}_{percent}" for plan in ("head", "stage4", "all") for percent in (5, 25, 100)),
        advised="head_100",
        best="all_100",
    ),
    "cost_is_memory": Study(cost="peak_memory_bytes"),
    "long_names": Study(
        classes=("microcrack across both busbars", "electrically insulated cell part", "no finger interruption at all"),
        plans=("head", "the_last_two_blocks_of_stage4_and_the_head", "all"),
    ),
    "names_to_escape": Study(
        classes=('<b>&amp;"rust"</b>', "$x_1$ </script>"), origin="<img src=x onerror=alert(1)> & 'co'"
    ),
}
"""Studies that differ in what may break a page or a picture."""


def write_study(folder: Path, study: Study = VARIANTS["usual"]) -> Path:
    """Write the tables of the study into the folder, and source.json beside them, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    plans, costs, runs = plans_of(study), costs_of(study), runs_of(study)
    write_csv(folder / "plans.csv", plans)
    write_csv(folder / "costs.csv", costs)
    write_csv(folder / "runs.csv", runs)
    write_csv(folder / "pairs.csv", pairs_of(plans))
    write_csv(folder / "history.csv", history_of(study))
    write_csv(folder / "confusion.csv", confusion_of(study))
    write_csv(folder / "shifted.csv", shifted_of(study))
    write_csv(folder / "stopped.csv", stopped_of(study))
    write_json(folder / "advice.json", advice_of(study))
    write_json(folder / "study.json", facts_of(study))
    write_json(folder / "source.json", source_of(study))
    write_made_up_look(folder / "look", list(study.classes))
    return folder


def _cells(study: Study) -> list[tuple[int, str, str]]:
    return [(index, *cell) for index, cell in enumerate(itertools.product(study.backbones, study.plans))]


def _accuracy(study: Study, index: int, plan: str) -> float:
    return ACCURACIES.get(plan, 0.78 + 0.004 * index) + study.shift


def plans_of(study: Study) -> pd.DataFrame:
    """Return plans.csv."""
    runs = runs_of(study).set_index(["backbone", "plan"])
    rows = []
    for index, backbone, plan in _cells(study):
        accuracy = _accuracy(study, index, plan)
        seeds = np.atleast_1d(runs.loc[(backbone, plan), "accuracy"])
        scores: dict[str, float] = {}
        for name, value in zip(MEASURES, (accuracy, accuracy - 0.07, accuracy - 0.06, 0.44, 0.031), strict=True):
            scores |= {name: value, f"{name}_low": value * 0.965, f"{name}_high": min(value * 1.03, 1.0)}
        rows.append(
            {
                "backbone": backbone, "plan": plan,
                "learns": PARTS_OF.get(plan.rpartition("_")[0] or plan, "stem stage1 stage2 stage3 stage4 head"),
                "weights": "none" if plan == "scratch" else "pretrained",
                "trainable_parameters": _parameters(index, plan), "parameters": 3_373_570,
                "trainable_percent": 100 * _parameters(index, plan) / 3_373_570, "learning_rate": _rate(study, plan),
                "seeds": study.seeds, "train_images": 1_574 * _percent(plan) / 100, "val_accuracy": accuracy + 0.01,
                "accuracy_sd": seeds.std(ddof=1) if len(seeds) > 1 else None,
                "accuracy_least": seeds.min(), "accuracy_most": seeds.max(), **scores, "majority_accuracy": 0.686,
                "train_flops": _cost(study, index, plan)["train_flops"], "audit": "passed",
                "audited_tensors": 0 if plan in ("all", "scratch") else 294 - 20 * index,
                "advised": index == study.plans.index(study.advised),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _percent(plan: str) -> int:
    """Return the share of the training images that the plan's name ends in, or all of them."""
    last = plan.rpartition("_")[2]
    return int(last) if last.isdecimal() else 100


def _rate(study: Study, plan: str, rate: float = 0.001) -> float | str:
    return f"0.01 then {rate} then 0.0001" if plan in study.phased else rate


def _parameters(index: int, plan: str) -> int:
    return COUNTS.get(plan, 17_000 * (index + 1))


def _cost(study: Study, index: int, plan: str) -> dict[str, float]:
    if study.equal_costs:
        return dict(zip(COSTS, (2_562, 2.1e12, 10.6, 1_290_000_000), strict=True))
    seconds, flops = SECONDS.get(plan, 30.0 + 9 * index), FLOPS.get(plan, 2e13 + 4e12 * index)
    return dict(zip(COSTS, (_parameters(index, plan), flops, seconds, 1_270_000_000 + 12_345_678 * index), strict=True))


def costs_of(study: Study) -> pd.DataFrame:
    """Return costs.csv."""
    rows = []
    for index, backbone, plan in _cells(study):
        front = 0.97 if plan == "head" else round(0.62 / (1 + 0.5 * index), 4)
        cost = _cost(study, index, plan)
        rows.append(
            {
                "backbone": backbone, "plan": plan, **cost,
                "train_flops_per_image": cost["train_flops"] / 40_000, "train_flops_per_image_live": 2.4e9,
                "prefix_seconds": 0.0 if plan in ("all", "scratch") else min(7.3, 0.69 * cost["train_seconds"]),
                "epoch_seconds": cost["train_seconds"] / 31, "epochs": 31,
                "saved_activation_bytes": 1_234_567 * (index + 1),
                "optimizer_bytes": 8 * _parameters(index, plan), "learned_bytes": 4 * _parameters(index, plan) + 2_000,
                "cache": "no prefix" if plan in ("all", "scratch") else "memory",
                "cache_bytes": 0 if plan in ("all", "scratch") else 65_833_600,
                "inference_images_per_second": 1_834.2 - index, **{f"front_{name}": front for name in COSTS},
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def runs_of(study: Study) -> pd.DataFrame:
    """Return runs.csv."""
    rows = []
    for index, backbone, plan in _cells(study):
        for seed in range(study.seeds):
            accuracy = _accuracy(study, index, plan) + 0.02 * np.cos(2.1 * seed + index)
            rows.append(
                {
                    "backbone": backbone, "plan": plan, "seed": seed, "learning_rate": _rate(study, plan),
                    "train_images": 1_574 * _percent(plan) / 100,
                    "best_epoch": 2, "val_loss": 0.41, "val_accuracy": accuracy, "test_images": 656,
                    **dict(zip(MEASURES, (accuracy, accuracy - 0.07, accuracy - 0.06, 0.44, 0.031), strict=True)),
                    "majority_accuracy": 0.686,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def pairs_of(plans: pd.DataFrame) -> pd.DataFrame:
    """Return pairs.csv."""
    rows = []
    for one, other in itertools.combinations(plans.to_dict("records"), 2):
        difference = one["accuracy"] - other["accuracy"]
        apart = abs(difference) > 0.04
        rows.append(
            {
                "backbone": one["backbone"], "plan": one["plan"],
                "other_backbone": other["backbone"], "other_plan": other["plan"], "difference": difference,
                "low": difference - 0.03, "high": difference + 0.03, "p_value": 0.0004 if apart else 0.375,
                "p_holm": 0.004 if apart else 1.0,
                "better": ("plan" if difference > 0 else "other") if apart else None,
            }
        )  # fmt: skip
    columns = [
        "backbone",
        "plan",
        "other_backbone",
        "other_plan",
        "difference",
        "low",
        "high",
        "p_value",
        "p_holm",
        "better",
    ]
    return pd.DataFrame(rows, columns=columns)


def history_of(study: Study) -> pd.DataFrame:
    """Return history.csv: two learning rates, one of which was kept."""
    rows = [
        {
            "backbone": backbone, "plan": plan, "learning_rate": _rate(study, plan, rate), "seed": seed,
            "epoch": epoch, "phase": min(epoch, 3) if plan in study.phased else 1,
            **{f"learning_rate_{part}": rate for part in PARTS},
            "train_loss": 0.6 / epoch + 0.1, "train_accuracy": 0.8,
            "val_loss": 0.4 + 0.03 * (epoch - 2 - seed % 2) ** 2 + 0.01 * index, "val_accuracy": 0.8,
            "chosen": rate == 0.001,
        }
        for index, backbone, plan in _cells(study)
        for rate in (0.0003, 0.001)
        for seed in range(study.seeds)
        for epoch in (1, 2, 3, 4)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def confusion_of(study: Study) -> pd.DataFrame:
    """Return confusion.csv."""
    rows = [
        {
            "backbone": backbone, "plan": plan, "actual": actual, "predicted": predicted,
            "images": 1_702 if actual == predicted else 87 + 13 * study.classes.index(actual),
        }
        for _, backbone, plan in _cells(study)
        for actual in study.classes
        for predicted in study.classes
    ]  # fmt: skip
    return pd.DataFrame(rows)


def shifted_of(study: Study) -> pd.DataFrame:
    """Return shifted.csv."""
    shifts = (0, *study.shifts) if study.shifts else ()
    rows = []
    for shift in shifts:
        for index, backbone, plan in _cells(study):
            accuracy = _accuracy(study, index, plan) - 0.02 * shift * (3 - index)
            rows.append((backbone, plan, shift, accuracy, accuracy - 0.03, accuracy + 0.02))
    columns = ["backbone", "plan", "shift_px", "accuracy", "accuracy_low", "accuracy_high"]
    return pd.DataFrame(rows, columns=columns)


def stopped_of(study: Study) -> pd.DataFrame:
    """Return stopped.csv."""
    backbone = study.backbones[0]
    rows = [
        (backbone, "head", 0.0003, 1, 2, "validation loss 0.412, and 0.389 at a rate that went on"),
        (
            backbone, "stage2", None, 2, 12,
            f"{backbone}-head is cheaper and not worse by more than 1 point: on validation so far +1.2 points, "
            "at least -0.4 at 90 %",
        ),
    ]  # fmt: skip
    columns = ["backbone", "plan", "learning_rate", "seeds", "epochs", "reason"]
    return pd.DataFrame(rows if study.racing else [], columns=columns)


def advice_of(study: Study) -> dict[str, Any]:
    """Return advice.json."""
    backbone, alike = study.backbones[0], study.advised == study.best
    better = ACCURACIES.get(study.advised, 0.8) - ACCURACIES.get(study.best, 0.81)
    says = "costs 1.1 % of the computation that all costs" if study.shown else "cannot be told from the others yet"
    return {
        "cost": study.cost, "margin": 1.0, "shown": study.shown,
        "status": "shown" if study.shown else "open", "backbone": backbone, "plan": study.advised,
        "against_backbone": backbone, "against_plan": study.best, "cost_ratio": None if alike else 0.011,
        "difference": None if alike else better, "low": None if alike else better - 0.02,
        "high": None if alike else better + 0.02,
        "sentences": [
            f"Unfreeze {study.advised} and nothing else.",
            f"It {says}.",
            "Its accuracy is 0.7 points lower; 95 of 100 such studies would find it 2.7 lower to 1.3 higher.",
        ],
        "rule_of_thumb": {
            "train_images": 1_574, "says": "the last parts",
            "sentence": "The rule of thumb for 1,574 training images would have been to unfreeze the last parts.",
        },
        "seeds_needed": None if study.shown else 11, "images_needed": None if study.shown else 5_300,
    }  # fmt: skip


def facts_of(study: Study) -> dict[str, Any]:
    """Return study.json."""
    return {
        "classes": list(study.classes),
        "seeds": list(range(study.seeds)), "splits": study.splits, "train_images": 1_574, "validation_images": 394,
        "test_images": 656, "distinct_test_images": 656 if study.splits == "official" else 1_800,
        "test_predictions": 656 * study.seeds, "resamples": 4_999, "smallest_p": 2 / 2**study.seeds,
        "notes": list(study.notes), "precision": "bfloat16", "device": "cpu (x86_64, AVX512)",
        "processor": "AMD EPYC 9R14 96-Core Processor", "threads": 2,
        "versions": {"torch": "2.14.1", "torchvision": "0.29.1", "timm": "1.0.31"},
        "prepared_sha256": {"images.npy": "3e" * 32, "labels.npy": "4f" * 32, "splits.csv": "5a" * 32}, "image_px": 72,
        "backbone_sha256": {name_run(backbone, plan): "ab" * 32 for _, backbone, plan in _cells(study)},
        "views": [
            {
                "backbone": study.backbones[0], "plan": few, "other_plan": many, "views": views,
                "other_views": other_views,
                "sentence": f"{views} view instead of {other_views} ({few} against {many}): accuracy -0.3 points "
                "(95 % interval -1.2 to +0.6).",
            }
            for few, many, views, other_views in study.views
        ],
        "sizes": [
            {
                "percent": percent, "train_images": 1_574 * percent // 100,
                "backbone": study.backbones[0], "plan": f"head_{percent}", "learns": "head",
                "rule": "head" if 1_574 * percent // 100 < 1_000 else "parts",
                "sentence": f"{1_574 * percent // 100:,} images ({percent} %): head_{percent} is best on validation. "
                "The rule of thumb says only the head too.",
            }
            for percent in sorted({_percent(plan) for plan in study.plans})
            if len({_percent(plan) for plan in study.plans}) > 1
        ],
    }  # fmt: skip


def source_of(study: Study) -> dict[str, Any]:
    """Return source.json."""
    return {
        "origin": study.origin, "revision": "1.0.0.post1", "licence": "CC-BY-NC-SA-4.0 AND Apache-2.0",
        "labels": 'labels.csv of the package; "defective" when probability >= 0.5, else "functional"',
        "strata": "module type: mono or poly", "classes": list(study.classes), "images": 2_624,
        "images_per_class": {name: 1_803 - 700 * (index % 2) for index, name in enumerate(study.classes)},
        "sha256": {"images.parquet": "dedf4f0c4809b586dc2b85f855f6ad4b7dec896564e871f70e2524841f8197df"},
    }  # fmt: skip
