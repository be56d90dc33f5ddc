"""Output: a row for each image as CSV or JSON lines, and what is said of all of them at the end."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frostline.errors import InputError, list_some, make_printable
from frostline.files import open_whole_file
from frostline.predict.predicting import Predicted

DIGITS = 6
"""Of a probability."""


@dataclass(frozen=True)
class Doubt:
    """Below which probability an image is doubtful, the share of the others that shall be right, and that was."""

    level: float
    threshold: float | None
    right: float | None


@dataclass
class Tally:
    """What was counted while rows were written: hits and doubts are of the images that could be read."""

    predicted: int = 0
    doubtful: int = 0
    labelled: int = 0
    right: int = 0
    labelled_sure: int = 0
    right_sure: int = 0
    unreadable: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Writer:
    """Writes rows in one of the formats; below the threshold an image is doubtful, without one all are."""

    classes: Sequence[str]
    threshold: float | None
    with_labels: bool
    tally: Tally = field(default_factory=Tally)

    def write(self, path: Path, form: str, found: Iterable[Predicted]) -> None:
        """Write a row for each image that could be read to the file, whole or not at all."""
        with open_whole_file(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
            if form == "csv":
                table = csv.DictWriter(file, self.list_columns(), lineterminator="\n")
                table.writeheader()
                table.writerows(self.make_rows(found))
            else:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in self.make_rows(found))

    def list_columns(self) -> list[str]:
        """Return the names of the columns."""
        label = ["label"] if self.with_labels else []
        return ["path", "class", "probability", "doubtful", *label, *(f"probability_{name}" for name in self.classes)]

    def make_rows(self, found: Iterable[Predicted]) -> Iterator[dict[str, Any]]:
        """Yield the rows, and count."""
        for each in found:
            if each.probabilities is None:
                self.tally.unreadable.append(f"{each.asked.name} ({each.reason})")
                continue
            place, values = int(each.probabilities.argmax()), [round(float(p), DIGITS) for p in each.probabilities]
            is_doubtful = self.threshold is None or values[place] < self.threshold
            label = {"label": each.asked.label} if self.with_labels else {}
            self.count(self.classes[place], each.asked.label, is_doubtful=is_doubtful)
            head = {"path": each.asked.name, "class": self.classes[place], "probability": values[place]}
            of_classes = {f"probability_{name}": value for name, value in zip(self.classes, values, strict=True)}
            yield head | {"doubtful": is_doubtful} | label | of_classes

    def count(self, named: str, label: str | None, *, is_doubtful: bool) -> None:
        """Count one image."""
        self.tally.predicted += 1
        self.tally.doubtful += is_doubtful
        if label is not None:
            self.tally.labelled += 1
            self.tally.right += named == label
            self.tally.labelled_sure += not is_doubtful
            self.tally.right_sure += named == label and not is_doubtful


def list_sentences(tally: Tally, doubt: Doubt) -> list[str]:
    """Return in words what came of the images, and what the study shows of such."""
    share = f"{tally.doubtful:,} of {tally.predicted:,} images are doubtful"
    if doubt.threshold is None:
        told = [f"{share}: no probability shows {format_share(doubt.level)} to be right."]
    else:
        told = [f"{share}: their highest probability is below {doubt.threshold:.3f}."]
        if doubt.right is not None:
            told.append(f"Of those that are not, {format_share(doubt.right)} were named rightly in the study.")
    if tally.labelled:
        told.append(f"Named rightly: {format_share(tally.right / tally.labelled)} of {tally.labelled:,} with a class.")
    if tally.labelled_sure:
        share = format_share(tally.right_sure / tally.labelled_sure)
        told.append(f"Of the {tally.labelled_sure:,} of them that are not doubtful: {share}.")
    return told


def format_share(share: float) -> str:
    """Return a share as per cent."""
    return f"{100 * share:.1f} %"


def tell_unreadable(unreadable: Sequence[str], out: Path) -> str:
    """Return the names of what could not be read, in one line; where there are many, a file beside `out` has all."""
    told, hint = list_some(unreadable), ""
    if told.endswith(" more"):
        path = out.with_name(f"{out.stem}-unreadable.txt")
        with open_whole_file(path) as unfinished:
            unfinished.write_text("".join(f"{make_printable(name)}\n" for name in unreadable), encoding="utf-8")
        hint = f"{path} lists them all."
    return str(InputError.of("IMAGES", "be images that can be read", told, hint))
