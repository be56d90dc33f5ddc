"""What might be seen inside a run: made up, of toys whose pictures can be judged by eye."""

import functools
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frostline.backbones.runs import Run
from frostline.constants import PARTS
from frostline.files import write_json
from frostline.interpret.gradcam import Evidence, PartMaps
from frostline.interpret.inspection import Case, Inside
from frostline.interpret.output import collect_numbers, write_look
from frostline.interpret.weight_changes import Filters, Moved

CLASSES = ("functional", "defective")
MOVED = (0.0, 0.0, None, 0.0, 0.0125, 0.8)
"""Relative norms of the parts; stage2 has no parameters, and stage4 learned in part."""


def trained_run(classes: list[str]) -> Run:
    return Run(
        backbone="toy", plan="head", definition={"from": "head", "weights": "pretrained"}, image_px=24,
        preprocessing={}, learned=["head"],
        classes=classes, trainable_parameters=2, parameters=9, backbone_sha256="", weights_sha256={},
        learning_rate=0.001, replicates={"0": {}}, precision="float32", device="cpu", processor="", threads=1,
        versions={}, audit="passed", audited_tensors=1,
    )  # fmt: skip


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def case(place: int, predicted: int, actual: int | None, side: int = 24, classes: int = 2) -> Case:
    pixels = np.random.default_rng(place).integers(0, 256, (side, side, 3), dtype=np.uint8)
    probabilities = np.full(classes, 0.01 / (classes - 1))
    probabilities[predicted] = 0.99
    return Case(f"cell{place}.png", pixels, [*probabilities], actual)


def made_up(classes: tuple[str, ...] = CLASSES, side: int = 24, filters: int = 8, filter_side: int = 3) -> Inside:
    """Return what is seen of four mistakes, whose evidence lies upper left, and of four hits, lower right."""
    mistakes = [case(place, 1, 0, side, len(classes)) for place in range(4)]
    hits = [case(place, 1, 1, side, len(classes)) for place in range(4, 8)]
    heat = np.zeros((8, 3, 3), np.float32)
    heat[:4, 0, 0] = heat[4:, 2, 2] = 1
    bank = noise(filters, 3, filter_side, filter_side)
    maps = [
        PartMaps(part, f"{part}.0", [3, 1, 2, 0], noise(4, at, at), -noise(4, at, at))
        for part, at in zip(PARTS, (side // 2, side // 4, side // 8, 2), strict=False)
    ]
    moved = [
        Moved(part, 0 if norm is None else 4, {"stage4": 1, "head": 4}.get(part, 0), norm)
        for part, norm in zip(PARTS, MOVED, strict=True)
    ]
    groups = {"Worst mistakes": mistakes, "Confident hits": hits}
    return Inside(
        run=trained_run([*classes]), replicate=0, filters=Filters(bank, bank, [*range(filters)], filters),
        mapped=hits[0], maps=maps, groups=groups, evidence=Evidence("stage3.0", heat), moved=moved,
    )  # fmt: skip


def without_places() -> Inside:
    """Return what is seen inside a network whose parts all give vectors."""
    return replace(made_up(), filters=None, maps=[], evidence=None)


@functools.cache
def drawn() -> dict[str, bytes]:
    """Return the files of the made-up look, drawn once for all tests of a process."""
    with tempfile.TemporaryDirectory() as folder:
        write_look(Path(folder, "look"), made_up())
        return {path.name: path.read_bytes() for path in Path(folder, "look").iterdir()}


def write_made_up_look(folder: Path, classes: list[str]) -> None:
    """Write a look with the usual pictures, whose words are about these classes, into the folder."""
    folder.mkdir(exist_ok=True)
    for name, content in drawn().items():
        (folder / name).write_bytes(content)
    write_json(folder / "look.json", collect_numbers(made_up((*classes, "x")[: max(2, len(classes))])))
