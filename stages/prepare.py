"""Decode every image once, find what is wrong with the images, and draw each replicate's splits.

Reads: `images.parquet` and `source.json`, as fetch wrote them.
Writes: `images.npy` (uint8, images x image_px x image_px x 3), `labels.npy` (int64), `images.csv` (a row per image),
`splits.csv` (what each image is in each replicate), `duplicates.csv` (which images are alike) and `prepared.json`, into
one folder.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from frostline.constants import HUB, LEFT_OUT, MEND_IN_A_FOLDER, SPLITS
from frostline.errors import InputError, list_some, make_printable, run_command
from frostline.files import (
    check_sums,
    find_project_root,
    hash_file,
    open_whole_file,
    open_whole_folder,
    read_json,
    write_csv,
    write_json,
)
from frostline.params.loading import load_params
from frostline.params.schema import Data
from frostline.preparation.duplicates import find_alike
from frostline.preparation.grouping import check_torn, group_images
from frostline.preparation.splits import count_groups_needed, draw_folds, draw_validation, encode_values
from frostline.preparation.streaming import decode_images

MAJORITY = 0.7
"""Share of the commonest class above which a warning is due."""
MORE_GROUPS = "Add images, lower data.block_files, or use data.groups: none."
MORE_OFFICIAL = "Add images of it there, or say data.splits: folds, which tests every image."


def main(*, params: Path, raw: Path, out: Path) -> None:
    """Prepare the images of the folder `raw` for the replicates of `params`, into the folder `out`."""
    settings = load_params(params)
    data, repeats = settings.data, settings.study.repeats
    check_sums(raw)
    parquet, source = raw / "images.parquet", read_json(raw / "source.json")
    classes, of_the_hub = source["classes"], source["origin"].startswith(HUB)
    images = read_table(parquet, classes)
    with open_whole_folder(out) as folder:
        looks, notes = decode_all(parquet, folder / "images.npy", images, data.image_px, of_the_hub)
        official = are_official(images, data)
        check_labels(images, of_the_hub, official=official and data.duplicates == "refuse")
        alike = find_alike(images, looks, data.duplicates, official=official)
        images["group"] = group_images(images, data.groups, data.block_files, alike.groups)
        kept = images.drop(index=alike.dropped.tolist())
        if official:
            check_torn(kept, data.groups, alike=data.duplicates == "group")
        else:
            check_groups(kept, data.folds)
        splits = pd.concat([split_images(images, kept, data, repeat) for repeat in range(repeats)], ignore_index=True)
        check_splits(images, splits, official=official)
        np.save(folder / "labels.npy", images.label.to_numpy(np.int64))
        write_csv(folder / "images.csv", images.drop(columns=["digest", "folder"]))
        write_csv(folder / "splits.csv", splits)
        write_csv(folder / "duplicates.csv", alike.table)
        about = describe(folder, images, splits, classes, data) | alike.facts
        write_json(folder / "prepared.json", about | ({"notes": notes} if notes else {}))
    for note, count in notes.items():
        print(f"prepare: {count:,} of {len(images):,} images: {note}")
    for line in [*alike.lines, *tell_majority(images)]:
        print(f"prepare: {line}")
    print(f"prepare: {len(images):,} images of {data.image_px} px, {tell_splits(images, data, repeats)}")


def tell_majority(images: pd.DataFrame) -> list[str]:
    """Return a warning where one class has so large a share that accuracy says little."""
    shares = images["class"].value_counts(normalize=True)
    name, share = str(shares.index[0]), float(shares.iloc[0])
    if share < MAJORITY:
        return []
    fix = "data with unequal classes is better judged by advice.metric: balanced_accuracy or macro_f1"
    return [f"{100 * share:.0f} % of the images are {name!r}, which is the accuracy of always saying so; {fix}"]


def are_official(images: pd.DataFrame, data: Data) -> bool:
    """Return whether the source's own splits are taken: one of them must be test."""
    return data.splits == "auto" and bool(images.split.notna().all() and (images.split == "test").any())


def tell_splits(images: pd.DataFrame, data: Data, repeats: int) -> str:
    """Return in words which splits were taken, and why."""
    times = "" if repeats == 1 else f", {repeats} times"
    if are_official(images, data):
        missing = "" if (images.split == "validation").any() else ", validation drawn from train"
        return f"the source's own splits{missing}{times}"
    why = ""
    if images.split.notna().any():
        own = "data.splits: folds" if data.splits == "folds" else "the source's own splits have no test"
        why = f" ({own})"
    return f"{data.folds} folds that test every image once{why}{times}"


def read_table(parquet: Path, classes: list[str]) -> pd.DataFrame:
    """Return what is known of every image but its pixels: id, label, class, stratum, folder (its group), split."""
    images: pd.DataFrame = pq.read_table(parquet, columns=["id", "label", "stratum", "group", "split"]).to_pandas()
    images = images.rename(columns={"group": "folder"})
    images.insert(2, "class", [classes[label] for label in images.label])
    return images


def decode_all(
    parquet: Path, out: Path, images: pd.DataFrame, image_px: int, of_the_hub: bool
) -> tuple[NDArray[np.uint64], dict[str, int]]:
    """Write every image's pixels to `out`; return the look of each, and how many had to be made 8-bit RGB, and how.

    `images` get a column of digests, and one of notes if there are any. All that cannot be read are named.
    """
    seen = decode_images(parquet, len(images), out, image_px)
    unreadable = [f"{images.id[place]} ({fault})" for place, fault in seen.faults.items()]
    if unreadable:
        fix = MEND_IN_A_FOLDER if of_the_hub else "Mend or remove them."
        raise InputError.of("data", "hold only images that can be read", *tell_all(unreadable, fix, "unreadable.txt"))
    images["digest"] = number_digests(seen.digests)
    if seen.notes:
        images["note"] = [seen.notes.get(place, "") for place in range(len(images))]
    return seen.looks, dict(sorted(Counter(seen.notes.values()).items()))


def number_digests(digests: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return for each digest (N x bytes) the place of the first that is the same."""
    whole = np.ascontiguousarray(digests).view(f"V{digests.shape[1]}").ravel()
    _, firsts, inverse = np.unique(whole, return_index=True, return_inverse=True)
    return firsts[inverse].astype(np.int64)


def tell_all(names: list[str], fix: str, file: str) -> tuple[str, str]:
    """Return as many of the names as a line takes, and what to do; of more, a file in logs has all."""
    told = list_some(names)
    if not told.endswith(" more"):
        return told, fix
    path = find_project_root() / "logs" / file
    with open_whole_file(path) as unfinished:
        unfinished.write_text("".join(f"{make_printable(name)}\n" for name in names), encoding="utf-8")
    return told, f"{fix} logs/{file} lists them all."


def check_labels(images: pd.DataFrame, of_the_hub: bool, *, official: bool) -> None:
    """Refuse the same pixels under two classes, and, with `official`, in two of the splits that are taken."""
    for column, must in (("class", "belong to one class"), ("split", "lie in one split")):
        if column == "split" and not official:
            continue
        differs = images.groupby("digest")[column].transform("nunique") > 1
        same = images[differs].groupby("digest", sort=False).id.agg(" = ".join)
        if len(same):
            fix = MEND_IN_A_FOLDER if of_the_hub else "Keep one of each."
            if column == "split":
                fix = "data.duplicates: drop leaves out the twin of one that is scored."
            raise InputError.of("data", f"let the same image {must}", *tell_all(list(same), fix, "duplicates.txt"))


def check_groups(images: pd.DataFrame, folds: int) -> None:
    """Refuse a class of which not every replicate could have a group to train on and one to validate."""
    needed = count_groups_needed(folds)
    for name, its in images.groupby("class"):
        groups = its.group.nunique()
        if groups < needed:
            alone = groups == len(its)
            must = (
                f"hold at least {needed} {'images' if alone else 'groups of images'} of every class for {folds} folds"
            )
            count = f"{len(its)} image{'' if len(its) == 1 else 's'}"
            got = f"{count} of {name!r}" if alone else f"{count} of {name!r} in {groups}"
            raise InputError.of("data", must, got, "Add images of it." if alone else MORE_GROUPS)


def split_images(everything: pd.DataFrame, images: pd.DataFrame, data: Data, repeat: int) -> pd.DataFrame:
    """Return what each image is in each replicate of the repeat: one for each fold, or one of the source's own.

    Those of `everything` that are not among the `images` are left out.
    """
    rows, dropped = images.index.to_numpy(), everything.index.difference(images.index).to_numpy()
    strata, groups = encode_values(zip(images["class"], images.stratum, strict=True)), images.group.to_numpy()
    labels, share = images.label.to_numpy(np.int64), data.validation_percent / 100
    if are_official(everything, data):
        tested, first = [(images.split == "test").to_numpy()], repeat
    else:
        fold_of = draw_folds(groups, strata, labels, data.folds, repeat)
        tested, first = [fold_of == fold for fold in range(data.folds)], data.folds * repeat
    tables = []
    for fold, test in enumerate(tested):
        splits = np.where(test, "test", "train").astype("U10")
        if are_official(everything, data) and (images.split == "validation").any():
            splits = images.split.to_numpy("U10")
        else:
            rest = np.flatnonzero(~test)
            drawn = draw_validation(groups[rest], strata[rest], labels[rest], share, [repeat, fold])
            splits[rest[drawn]] = "validation"
        its = pd.DataFrame({"replicate": first + fold, "image": rows, "split": splits})
        left = pd.DataFrame({"replicate": first + fold, "image": dropped, "split": LEFT_OUT})
        tables.append(pd.concat([its, left]).sort_values("image") if len(dropped) else its)
    return pd.concat(tables)


def check_splits(images: pd.DataFrame, splits: pd.DataFrame, *, official: bool) -> None:
    """Refuse splits of which one lacks a class, because nothing can be learned or said of it there.

    A fold need not test every class, as all folds together do.
    """
    labels = images["class"].to_numpy()[splits.image]
    counts = pd.crosstab([splits.replicate, splits.split], labels)
    must_hold = SPLITS if official else SPLITS[:2]
    for replicate, split in ((replicate, split) for replicate in splits.replicate.unique() for split in must_hold):
        found = counts.loc[(replicate, split)] if (replicate, split) in counts.index else counts.iloc[0] * 0
        for name in found.index[found == 0]:
            where = f"the {split} split" if official else f"the {split} images of replicate {replicate}"
            fix = MORE_OFFICIAL if official else MORE_GROUPS
            raise InputError.of(where, "hold every class", f"no image of {name!r}", fix)
    check_scored_groups(images, splits, official=official)


def check_scored_groups(images: pd.DataFrame, splits: pd.DataFrame, *, official: bool) -> None:
    """Refuse images to be scored that are a single group: nobody could say how sure its figures are."""
    tested = images.group.to_numpy()[splits.image[splits.split == "test"]]
    if len(np.unique(tested)) < 2:
        raise InputError.of(
            "the test split", "hold at least 2 groups of images", "1", MORE_OFFICIAL if official else MORE_GROUPS
        )


def describe(
    folder: Path, images: pd.DataFrame, splits: pd.DataFrame, classes: list[str], data: Data
) -> dict[str, object]:
    """Return what prepared.json says: the counts by which a person sees at once whether the splits are sound."""
    official, per_split = are_official(images, data), splits.groupby(["replicate", "split"]).size().unstack()
    return {
        "classes": classes,
        "images": len(images),
        "images_per_class": {name: int((images["class"] == name).sum()) for name in classes},
        "image_px": data.image_px,
        "groups": int(images.group.nunique()),
        "splits": "official" if official else "folds",
        "folds": 1 if official else data.folds,
        "groups_by": data.groups,
        "images_per_split": {
            str(replicate): counts[list(SPLITS)].to_dict() for replicate, counts in per_split.iterrows()
        },
        "sha256": {name: hash_file(folder / name) for name in ("images.npy", "labels.npy", "splits.csv")},
    }


if __name__ == "__main__":
    run_command(main)
