"""Files: written whole or not at all, read in one way, and known by their SHA-256."""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent, ScalarEvent

from frostline.errors import InputError, list_some, shorten

MOST_CHARACTERS, MOST_VALUES, MOST_DEPTH = 5_000_000, 500_000, 20
"""Of a YAML file, its aliases written out: dvc.lock of a thousand runs has half of it."""
SUMS = "SHA256SUMS"
"""The file in each folder of results that holds the SHA-256 of the others, for us and for `sha256sum --check`."""
UNFINISHED = ".unfinished-"
OF_THE_DISK = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EIO,
)  # fmt: skip
"""Errors of writing that say something of the disk, and nothing of the program."""


@contextmanager
def open_whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder to fill, which takes the name `folder` when all went well and vanishes when not.

    Each folder in it gets the sums of its files. Raises `InputError` where the disk is full or may not be written to.
    """
    unfinished, replaced = _name_beside(folder), folder.with_name(f".replaced-{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        with tell_disk(folder):
            unfinished.mkdir(parents=True)
            yield unfinished
            for inside, _, files in list(os.walk(unfinished)):
                if files:
                    write_sums(Path(inside), sorted(files))
            if folder.exists():
                folder.rename(replaced)
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def open_whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which takes the name `path` when all went well and vanishes when not.

    Raises `InputError` where the disk is full or may not be written to.
    """
    unfinished = _name_beside(path)
    try:
        with tell_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield unfinished
            unfinished.replace(path)
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


@contextmanager
def tell_disk(path: Path) -> Iterator[None]:
    """Raise an `InputError` that names the file where a disk does not let this path be written, or another file read.

    numpy, torch and safetensors have errors of their own for it, in whose text the system's words stand, or none.
    """
    try:
        yield
    except Exception as error:
        reason = find_disk_error(error)
        if reason is None or isinstance(error, InputError):
            raise
        named = Path(str(getattr(error, "filename", None) or path))
        is_ours = named == path.parent or any(named.is_relative_to(each) for each in (path, _name_beside(path)))
        where, must = (str(named).replace(UNFINISHED, ""), "be written") if is_ours else (str(named), "be read")
        raise InputError.of(where, must, repr(reason), "What was there before stands.") from None


def find_disk_error(error: BaseException) -> str | None:
    """Return in the system's words what the disk did not let happen, if that is what the error is about."""
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno) if error.errno in OF_THE_DISK else None
    said = [os.strerror(number) for number in OF_THE_DISK if os.strerror(number) in str(error)]
    if not said and re.search(
        r"PytorchStreamWriter failed writing|unexpected pos \d+ vs \d+|^\d+ requested and \d+ written$", str(error)
    ):
        return "no room for all of it"
    return said[0] if said else None


def reserve(path: Path, size: int) -> None:
    """Give the file so many bytes of its disk, or raise an `InputError` that says how many are missing.

    A file that is mapped into memory and finds its disk full ends the process without a word.
    """
    free = shutil.disk_usage(path.parent).free
    held = path.stat().st_blocks * 512 if hasattr(os, "posix_fallocate") else path.stat().st_size
    if size - held > free:
        got = f"{free:,} free bytes"
        raise InputError.of(f"the disk of {path.parent}", f"have room for {path.name}, {size:,} bytes", got)
    with tell_disk(path), path.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Wait until no other process holds the lock, a file, and keep the others waiting."""
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (NotImplementedError, OSError) as error:
        fix = "Network disks often cannot: keep the repository on one of this machine."
        got = repr(os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error))
        raise InputError.of(str(path.parent), "lie on a disk that locks files", got, fix) from None
    try:
        yield
    finally:
        lock.release()


def write_sums(folder: Path, names: Iterable[str]) -> None:
    """Write the SHA-256 of these files of the folder beside them."""
    sums = "".join(f"{hash_file(folder / name)}  {name}\n" for name in names if name != SUMS)
    with open_whole_file(folder / SUMS) as unfinished:
        unfinished.write_text(sums, encoding="utf-8")


def check_sums(folder: Path, names: Iterable[str] | None = None, fix: str = "") -> None:
    """Raise an `InputError` about the files of the folder, or these of them, that are not as they were written."""
    listing = folder / SUMS
    anew, fix = fix or "`dvc repro` runs the stage that writes it.", fix or "Remove it, and `dvc repro` brings it back."
    try:
        lines = listing.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError.of(str(listing), "be a file", "no file", anew) from None
    except UnicodeDecodeError:
        raise InputError.of(str(listing), "be as it was written", "other bytes", fix) from None
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in sums if names is None else names:
        path = folder / name
        if not path.is_file():
            raise InputError.of(str(path), f"be a file, as {SUMS} says", "no file", fix.removeprefix("Remove it, and "))
    other = [name for name in (sums if names is None else names) if hash_file(folder / name) != sums.get(name)]
    if other:
        where = list_some([str(folder / name) for name in other])
        raise InputError.of(where, f"have the SHA-256 that {listing} gives", "another", fix)


def _name_beside(path: Path) -> Path:
    """Return the name under which `path` is written until it is whole. Its ending stays, for those who go by it."""
    return path.with_name(f"{UNFINISHED}{path.name}")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write the content, readable and diffable."""
    with open_whole_file(path) as unfinished:
        unfinished.write_text(
            json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )


def read_json(path: Path) -> Any:
    """Return the content of a JSON file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        fix = "`dvc repro` runs the stage that writes it."
        raise InputError.of(str(path), "be a file", "no file", fix) from None


def read_yaml(path: Path, most: int = MOST_CHARACTERS) -> Any:
    """Return the content of a YAML file, read as dvc reads it (YAML 1.2: 1e-3 is a number, `no` is text).

    Files of more than so many characters are refused, and tags, aliases by which a few lines would mean millions, and
    more than MOST_DEPTH lists in each other.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if len(text) > most:
            raise InputError.of(str(path), f"have at most {most:,} characters", f"{len(text):,}")
        if fault := find_yaml_fault(text):
            must = f"be YAML without tags, of {MOST_DEPTH} levels and {MOST_VALUES:,} values at most"
            raise InputError.of(str(path), must, fault)
        return YAML(typ="safe", pure=True).load(text)
    except FileNotFoundError:
        raise InputError.of(str(path), "be a YAML file", "no file") from None
    except IsADirectoryError:
        raise InputError.of(str(path), "be a YAML file", "a folder") from None
    except OSError as error:
        raise InputError.of(str(path), "be a file that can be read", repr(os.strerror(error.errno or 0))) from None
    except UnicodeDecodeError:
        raise InputError.of(str(path), "be YAML in UTF-8", "other bytes") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        hint = f"The reader says: {shorten(' '.join(str(error.problem).split()))}."
        raise InputError.of(str(path), "be YAML", f"an error{place}", hint) from None
    except (YAMLError, RecursionError, OverflowError) as error:
        raise InputError.of(str(path), "be YAML", "an error", tell_reader(error)) from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError.of(str(path), "be YAML", "a value that cannot be read", tell_reader(error)) from None


def find_yaml_fault(text: str) -> str | None:
    """Return the first thing that YAML could say here and shall not, with its line."""
    sizes: dict[str, int] = {}
    inside = [("", 0)]  # of what is being read, the anchor and how many values it has so far
    for event in YAML(typ="safe", pure=True).parse(text):
        line, (anchor, size) = event.start_mark.line + 1, inside[-1]
        if isinstance(event, NodeEvent) and getattr(event, "tag", None):
            return f"a tag in line {line}"
        if isinstance(event, CollectionStartEvent):
            inside.append((event.anchor or "", 0))
        elif isinstance(event, CollectionEndEvent):
            inside.pop()
            sizes[anchor] = size + 1
            inside[-1] = (inside[-1][0], inside[-1][1] + size + 1)
        elif isinstance(event, AliasEvent):
            if any(event.anchor == its for its, _ in inside):
                return f"an alias within what it stands for in line {line}"
            inside[-1] = (anchor, size + sizes.get(str(event.anchor), 1))
        elif isinstance(event, ScalarEvent):
            inside[-1] = (anchor, size + 1)
        if len(inside) > MOST_DEPTH:
            return f"{len(inside)} levels in line {line}"
        if inside[-1][1] > MOST_VALUES:
            return f"{inside[-1][1]:,} values in line {line}"
    return None


def tell_reader(error: Exception) -> str:
    """Return what the reader said, in one line."""
    return f"The reader says: {shorten(' '.join(str(error).split())) or type(error).__name__}."


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """Write the content in the order that it has."""
    yaml = YAML(typ="safe", pure=True)
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.default_flow_style = False
    yaml.width = 120
    with open_whole_file(path) as unfinished:
        yaml.dump(content, unfinished)


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write the table with six significant digits: more than its figures deserve, and stable to diff."""
    with open_whole_file(path) as unfinished:
        table.to_csv(unfinished, index=False, float_format="%.6g", lineterminator="\n")


def read_csv(path: Path) -> pd.DataFrame:
    """Return the table. An empty cell is missing; NA or None may be somebody's class."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_project_root() -> Path:
    """Return where dvc was called, which may run an experiment in a folder of its own."""
    return Path(os.environ.get("DVC_ROOT", "."))


def locate_logs(run: str) -> Path:
    """Return the folder in which TensorBoard finds the run's curves and pictures."""
    return find_project_root() / "logs" / run
