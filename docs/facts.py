"""Facts of the pages: plain data, read from what studies and measurements recorded. Templates put them into words."""

from functools import cached_property
from itertools import pairwise
from pathlib import Path

from docs.architectures.facts import describe_architectures
from docs.rows import MEASURED, Row, as_rows, compare_losses, count_layers, find_difference, name_kind
from frostline.backbones.freezing import count_by_part
from frostline.backbones.registry import build_backbone
from frostline.commands.show import list_rows, list_sentences
from frostline.constants import BACKBONES, IMAGE_FORMATS
from frostline.files import read_csv, read_json
from frostline.preparation.duplicates import NEAR

KEYS = ["backbone", "plan"]
CROSSED = ("held_head_loaded", "held_head_drifted", "drifting_head_drifted", "drifting_head_loaded")
"""Which head was tested on which statistics, in the order in which the table has them."""
FEWEST_CASES = 40
"""A share of fewer cases is too unsure to be held against a probability."""
ORIGINAL_PX = 8
"""Side of scikit-learn's digits before they are enlarged."""


class Recorded(dict[str, Row | None]):
    """What recorded studies found, by the names of their folders in docs; None where nothing is recorded."""

    def __init__(self, facts: "Facts") -> None:
        """Take who can read a study."""
        super().__init__()
        self.facts = facts

    def __missing__(self, study: str) -> Row | None:
        """Read the study when it is asked for first."""
        self[study] = self.facts.read_study(f"docs/{study}")
        return self[study]


class Facts:
    """What is recorded below the project's root; each fact is read when a template asks for it.

    A fact is None where its study was not recorded yet, so that its page can say what to run.
    """

    def __init__(self, root: Path) -> None:
        """Take the project's root."""
        self.root = root

    @cached_property
    def study(self) -> Row | None:
        """The default study: its table, its advice in sentences, and its plans."""
        return self.read_study("reports")

    @cached_property
    def model(self) -> Row:
        """What the default study's model tells of itself; `made` says whether there is one."""
        path = self.root / "reports" / "model.json"
        return dict(read_json(path)) if path.exists() else {"made": False}

    @cached_property
    def recorded(self) -> "Recorded":
        """What each recorded study found, by the name of its folder in docs."""
        return Recorded(self)

    @property
    def near_bits(self) -> int:
        """In how many bits of their perceptual hashes near-duplicates differ at most."""
        return NEAR

    @cached_property
    def transfer(self) -> Row | None:
        """A pretrained network on a share of CIFAR-10, beside the small CNNs that are `taught` with it."""
        taught = [self.recorded[study] for study in ("cifar10", "cifar10_batchnorm")]
        found = self.recorded["cifar10_lite0"]
        if found is None or not any(taught):
            return None
        return found | {"taught": [plan for study in taught if study for plan in study["plans"]]}

    @cached_property
    def flowers(self) -> list[Row]:
        """102 kinds of flowers from scratch and by transfer: the official splits, and five folds; what is recorded."""
        found = [self.recorded[name] for name in ("flowers102", "flowers102_folds")]
        return [study for study in found if study is not None]

    @cached_property
    def families(self) -> list[Row]:
        """What each family of networks can serve, as it was tried."""
        path = self.root / "docs" / "architectures" / "families.csv"
        return as_rows(read_csv(path)) if path.is_file() else []

    @cached_property
    def sides(self) -> list[Row]:
        """The default study at the sides of images that were tried."""
        kept = ["reports", *(f"docs/{path.name}" for path in sorted((self.root / "docs").glob("default_*")))]
        return sorted((self.read_side(folder) for folder in kept), key=lambda row: int(row["image_px"]))

    def read_side(self, folder: str) -> Row:
        """Return what the default study gave at one side: its advice, its plans and their seconds."""
        advice, study = (read_json(self.root / folder / f"{name}.json") for name in ("advice", "study"))
        plans, costs = (read_csv(self.root / folder / f"{name}.csv") for name in ("plans", "costs"))
        seconds = float(costs.train_seconds.sum())
        return {**advice, "image_px": study["image_px"], "plans": as_rows(plans), "seconds": seconds}

    def read_study(self, folder: str) -> Row | None:
        """Return what a study found: `rows` of its table and which of them is `advised`, `sentences`, and its plans.

        `plans` have their costs and, where there is another, their difference in accuracy from `whole`, which is full
        fine-tuning from pretrained weights.
        """
        kept = self.root / folder
        if not (kept / "plans.csv").is_file():
            return None
        rows, advised = list_rows(kept)
        plans, costs, pairs = (read_csv(kept / f"{name}.csv") for name in ("plans", "costs", "pairs"))
        new = [name for name in costs if name in KEYS or name not in plans]
        found = as_rows(plans.merge(costs[new], on=KEYS, validate="1:1"))
        whole = next((plan for plan in found if plan["weights"] == "pretrained" and name_kind(plan) == "all"), None)
        for plan in found:
            plan["against_whole"] = None if plan is whole or whole is None else find_difference(pairs, plan, whole)
        told = read_json(kept / "study.json")
        return {
            "rows": rows,
            "advised": advised,
            "sentences": list_sentences(kept),
            "advice": read_json(kept / "advice.json"),
            "plans": found,
            "whole": whole,
            "image_px": told["image_px"],
            "precision": told["precision"],
            "tested": told["test_images"],
            "repeats": told["repeats"],
        }

    @cached_property
    def drift(self) -> Row | None:
        """What held and drifting BatchNorm statistics came to, with means over folds."""
        path = self.root / "docs" / "drift" / "drift.json"
        if not path.is_file():
            return None
        measured: Row = read_json(path)
        folds = measured["of_folds"]
        means = [sum(row[f"{name}_statistics"] for row in folds) / len(folds) for name in CROSSED]
        return measured | {
            "means": means,
            "table": [[row["fold"], *(row[f"{name}_statistics"] for name in CROSSED)] for row in folds],
            "moved": {name: max(row[f"{name}_moved_tensors"] for row in folds) for name in ("held", "drifting")},
            "frozen": folds[0]["frozen_tensors"],
            "norms": {
                name: sum(row[f"relative_norm_of_{name}"] for row in folds) / len(folds)
                for name in ("means", "variances")
            },
        }

    @cached_property
    def residuals(self) -> Row | None:
        """What plain and residual networks of two depths came to on their training images."""
        kept = self.root / "docs" / "depth"
        if not (kept / "history.csv").is_file():
            return None
        history = read_csv(kept / "history.csv")
        last = history[history.chosen].sort_values("epoch", kind="stable").groupby(["replicate", "backbone"])
        ends = last.train_loss.last().unstack("backbone")
        plans = as_rows(read_csv(kept / "plans.csv"))
        for plan in plans:
            losses = ends[plan["backbone"]]
            plan["losses"] = {"mean": losses.mean(), "least": losses.min(), "most": losses.max()}
        networks = [str(name) for name in ends]
        names = [sorted((name for name in networks if name.startswith(kind)), key=count_layers)
                 for kind in ("plain", "residual")]  # fmt: skip
        pairs = [compare_losses(ends, *pair) for of_kind in names for pair in pairwise(of_kind)]
        return {"plans": plans, "pairs": pairs}

    @cached_property
    def shifts(self) -> Row | None:
        """What is left of each network's accuracy where test images are shifted."""
        kept = self.root / "docs" / "digits"
        if not (kept / "shifted.csv").is_file():
            return None
        shifted = read_csv(kept / "shifted.csv")
        enlarged = read_json(kept / "study.json")["image_px"] / ORIGINAL_PX
        plans = as_rows(read_csv(kept / "plans.csv"))
        for plan in plans:
            plan["shifted"] = as_rows(shifted[shifted.backbone == plan["backbone"]].sort_values("shift_px"))
        table = shifted.pivot_table(index="backbone", columns="shift_px", values="accuracy")
        farthest = max(table.columns)
        lost = (table[farthest] - table[0]).sort_values(ascending=False)
        return {
            "plans": plans,
            "steps": [{"px": px, "original_px": px / enlarged} for px in table.columns if px],
            "farthest": farthest,
            "lost": list(lost.items()),
        }

    @cached_property
    def look(self) -> Row | None:
        """What the stage look found in the run that it looked into."""
        path = self.root / "reports" / "look" / "look.json"
        return read_json(path) if path.is_file() else None

    @cached_property
    def sizes(self) -> Row | None:
        """Which depth is best on how many training images, and what the rule of thumb would have taken."""
        kept = self.root / "docs" / "size"
        if not (kept / "plans.csv").is_file():
            return None
        plans, pairs = read_csv(kept / "plans.csv"), read_csv(kept / "pairs.csv")
        by_name = {plan["plan"]: plan for plan in as_rows(plans)}
        depths = list(dict.fromkeys(name.rpartition("_")[0] for name in by_name))
        sizes = read_json(kept / "study.json")["sizes"]
        for size in sizes:
            of_size = {depth: by_name[f"{depth}_{size['percent']:g}"] for depth in depths}
            ruled = [plan for plan in of_size.values() if name_kind(plan) == size["rule"]]
            agrees = size["learns"] == size["rule"]
            apart = None if agrees or not ruled else find_difference(pairs, ruled[0], by_name[size["plan"]])
            size |= {"of_depth": of_size, "agrees": agrees, "apart": apart, "depth": size["plan"].rpartition("_")[0]}
        turns = [after for before, after in pairwise(sizes) if after["depth"] != before["depth"]]
        return {"depths": depths, "sizes": sizes, "agreed": sum(size["agrees"] for size in sizes), "turns": turns}

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats of images that are decoded."""
        return IMAGE_FORMATS

    @cached_property
    def backbones(self) -> list[Row]:
        """Every backbone, the sides of the images that it takes, and the parameters of its parts with two classes."""
        return [
            {"name": name, "sides": sides, "parameters": [count.parameters for count in count_by_part(
                build_backbone(name, "none", classes=2))]}
            for name, sides in BACKBONES.items()
        ]  # fmt: skip

    @cached_property
    def splits(self) -> list[Row]:
        """Each plan's accuracy under the default study's split beside what random splits would have claimed."""
        honest, random = (read_csv(self.root / kept / "plans.csv") for kept in ("reports", "docs/elpv_random"))
        return as_rows(honest.merge(random, on=KEYS, suffixes=("", "_random"), validate="1:1"))

    @cached_property
    def speed(self) -> list[Row]:
        """What the benchmark measured, by kind of processor: seconds of 30 epochs by plan, and how scripts compare."""
        found = sorted((self.root / "benchmarks").glob("results-*.json"))
        return [read_json(path) | {"kind": path.stem.removeprefix("results-")} for path in found]

    @cached_property
    def calibration(self) -> Row:
        """What simulated studies said of their certainty, and what was true, by design."""
        table = read_csv(self.root / "docs" / "statistics" / "calibration.csv")
        designs = [
            {"design": design} | {row["measure"]: row for row in as_rows(rows)}
            for design, rows in table.groupby("design", sort=False)
        ]
        bins = table[table.measure.str.startswith("probability")]
        races = table[table.measure == "same advice in a race"]
        return {
            "designs": designs,
            "over": float((bins.stated - bins.true)[bins.cases >= FEWEST_CASES].max()),
            "fewest": FEWEST_CASES,
            "races": int(races.cases.sum()),
            "same": float((races.true * races.cases).sum() / races.cases.sum()),
            "least_same": float(races.true.min()),
            "most_same": float(races.true.max()),
            "took": float(table[table.measure == "cost of a race"].true.mean()),
        }

    @cached_property
    def racing(self) -> list[Row]:
        """What racing saved of each study that was raced, and on how many splits the advice stayed as it was."""
        found = []
        for path in sorted((self.root / "docs" / "racing").glob("*.json"), reverse=True):
            measured = read_json(path)
            shares = [split["race_seconds"] / split["grid_seconds"] for split in measured["of_splits"]]
            found.append(measured | {"name": path.stem, "least": min(shares), "most": max(shares)})
        return sorted(found, key=lambda row: row["name"])

    @cached_property
    def growth(self) -> Row:
        """How a study grows with its images, and what a simulated cluster made of its fits, by images and nodes."""
        kept = self.root / "docs" / "cluster"
        return {name: as_rows(read_csv(kept / f"{name}.csv")) for name in ("growth", "simulated")}

    @cached_property
    def measured(self) -> dict[str, list[Row]]:
        """What benchmarks kept: preparing ever more images, reading kept rows, and a fit on several devices."""
        return {name: as_rows(read_csv(self.root / "benchmarks" / f"{name}.csv")) for name in MEASURED}

    @cached_property
    def architectures(self) -> Row:
        """The architectures compared: their table, and on what it was measured."""
        return describe_architectures(self.root / "docs" / "architectures")

    @cached_property
    def rooms(self) -> list[Row]:
        """The rooms of the package, each with the first line that its docstring says of it."""
        heads = {path.parent.name: path.read_text(encoding="utf-8").splitlines()[0].strip('"') for path in
                 (self.root / "frostline").glob("*/__init__.py")}  # fmt: skip
        return [{"name": name, "about": about.partition(": ")[2]} for name, about in sorted(heads.items())]
