"""Tables of images: a CSV or Parquet file that names each image's file, its class, and where known group and split."""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from frostline.constants import IMAGE_ENDINGS
from frostline.errors import InputError, join_names, shorten
from frostline.params.schema import Table
from frostline.sources.base import Example, Source
from frostline.sources.folders import find_split, is_utf8, join_few

MOST_BYTES = 2_000_000_000
"""Of a table in memory: its file may hold far less."""
UNREADABLE = (ValueError, OSError, LookupError, OverflowError, MemoryError, csv.Error, pa.ArrowException)
"""What pandas and pyarrow raise at files that are none of theirs, or damaged."""
OUTSIDE = "dvc does not see what changes elsewhere."


def read_table(root: Path, asked: Table) -> Source:
    """Return the images that the tables of the folder `root` name, in the order in which they do.

    Paths are relative to `asked.images`, which is relative to the folder of the table; a name without an ending is that
    of the one image file that is called so. Raises `InputError` about what is wrong, naming three and how many more.
    """
    tables = find_tables(root, asked)
    rows = pd.concat([read_rows(root, path, asked, several=len(tables) > 1) for path in tables], ignore_index=True)
    check_rows(rows, asked)
    named = rows.label.unique()
    classes = sorted(named, key=lambda name: (int(name) if all(each.isdecimal() for each in named) else 0, name))

    def read_examples() -> Iterator[Example]:
        for row in rows.itertuples():
            name = str(row.id)
            image: dict[str, bytes | str] = {"bytes": (root / name).read_bytes(), "path": name}
            label, split = classes.index(str(row.label)), str(row.split) or None
            yield Example(id=name, image=image, label=label, stratum="", group=str(row.group), split=split)

    digest = hashlib.sha256()
    for path in tables:
        digest.update(path.read_bytes())
    for name in rows.id:
        digest.update(f"{name}\0{(root / name).stat().st_size}\0".encode())
    facts: dict[str, object] = {
        "origin": f"table {asked.file} in the folder {root.resolve().name}",
        "revision": f"sha256 of the table, names and lengths {digest.hexdigest()}",
        "licence": "not known to Frostline: the folder is yours",
        "labels": f"the column {asked.label!r}",
        "strata": "none",
        "understood": tell_table(rows, classes, tables),
        "left_alone": tell_unnamed(root, rows),
    }
    return Source(classes, facts, read_examples)


def find_tables(root: Path, asked: Table) -> list[Path]:
    """Return the files of the folder that `asked.file` names: one, or those that fit a pattern."""
    if not root.is_dir():
        raise InputError.of("data.folder", "be the folder of the table and its images", f"no folder at {str(root)!r}")
    try:
        found = sorted(path for path in root.glob(asked.file) if path.is_file())
    except (ValueError, NotImplementedError) as error:
        raise refuse("file", "name a file in data.folder", f"{asked.file!r} ({error})") from None
    if not found:
        raise refuse("file", "name a CSV or Parquet file in data.folder", f"no file {asked.file!r} in {str(root)!r}")
    return found


def read_rows(root: Path, path: Path, asked: Table, *, several: bool) -> pd.DataFrame:
    """Return a table's rows as text: id (the image's path below `root`), label, group and split, "" where unknown.

    Where `several` tables are in folders that say a split, theirs is that.
    """
    columns = {"image": asked.image, "label": asked.label, "group": asked.group, "split": asked.split}
    table = read_file(path)
    for name, column in columns.items():
        if column is not None and column not in table:
            known = join_names(map(repr, list(table)[:20])) if len(table.columns) else "none"
            raise refuse(name, f"name a column of {path.name}: {shorten(known)}", repr(column))
    rows = pd.DataFrame({name: table[column] if column else "" for name, column in columns.items()}, index=table.index)
    rows["row"] = [f"{path.name}, row {place}" for place in range(1, len(rows) + 1)]
    rows["id"] = locate_images(root, path.parent / asked.images, rows)
    if asked.split is None and several:
        rows["split"] = find_split(path.parent.name) or ""
    elif asked.split is not None:
        told = {value: find_split(value) for value in rows.split.unique()}
        odd = [repr(value) for value, split in told.items() if split is None]
        if odd:
            raise refuse("split", "name a column of train, validation and test", join_few(odd))
        rows["split"] = rows.split.map(told)
    return rows


def read_file(path: Path) -> pd.DataFrame:
    """Return the table of a CSV file, whatever parts its columns, or of a Parquet file, all as text."""
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            check_size(path)
            table: pd.DataFrame = pq.read_table(path).to_pandas()
            return table.map(tell_value)
        return pd.read_csv(path, sep=None, engine="python", dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except InputError:
        raise
    except UNREADABLE as error:
        said = shorten(" ".join(str(error).split())) or type(error).__name__
        raise refuse("file", "name a table that can be read", path.name, f"The reader says: {said}.") from None


def check_size(path: Path) -> None:
    """Refuse a Parquet file that says itself that it takes too much memory."""
    about = pq.read_metadata(path)
    size = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
    if max(size, about.num_rows * about.num_columns) > MOST_BYTES:
        raise refuse("file", f"hold at most {MOST_BYTES:,} bytes", f"{size:,} in {path.name}")


def tell_value(value: object) -> str:
    """Return a cell's value as text, "" where there is none; 3.0 in a column of numbers with gaps is 3."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def locate_images(root: Path, base: Path, rows: pd.DataFrame) -> list[str]:
    """Return the path of each row's image below `root`."""
    top, missing, outside, found = root.resolve(), [], [], []
    for value, row in zip(rows.image, rows.row, strict=True):
        said = unquote(urlsplit(value).path) if value.startswith("file://") else value
        path = find_file(base / said) if said and is_utf8(Path(said)) and "\0" not in said else None
        if path is None:
            missing.append(f"{shorten(repr(value))} ({row})")
        elif not path.resolve().is_relative_to(top):
            outside.append(f"{shorten(repr(value))} ({row})")
        else:
            found.append(path.resolve().relative_to(top).as_posix())
    if missing:
        raise refuse("image", "name files that are there", join_few(missing))
    if outside:
        raise refuse("image", f"name files in {str(root)!r}", join_few(outside), OUTSIDE)
    return found


def find_file(path: Path) -> Path | None:
    """Return the file of this name, or the only image that is called so but for its ending."""
    try:
        if path.is_file():
            return path
        beside = [path.with_name(path.name + ending) for ending in IMAGE_ENDINGS]
        found = [each for each in beside if each.is_file()]
    except OSError:  # a name that is too long
        return None
    return found[0] if len(found) == 1 else None


def check_rows(rows: pd.DataFrame, asked: Table) -> None:
    """Refuse rows that name no class, an image twice, a single class, or splits that are not enough."""
    if rows.empty:
        raise refuse("file", "hold a row for each image", "none")
    for column, must in (("label", "give every image a class"), ("split", "give every image a split, or none")):
        empty = rows[rows[column] == ""]
        if len(empty) and (column == "label" or len(empty) < len(rows)):
            raise refuse(column, must, join_few([f"nothing for {name!r}" for name in empty.id]))
    for name in sorted(rows.label.unique()):
        if not is_utf8(Path(name)):
            raise refuse("label", "hold classes that are UTF-8", repr(name))
    twice = list(dict.fromkeys(rows.id[rows.id.duplicated()]))
    if twice:
        raise refuse("image", "name each image once", join_few([f"{name!r} several times" for name in twice]))
    if rows.label.nunique() < 2:
        raise refuse("label", "hold at least two classes", f"only {rows.label.iloc[0]!r}")
    splits = set(rows.split)
    if splits != {""} and ("train" not in splits or len(splits) == 1):
        fix = "With split: null every image is tested, in folds."
        raise refuse("split", "hold train beside validation or test", f"only {' and '.join(sorted(splits))}", fix)
    if asked.group is not None and not rows.group.any():
        raise refuse("group", "name the group of some image", f"nothing in the column {asked.group!r}")


def tell_table(rows: pd.DataFrame, classes: Sequence[str], tables: Sequence[Path]) -> str:
    """Return in words what the table was understood to be."""
    files = "a table" if len(tables) == 1 else f"{len(tables)} tables"
    splits = [split for split in ("train", "validation", "test") if (rows.split == split).any()]
    groups = rows.group[rows.group != ""].nunique()
    more = [f"splits {', '.join(splits)}"] if splits else []
    more += [f"{groups:,} groups"] if groups else []
    return f"{files} of {len(rows):,} images in {len(classes)} classes{''.join(f', {each}' for each in more)}"


def tell_unnamed(root: Path, rows: pd.DataFrame) -> list[str]:
    """Return how many images lie in the folder that the table does not name, by ending."""
    named = set(rows.id)
    others = (path for path in root.rglob("*") if path.suffix.lower() in IMAGE_ENDINGS and path.is_file())
    left = Counter(path.suffix.lower() for path in others if path.relative_to(root).as_posix() not in named)
    return [f"{count:,} {ending} (not in the table)" for ending, count in sorted(left.items())]


def refuse(column: str, must: str, got: str, hint: str = "") -> InputError:
    """Return the error of a table."""
    return InputError.of(f"data.table.{column}", must, got, hint)
