"""The images that all scripts are shown: a folder of yours, or the cells that the package elpv-dataset ships."""

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from frostline.constants import SPLITS
from frostline.errors import InputError
from frostline.sources.folders import read_folders
from frostline.sources.local import read_elpv

ELPV_IMAGES = {"train": 1034, "validation": 133, "test": 128}
"""As many as the bean leaves have, so that seconds compare."""

HELD_OUT = 0.1
"""The share of every class that makes up a split which the folder does not have."""

Found = tuple[str | None, str, Path]
"""An image's split (None where the folder has none), its class, and where it lies."""


def arrange(
    found: Iterable[Found], training_images: int | None, into: Path, *, spare_validates: bool = False
) -> dict[str, int]:
    """Link the images into split folders of class folders below `into`; return how many each split has.

    With `training_images` it takes so many to train on, stratified by class, and shrinks the other splits alike; every
    class keeps an image in every split. The choice is the same each time. With `spare_validates` validation does not
    shrink, but takes what training leaves: seconds should keep their proportions, but accuracies need many images.
    """
    by_split = complete(found)
    if spare_validates and training_images is not None:
        by_split["train"], spare = halve(by_split["train"], training_images)
        for class_name, paths in spare.items():
            by_split["validation"][class_name] = [*by_split["validation"][class_name], *paths]
        training_images = None
    everything = sum(map(len, by_split["train"].values()))
    share = 1.0 if training_images is None else min(1.0, training_images / everything)
    counts = {}
    for split, classes in by_split.items():
        wanted = round(share * sum(map(len, classes.values())))
        chosen = stratify(classes, wanted)
        counts[split] = sum(map(len, chosen.values()))
        for class_name, paths in chosen.items():
            link(paths, into / split / class_name)
    return counts


def complete(found: Iterable[Found]) -> dict[str, dict[str, list[Path]]]:
    """Return the images by split and class. A split that is missing takes its share of every class of the others."""
    by_split: dict[str, dict[str, list[Path]]] = {split: defaultdict(list) for split in SPLITS}
    for split, class_name, path in found:
        by_split[split or "train"][class_name].append(path)
    missing = [split for split in SPLITS[1:] if not by_split[split]]
    for class_name, paths in by_split["train"].items():
        count = max(1, round(HELD_OUT * len(paths)))
        for split in missing:
            by_split[split][class_name] = take(paths, count, class_name)
    return by_split


def halve(classes: dict[str, list[Path]], wanted: int) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Return about `wanted` images, stratified by class, and the others."""
    chosen = stratify(classes, wanted)
    spare = {name: [path for path in paths if path not in set(chosen[name])] for name, paths in classes.items()}
    return chosen, spare


def take(paths: list[Path], count: int, class_name: str) -> list[Path]:
    """Remove so many of the paths and return them; refuse to leave nothing."""
    taken = shuffle(paths, class_name)[:count]
    if len(taken) == len(paths):
        raise InputError.of("--folder", "hold images of every class for every split", f"too few of {class_name!r}")
    for path in taken:
        paths.remove(path)
    return taken


def stratify(classes: dict[str, list[Path]], wanted: int) -> dict[str, list[Path]]:
    """Return about `wanted` images, of each class its share (by largest remainder) and at least one."""
    total = sum(map(len, classes.values()))
    shares = {name: wanted * len(paths) / total for name, paths in classes.items()}
    counts = {name: int(share) for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: counts[name] - shares[name])
    for name in by_remainder[: wanted - sum(counts.values())]:
        counts[name] += 1
    return {name: sorted(shuffle(paths, name)[: max(1, counts[name])]) for name, paths in classes.items()}


def shuffle(paths: list[Path], name: str) -> list[Path]:
    """Return the paths in an order that depends on their number and `name` alone."""
    return random.Random(name).sample(sorted(paths), len(paths))  # noqa: S311 - a draw of images, no secret


def link(paths: list[Path], folder: Path) -> None:
    """Make a link to every file in the folder; numbers keep apart files of one name from several folders."""
    folder.mkdir(parents=True)
    for number, path in enumerate(paths):
        (folder / f"{number:05d}-{path.name}").symlink_to(path.resolve())


def find_folder_images(root: Path) -> list[Found]:
    """Return the images of class folders, which may lie in folders named train, validation and test."""
    return [(each.split, each.class_name, each.path) for each in read_folders(root).images]


def write_elpv_images(into: Path) -> list[Found]:
    """Write the package's solar cells as they are (PNG, 300 px), no pixels twice, and return them in three splits."""
    source = read_elpv("probability >= 0.5")
    seen: set[str] = set()
    cells: dict[str, list[Path]] = defaultdict(list)
    for example in source.examples():
        encoded = example["image"]["bytes"]
        if not isinstance(encoded, bytes) or (digest := hashlib.sha256(encoded).hexdigest()) in seen:
            continue
        seen.add(digest)
        path = into / source.classes[example["label"]] / example["id"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded)
        cells[path.parent.name].append(path)
    return deal(cells)


def deal(cells: dict[str, list[Path]]) -> list[Found]:
    """Return the splits of `ELPV_IMAGES`, each drawn in proportion to the classes from what the others left."""
    left = {name: list(paths) for name, paths in cells.items()}
    found: list[Found] = []
    for split, wanted in ELPV_IMAGES.items():
        chosen, left = halve(left, wanted)
        found += [(split, name, path) for name, paths in chosen.items() for path in paths]
    return found
