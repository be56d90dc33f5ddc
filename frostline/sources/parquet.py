"""Layout: whether a data set's Parquet files are one whole set, by how they lie in folders."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import datasets
import pyarrow.parquet as pq
from datasets.exceptions import DatasetsError
from huggingface_hub import metadata_load
from yaml import YAMLError

from frostline.constants import SPLITS
from frostline.errors import InputError, join_names
from frostline.params.schema import Hub
from frostline.sources.base import Example

SPLIT_WORDS = {
    "train", "training", "validation", "valid", "val", "dev", "test", "testing", "eval", "evaluation",
}  # fmt: skip
"""By these words in the name of a folder the `datasets` library knows a split."""


def check_layout(asked: Hub, names: list[str], card: Path | None) -> None:
    """Refuse Parquet files of which the library would make one set, though they are several or a part of one.

    So may those be that the hub itself made (`refs/convert/parquet`): they lie at `<configuration>/<split>`, beside no
    card, and of a large data set at `<configuration>/partial-<split>`.
    """
    if card is not None:
        with explain_card_errors(asked):
            configured = (metadata_load(card) or {}).get("configs")
        if configured:
            return
    folders = [PurePosixPath(name).parent for name in names]
    parts = sorted({str(folder) for folder in folders if any(step.startswith("partial-") for step in folder.parts)})
    if parts:
        raise _make_unfit_error(asked, "be in Parquet as a whole", " and ".join(parts))
    tops = {"" if not folder.parts or is_split(folder.parts[0]) else folder.parts[0] for folder in folders}
    if len(tops) > 1:
        raise _make_unfit_error(
            asked, "have one configuration", " and ".join(sorted(top or "files beside them" for top in tops))
        )


@contextmanager
def explain_card_errors(asked: Hub) -> Iterator[None]:
    """Raise an `InputError` about a card that the libraries, which read it meanwhile, do not understand."""
    try:
        yield
    except (YAMLError, ValueError, TypeError, AttributeError, DatasetsError) as error:
        said = str(getattr(error, "problem", None) or error).strip().partition("\n")[0]
        raise _make_unfit_error(asked, "have a card (README.md) that can be understood", f'"{said}"') from None


def is_split(folder: str) -> bool:
    """Return whether a folder of this name holds a split, and is no configuration."""
    return not SPLIT_WORDS.isdisjoint(re.split(r"[-._ 0-9]+", folder))


def _make_unfit_error(asked: Hub, must: str, got: str) -> InputError:
    hint = "Save the images that you mean to a folder, and say data.source: folder."
    return InputError.of(f"data.hub.dataset {asked.dataset}", must, got, hint)


Splits = dict[str, Any]
"""A stream of rows (`datasets.IterableDataset`) for each of train, validation and test that the data set has."""
MOST_BYTES = 1_000_000_000
"""Of a Parquet file's row group, which is read as a whole: the library writes them with a thousand images at most."""
TEXT = (datasets.Value("string"), datasets.Value("large_string"))


def open_splits(folder: Path, asked: Hub) -> Splits:
    """Return the asked splits of the folder's Parquet files, in alphabetical order, of two columns, bytes not decoded.

    Nothing is copied: rows are read from the files as they are needed.
    """
    datasets.disable_progress_bars()
    with explain_card_errors(asked):
        configurations = datasets.get_dataset_config_names(str(folder))
    if len(configurations) != 1:
        raise InputError.of(f"data.hub.dataset {asked.dataset}", "have one configuration", " and ".join(configurations))
    with explain_card_errors(asked):
        builder = datasets.load_dataset_builder(str(folder))
        found = builder.as_streaming_dataset()
    names = {split: getattr(asked, split) for split in sorted(SPLITS) if getattr(asked, split) is not None}
    for split, name in names.items():
        if name not in found:
            raise InputError.of(
                f"data.hub.{split}", f"name a split of {asked.dataset}: {join_names(sorted(found))}", repr(name)
            )
    for name in names.values():
        check_sizes(builder.config.data_files[name], asked)
    splits = {split: select_columns(found[name], asked) for split, name in names.items()}
    check_labels({split: builder.config.data_files[name] for split, name in names.items()}, asked)
    return splits


def check_sizes(paths: list[str], asked: Hub) -> None:
    """Refuse files of which a piece takes more memory than any set of images needs: a few kilobytes may hold that."""
    for path in paths:
        about = pq.read_metadata(path)
        sizes = [about.row_group(group).total_byte_size for group in range(about.num_row_groups)]
        if max(sizes, default=0) > MOST_BYTES:
            must = f"hold at most {MOST_BYTES:,} bytes in a row group"
            raise _make_unfit_error(asked, must, f"{max(sizes):,} in {Path(path).name}")


def select_columns(rows: Any, asked: Hub) -> Any:
    """Return the rows with the two columns of images and classes alone, the images as they are encoded."""
    kinds = rows.features
    for column, name in (("image", asked.image), ("label", asked.label)):
        if name not in kinds:
            raise InputError.of(
                f"data.hub.{column}", f"name a column of {asked.dataset}: {join_names(kinds)}", repr(name)
            )
    if not may_hold_images(kinds[asked.image]):
        raise InputError.of(
            "data.hub.image", "name a column of images", f"{asked.image!r}, {describe_type(kinds[asked.image])},"
        )
    if not isinstance(kinds[asked.label], datasets.ClassLabel | datasets.Value):
        got = f"{asked.label!r}, {describe_type(kinds[asked.label])},"
        raise InputError.of("data.hub.label", "name a column with one class for each image", got)
    rows = rows.select_columns([asked.image, asked.label])
    if isinstance(kinds[asked.image], datasets.Image):
        rows = rows.cast_column(asked.image, datasets.Image(decode=False))
    return rows


def may_hold_images(kind: Any) -> bool:
    """Return whether a column of this type holds encoded images: as such, as bytes, or as bytes beside a path."""
    content = kind.get("bytes") if isinstance(kind, dict) else kind
    is_bytes = isinstance(content, datasets.Value) and content.dtype in ("binary", "large_binary")
    return is_bytes or isinstance(content, datasets.Image)


def describe_type(kind: Any) -> str:
    """Return a column's type in a word or two."""
    return f"of type {kind.dtype}" if isinstance(kind, datasets.Value) else f"of type {type(kind).__name__}"


def check_labels(files: dict[str, list[str]], asked: Hub) -> None:
    """Refuse classes that are text in one file and numbers in another, or whose numbers do not mean the same.

    The library reads all files as if they were of the first one's type.
    """
    types: dict[str, str] = {}
    meanings: set[tuple[str, ...]] = set()
    for split, paths in files.items():
        for path in paths:
            kind = datasets.Features.from_arrow_schema(pq.read_schema(path)).get(asked.label)
            types["text" if kind in TEXT else "numbers"] = split
            if isinstance(kind, datasets.ClassLabel):
                meanings.add(tuple(kind.names))
    if len(types) > 1:
        got = " and ".join(f"{type_} in {split}" for type_, split in types.items())
        raise InputError.of("data.hub.label", "be of one type in every split", got)
    if len(meanings) > 1:
        raise InputError.of("data.hub.label", "have the same classes in every split", "others in some of them")


def list_classes(splits: Splits, asked: Hub) -> list[Any]:
    """Return the classes, two at least: the names that the column's type gives, or else its values, sorted."""
    kinds = [rows.features[asked.label] for rows in splits.values()]
    names = [kind.names for kind in kinds if isinstance(kind, datasets.ClassLabel)]
    classes = list(names[0]) if names else list_values(splits, asked.label)
    if len(classes) < 2:
        got = f"only {classes[0]!r}" if classes else "none"
        raise InputError.of("data.hub.label", "hold at least two classes", got)
    return classes


def list_values(splits: Splits, column: str) -> list[Any]:
    """Return what the column holds in all splits together, sorted."""
    values = {row[column] for rows in splits.values() for row in rows.select_columns([column])}
    return sorted(value for value in values if value is not None)


def read_examples(splits: Splits, classes: list[Any], asked: Hub) -> Iterator[Example]:
    """Yield every row as an example, which is named after its split and its place there, from 0 on.

    Where train is the only split, it is none: what each image is for is drawn.
    """
    place = {value: label for label, value in enumerate(classes)}
    for split, rows in splits.items():
        named = isinstance(rows.features[asked.label], datasets.ClassLabel)
        for number, row in enumerate(rows):
            name, value = f"{split}/{number:05d}", row[asked.label]
            label = value if named and value in range(len(classes)) else place.get(value)
            if label is None:
                raise InputError.of("data.hub.label", "give every image a class", f"{value!r} at {name}")
            image: dict[str, bytes | str] = {"bytes": get_encoded(row[asked.image], name), "path": name}
            official = split if len(splits) > 1 else None
            yield Example(id=name, image=image, label=label, stratum="", group="", split=official)


def get_encoded(value: Any, name: str) -> bytes:
    """Return the bytes of an image's file, which lie in the row alone or beside a path."""
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise InputError.of("data.hub.image", "hold the bytes of an image in every row", f"none at {name}")
    return content
