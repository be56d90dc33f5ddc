"""Decode every image once, find what is wrong with the images, and draw each seed's splits.

Reads: `images.parquet` and `source.json`, as fetch wrote them.
Writes: `images.npy` (uint8, images x image_px x image_px x 3), `labels.npy` (int64), `images.csv` (a row per image),
`splits.csv` (what each image is for each seed) and `prepared.json`, into one folder.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from frostline.constants import HUB, MEND_IN_A_FOLDER, SPLITS
from frostline.data.images import Decoded, decode
from frostline.data.splits import complete_official, draw_splits, encode_values, join_groups
from frostline.errors import InputError, run_command
from frostline.files import hash_file, open_whole_folder, read_json, write_csv, write_json
from frostline.params import Data, load_params

# Enough to keep the decoding threads busy, few enough that memory does not grow with the number of images.
IMAGES_AT_ONCE = 256
NAMED_AT_MOST = 20
MORE_GROUPS = "Add images, lower data.block_files, or use data.groups: none."
MORE_OFFICIAL = "Add images of it there, or leave the split folders out: then every seed draws its own."


def main(*, params: Path, raw: Path, out: Path) -> None:
    """Prepare the images of the folder `raw` for the seeds of `params`, into the folder `out`."""
    settings = load_params(params)
    data, seeds = settings.data, settings.study.seeds
    parquet, source = raw / "images.parquet", read_json(raw / "source.json")
    classes, of_the_hub = source["classes"], source["origin"].startswith(HUB)
    images = read_table(parquet, classes)
    with open_whole_folder(out) as folder:
        images["digest"] = decode_all(parquet, folder / "images.npy", len(images), data.image_px, of_the_hub)
        check_labels(images, of_the_hub)
        images["group"] = group_images(images, data)
        check_groups(images)
        splits = pd.concat([split_images(images, data, seed) for seed in seeds], ignore_index=True)
        check_splits(images, splits)
        np.save(folder / "labels.npy", images.label.to_numpy(np.int64))
        write_csv(folder / "images.csv", images.drop(columns="digest"))
        write_csv(folder / "splits.csv", splits)
        write_json(folder / "prepared.json", describe(folder, images, splits, classes, data))
    print(f"prepare: {len(images):,} images of {data.image_px} px, splits for {len(seeds)} seeds")


def read_table(parquet: Path, classes: list[str]) -> pd.DataFrame:
    """Return what is known of every image but its pixels: id, label, class, stratum, split."""
    images: pd.DataFrame = pq.read_table(parquet, columns=["id", "label", "stratum", "split"]).to_pandas()
    images.insert(2, "class", [classes[label] for label in images.label])
    return images


def decode_all(parquet: Path, out: Path, count: int, image_px: int, of_the_hub: bool) -> list[str]:
    """Write every image's pixels to `out` and return the digest of each; name all that cannot be read."""
    arrays = np.lib.format.open_memmap(out, mode="w+", dtype=np.uint8, shape=(count, image_px, image_px, 3))
    digests: list[str] = []
    unreadable: list[str] = []
    with ThreadPoolExecutor() as pool:
        for ids, encoded in _read_batches(parquet):
            results = pool.map(lambda file: decode(file, image_px), encoded)
            for name, result in zip(ids, results, strict=True):
                if isinstance(result, Decoded):
                    arrays[len(digests)] = result.pixels
                    digests.append(result.digest)
                else:
                    unreadable.append(f"{name} ({result})")
    if unreadable:
        fix = MEND_IN_A_FOLDER if of_the_hub else "Mend or remove them."
        raise InputError.of("data", "hold only images that can be read", _list_some(unreadable), fix)
    arrays.flush()
    return digests


def _read_batches(parquet: Path) -> Iterator[tuple[list[str], list[bytes]]]:
    for batch in pq.ParquetFile(parquet).iter_batches(IMAGES_AT_ONCE, columns=["id", "image"]):
        rows = batch.to_pydict()
        yield rows["id"], [image["bytes"] for image in rows["image"]]


def check_labels(images: pd.DataFrame, of_the_hub: bool) -> None:
    """Refuse the same pixels under two classes, or in two official splits."""
    for column, must in (("class", "belong to one class"), ("split", "lie in one split")):
        differs = images.groupby("digest")[column].transform("nunique") > 1
        same = images[differs].groupby("digest", sort=False).id.agg(" = ".join)
        if len(same):
            fix = MEND_IN_A_FOLDER if of_the_hub else "Keep one of each."
            raise InputError.of("data", f"let the same image {must}", _list_some(list(same)), fix)


def group_images(images: pd.DataFrame, data: Data) -> np.ndarray:
    """Return each image's group, which no split may tear: its block of files, and images with the same pixels."""
    files = np.arange(len(images))
    blocks = files // data.block_files if data.groups == "blocks" else files
    return join_groups(blocks, encode_values(images.digest))


def check_groups(images: pd.DataFrame) -> None:
    """Refuse a class of which no draw can give every split a group. Official splits are checked once they are known."""
    if images.split.notna().all():
        return
    for name, groups in images.groupby("class").group.nunique().items():
        if groups < len(SPLITS):
            must = f"hold every class in at least {len(SPLITS)} groups of images, one for each split"
            raise InputError.of("data", must, f"{name!r} in {groups}", MORE_GROUPS)


def split_images(images: pd.DataFrame, data: Data, seed: int) -> pd.DataFrame:
    """Return what each image is for the seed: the official split where there is one, else one drawn by seed."""
    strata, groups = encode_values(zip(images["class"], images.stratum, strict=True)), images.group.to_numpy()
    validation_share, test_share = data.validation_percent / 100, data.test_percent / 100
    if images.split.notna().all():
        splits = complete_official(images.split.to_numpy(str), groups, strata, validation_share, test_share, seed)
    else:
        splits = draw_splits(groups, strata, validation_share, test_share, seed)
    return pd.DataFrame({"seed": seed, "image": np.arange(len(images)), "split": splits})


def check_splits(images: pd.DataFrame, splits: pd.DataFrame) -> None:
    """Refuse splits of which one lacks a class, because nothing can be learned or said of it there."""
    labels = images["class"].to_numpy()[splits.image]
    counts = pd.crosstab([splits.seed, splits.split], labels)
    for seed, split in ((seed, split) for seed in splits.seed.unique() for split in SPLITS):
        found = counts.loc[(seed, split)] if (seed, split) in counts.index else counts.iloc[0] * 0
        for name in found.index[found == 0]:
            fix = MORE_GROUPS if images.split.isna().any() else MORE_OFFICIAL
            raise InputError.of(f"the {split} split of seed {seed}", "hold every class", f"no image of {name!r}", fix)
    check_scored_groups(images, splits)


def check_scored_groups(images: pd.DataFrame, splits: pd.DataFrame) -> None:
    """Refuse a split to be scored that is a single group of images: nobody could say how sure its figures are."""
    groups = images.group.to_numpy()[splits.image]
    counts = pd.Series(groups).groupby([splits.seed, splits.split]).nunique()
    for seed, split in ((seed, split) for seed in splits.seed.unique() for split in SPLITS[1:]):
        if counts[seed, split] < 2:
            raise InputError.of(
                f"the {split} split of seed {seed}", "hold at least 2 groups of images", "1", MORE_GROUPS
            )


def describe(
    folder: Path, images: pd.DataFrame, splits: pd.DataFrame, classes: list[str], data: Data
) -> dict[str, object]:
    """Return what prepared.json says: the counts by which a person sees at once whether the splits are sound."""
    duplicates = len(images) - images.digest.nunique()
    per_split = splits.groupby(["seed", "split"]).size().unstack()
    return {
        "classes": classes,
        "images": len(images),
        "images_per_class": {name: int((images["class"] == name).sum()) for name in classes},
        "image_px": data.image_px,
        "groups": int(images.group.nunique()),
        "exact_duplicates": int(duplicates),
        "splits": "official" if images.split.notna().all() else f"drawn by seed, groups: {data.groups}",
        "images_per_split": {str(seed): counts[list(SPLITS)].to_dict() for seed, counts in per_split.iterrows()},
        "sha256": {name: hash_file(folder / name) for name in ("images.npy", "labels.npy", "splits.csv")},
    }


def _list_some(names: list[str]) -> str:
    """Return the names, the first twenty of them when there are more."""
    more = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


if __name__ == "__main__":
    run_command(main)
