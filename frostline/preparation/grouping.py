"""Grouping: which images belong together, as folders, names, the order of files or equal pixels tell it."""

import re

import numpy as np
import pandas as pd

from frostline.errors import InputError, list_some
from frostline.preparation.splits import Integers, encode_values, join_groups


def group_images(images: pd.DataFrame, how: str, block_files: int, alike: Integers) -> Integers:
    """Return each image's group, which no split may tear: what belongs together, and images that share an `alike`.

    `how` is data.groups. Blocks are of files in the order in which people count: frame2 before frame10.
    """
    files = np.arange(len(images))
    named = name_groups(images, how)
    if named is not None:
        apart = [name or f"/{place}" for place, name in enumerate(named)]  # no folder is called so
        return join_groups(encode_values(apart), alike)
    if how != "blocks":
        return join_groups(files, alike)
    ranks = np.empty_like(files)
    ranks[sorted(files, key=lambda place: split_numbers(images.id[place]))] = files
    return join_groups(ranks // block_files, alike)


def name_groups(images: pd.DataFrame, how: str) -> list[str] | None:
    """Return the name of each image's group, "" of one that belongs to none, where names or folders tell it."""
    if how == "column":
        return [str(group) for group in images.folder]
    if how == "folders":
        if not images.folder.any():
            must = "be told by something"
            raise InputError.of("data.groups", must, "folders, with no folder below those of the classes")
        return [str(folder) for folder in images.folder]
    if not how.startswith("name: "):
        return None
    try:
        pattern = re.compile(how.removeprefix("name: "))
    except re.error as error:
        must = "hold a regular expression after name:"
        raise InputError.of("data.groups", must, repr(how), f"Python says: {error}.") from None
    found = [pattern.search(name.rpartition("/")[2]) for name in images.id]
    missed = [name for name, match in zip(images.id, found, strict=True) if match is None]
    if missed:
        got = f"{how!r}, and {list_some(missed)} in which it finds nothing"
        raise InputError.of("data.groups", "find a group in every image's name", got)
    return [(match[1] or "" if match.re.groups else match[0]) for match in found if match]


def split_numbers(name: str) -> list[tuple[int, int | str]]:
    """Return the name as what sorts as people count."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part]


def check_torn(images: pd.DataFrame, how: str, *, alike: bool) -> None:
    """Refuse the source's own splits where they tear a group that folders, names or, if asked for, looks tell."""
    named = name_groups(images, how)
    if named is None and not alike:
        return
    is_torn = (images.groupby("group").split.transform("nunique") > 1).to_numpy()
    if named is not None:
        torn = sorted({name for name, of_torn in zip(named, is_torn, strict=True) if of_torn and name})
        refuse_torn(torn, "data.splits: folds keeps them together.")
    if alike:
        by_group = images[is_torn].groupby("group").id
        fix = "data.splits: folds keeps them together, data.duplicates: drop leaves out twins of scored ones."
        refuse_torn([" ~ ".join(ids) for _, ids in by_group], fix)


def refuse_torn(torn: list[str], fix: str) -> None:
    """Refuse these groups, if there are any."""
    if torn:
        raise InputError.of("data", "keep each group of images in one split", list_some(torn), fix)
