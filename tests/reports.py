"""A folder of the tables that a comparison leaves, for tests of what is drawn and said of them.

All figures are of the studies that are recorded in reports/ and docs/. A made-up study takes the rows that it needs
from them, under other names where the recorded ones have none of that name.
"""

import itertools
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from frostline.constants import COSTS, name_run
from frostline.files import read_csv, read_json, write_csv, write_json
from frostline.report.comparison import Comparison
from tests.insides import write_made_up_look
from tests.project import ROOT, seal

REPORTS = "reports"
RECORDED = "docs/default_72"
"""The study whose figures a made-up one has: four depths, which lie far enough apart to be pointed at."""
PLANS = ("head", "stage4", "stage3", "all", "scratch")
TABLES = ("plans", "costs", "runs", "pairs", "history", "confusion", "shifted", "stopped")


@dataclass(frozen=True)
class Study:
    """What a made-up study compared. Named after params.yaml and source.json where it can be.

    `recorded` is the folder of the study whose figures it has; `shift` is added to its accuracies. `views` says whether
    it tells what fewer views cost, and `sizes` whether it tells what fewer images do.
    """

    plans: tuple[str, ...] = PLANS
    backbones: tuple[str, ...] = ("efficientnet_lite0",)
    replicates: int = 5
    classes: tuple[str, ...] = ("functional", "defective")
    origin: str = "PyPI package elpv-dataset"
    advised: str = "head"
    reference: str = "all"
    cost: str = "train_flops"
    confidence: str = "sure"
    splits: str = "folds"
    equal_costs: bool = False
    shift: float = 0.0
    racing: bool = False
    phased: tuple[str, ...] = ()
    views: bool = False
    sizes: bool = False
    recorded: str = RECORDED

    @property
    def cells(self) -> list[tuple[str, str]]:
        """Every backbone with every plan."""
        return list(itertools.product(self.backbones, self.plans))


NETWORKS = ("mlp", "cnn2", "residual20")
SIZES = tuple(f"{plan}_{percent}" for plan in ("head", "stage4", "all") for percent in (5, 25, 100))
VARIANTS = {
    "usual": Study(),
    "one_replicate": Study(replicates=1),
    "two_backbones": Study(backbones=("efficientnet_lite0", "mobilenet_v3_large"), plans=PLANS[:4]),
    "twelve_plans": Study(
        plans=(*PLANS, "norms", "biases", "stage2", "stage1", "surgical_first_block", "stage4_last_block", "stem_head")
    ),
    "one_plan": Study(plans=("head",), reference="head"),
    "official_split": Study(splits="official"),
    "leaning": Study(confidence="leaning", advised="all"),
    "equal_costs": Study(equal_costs=True),
    "race": Study(racing=True),
    "phases": Study(phased=("stage4", "all")),
    "one_view": Study(plans=("head", "head_one_view", "stage4", "all"), views=True),
    "networks": Study(
        backbones=NETWORKS, plans=("scratch",), advised="scratch", reference="scratch", recorded="docs/digits"
    ),
    "sizes": Study(plans=SIZES, sizes=True, advised="head_100", reference="all_100", recorded="docs/size"),
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
    for name in TABLES:
        write_csv(folder / f"{name}.csv", make_table(name, study))
    write_json(folder / "advice.json", make_advice(study))
    write_json(folder / "study.json", make_facts(study))
    source = read_json(ROOT / "docs" / "elpv_random" / "source.json")
    counts = {name: 1_803 - 700 * (index % 2) for index, name in enumerate(study.classes)}
    about = {"origin": study.origin, "classes": list(study.classes), "images_per_class": counts}
    write_json(folder / "source.json", source | about)
    write_made_up_look(folder / "look", list(study.classes))
    write_model(folder / "model", study)
    seal(folder)
    return folder


def write_model(folder: Path, study: Study) -> None:
    """Write what the recorded study's model tells, under the names of this one."""
    about = read_json(ROOT / REPORTS / "model.json")
    plan = about["plan"] | {"name": study.advised}
    folder.mkdir(exist_ok=True)
    write_json(folder / "model.json", about | {"backbone": study.backbones[0], "plan": plan})


@cache
def read_recorded(folder: str, name: str) -> pd.DataFrame:
    """Return a table of a recorded study, or of the one in reports/ where the study has none of that name."""
    path = ROOT / folder / f"{name}.csv"
    return read_csv(path if path.exists() else ROOT / REPORTS / f"{name}.csv")


def make_table(name: str, study: Study) -> pd.DataFrame:
    """Return the table of that name, with the rows of the recorded study under the names of this one."""
    if name in ("pairs", "stopped"):
        return _make_pairs(study) if name == "pairs" else _make_stopped(study)
    recorded = read_recorded(study.recorded, name)
    known = list(recorded[["backbone", "plan"]].drop_duplicates().itertuples(index=False, name=None))
    by_plan = {plan: backbone for backbone, plan in known}
    tables = []
    for index, (backbone, plan) in enumerate(study.cells if known else []):
        source = (backbone, plan) if (backbone, plan) in known else (by_plan.get(plan), plan)
        if source not in known:
            source = known[index % len(known)]
        its = recorded[(recorded.backbone == source[0]) & (recorded.plan == source[1])]
        tables.append(its.assign(backbone=backbone, plan=plan))
    table = pd.concat(tables, ignore_index=True) if tables else recorded
    if "replicate" in table:
        table = table[table.replicate < study.replicates].reset_index(drop=True)
    return {"plans": _edit_plans, "costs": _edit_costs, "runs": _edit_runs, "history": _edit_history}.get(
        name, _edit_confusion if name == "confusion" else lambda table, _: table
    )(table, study)


def _edit_plans(table: pd.DataFrame, study: Study) -> pd.DataFrame:
    accuracies = ["accuracy", "accuracy_low", "accuracy_high"]
    table[accuracies] += study.shift
    table.loc[table.plan == "scratch", accuracies] -= 0.06  # one plan is surely worse
    place = study.plans.index(study.reference)
    apart = table.accuracy - table.accuracy.iloc[place]
    half = (0.3 * (table.accuracy_high - table.accuracy_low)).where(table.index != place, 0.0)
    table["difference"], table["difference_low"], table["difference_high"] = apart, apart - half, apart + half
    table["expected_shortfall"] = 100 * (apart.max() - apart)
    table["probability"] = (1 - table.expected_shortfall / 3).clip(0.004, 0.996)
    table["advised"] = [index == study.plans.index(study.advised) for index in range(len(table))]
    table["replicates"] = study.replicates
    if study.replicates == 1:
        table["accuracy_sd"] = None
    if study.equal_costs:
        table["trainable_parameters"] = table.trainable_parameters.iloc[0]
    return _edit_rates(table, study)


def _edit_rates(table: pd.DataFrame, study: Study) -> pd.DataFrame:
    rates = table.learning_rate.astype(object)
    phased = table.plan.isin(study.phased)
    return table.assign(learning_rate=rates.where(~phased, [f"0.01 then {rate} then 0.0001" for rate in rates]))


def _edit_costs(table: pd.DataFrame, study: Study) -> pd.DataFrame:
    if study.views:
        table.loc[table.plan == "head_one_view", "train_seconds"] = 0.4 * table.train_seconds.iloc[0]
    if study.equal_costs:
        table[list(COSTS)] = table.loc[[0] * len(table), list(COSTS)].to_numpy()
    return table


def _edit_runs(table: pd.DataFrame, study: Study) -> pd.DataFrame:
    table["accuracy"] += study.shift
    return _edit_rates(table, study)


def _edit_history(table: pd.DataFrame, study: Study) -> pd.DataFrame:
    phased = table.plan.isin(study.phased)
    table["phase"] = table.epoch.clip(upper=3).where(phased, 1)
    return _edit_rates(table, study)


def _edit_confusion(table: pd.DataFrame, study: Study) -> pd.DataFrame:
    rows = []
    for (backbone, plan), its in table.groupby(["backbone", "plan"], sort=False):
        hits, misses = its.images[its.actual == its.predicted], its.images[its.actual != its.predicted]
        for (place, actual), predicted in itertools.product(enumerate(study.classes), study.classes):
            images = (hits if actual == predicted else misses).to_numpy()
            rows.append((backbone, plan, actual, predicted, images[place % len(images)]))
    return pd.DataFrame(rows, columns=["backbone", "plan", "actual", "predicted", "images"])


def _make_pairs(study: Study) -> pd.DataFrame:
    """Return a pair of every two plans, as far apart as their accuracies, with the other figures of recorded pairs."""
    recorded = itertools.cycle(read_recorded(study.recorded, "pairs").to_dict("records"))
    rows = []
    for one, other in itertools.combinations(make_table("plans", study).to_dict("records"), 2):
        names = {"other_backbone": other["backbone"], "other_plan": other["plan"]}
        row = next(recorded) | {"backbone": one["backbone"], "plan": one["plan"], **names}
        difference = one["accuracy"] - other["accuracy"]
        half, better = (row["high"] - row["low"]) / 2, "plan" if difference > 0 else "other"
        apart = {"p_value": 0.0004, "p_holm": 0.004, "better": better} if abs(difference) > 0.03 else {"better": None}
        rows.append(row | {"difference": difference, "low": difference - half, "high": difference + half} | apart)
    columns = ["backbone", "plan", "other_backbone", "other_plan", "difference", "low", "high", "p_value", "p_holm"]
    return pd.DataFrame(rows, columns=[*columns, "better"])


def _make_stopped(study: Study) -> pd.DataFrame:
    backbone = study.backbones[0]
    rows = [
        (backbone, "head", 0.0003, 1, 2, "validation loss 0.412, and 0.389 at a rate that went on"),
        (backbone, "stage2", None, 2, 12, "the probability that it is advised in the end was under 1 %"),
    ]
    columns = ["backbone", "plan", "learning_rate", "replicates", "epochs", "reason"]
    return pd.DataFrame(rows if study.racing else [], columns=columns)


def make_advice(study: Study) -> dict[str, Any]:
    """Return advice.json."""
    recorded = read_json(ROOT / REPORTS / "advice.json")
    plans = make_table("plans", study)
    advised = plans[plans.advised].iloc[0]
    sure = study.confidence == "sure"
    backbone = study.backbones[0]
    sentences = [f"Unfreeze {study.advised} and nothing else.", "96 % sure that it is within 1 point of the best."]
    return recorded | {
        "cost": study.cost, "advice": study.confidence, "backbone": backbone, "plan": study.advised,
        "reference_backbone": backbone, "reference_plan": study.reference, "margin": 1.0, "metric": "accuracy",
        "probability": float(advised.probability), "expected_shortfall": float(advised.expected_shortfall),
        "resolution": 0.8 if sure else 2.6, "finest_margin": 0.7 if sure else 1.9, "after_choice": 0.812,
        "sentences": sentences if sure else [*sentences, "To be sure, let it train 3 more repeats."],
    }  # fmt: skip


def make_facts(study: Study) -> dict[str, Any]:
    """Return study.json."""
    facts: dict[str, Any] = read_json(ROOT / study.recorded / "study.json")
    pair = {"backbone": study.backbones[0], "plan": "head_one_view", "other_plan": "head", "views": 1, "other_views": 4}
    sentence = "1 view instead of 4 (head_one_view against head): accuracy -0.3 points (95 % interval -1.2 to +0.6)."
    return facts | {
        "classes": list(study.classes), "replicates": list(range(study.replicates)), "splits": study.splits,
        "folds": 5 if study.splits == "folds" else 1, "repeats": 1 if study.splits == "folds" else study.replicates,
        "test_images": 2_624, "test_groups": 44, "test_predictions": 2_624, "validation_images": 300,
        "backbone_sha256": {name_run(*cell): "ab" * 32 for cell in study.cells},
        "views": [pair | {"sentence": sentence}] if study.views else [],
        "sizes": [size for size in facts["sizes"] if size["plan"] in study.plans] if study.sizes else [],
    }  # fmt: skip


def make_comparison(study: Study) -> Comparison:
    """Return what is read of such a folder."""
    tables: dict[str, Any] = {name: make_table(name, study) for name in TABLES}
    source = read_json(ROOT / "docs" / "elpv_random" / "source.json") | {"origin": study.origin}
    return Comparison(**tables, advice=make_advice(study), study=make_facts(study), source=source)
