"""Listing: the images that are asked about, and their classes where folders or a table tell them."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from frostline.constants import IMAGE_ENDINGS
from frostline.errors import InputError, join_names, shorten

LISTS = (".csv", ".txt")
"""Endings of lists: a table with a column `path`, and maybe `label`, or a path a line."""


@dataclass(frozen=True)
class Asked:
    """An image: the name that it has in what is written, where it lies, and its class where that is known."""

    name: str
    path: Path
    label: str | None = None


def list_images(where: str, classes: Sequence[str]) -> list[Asked]:
    """Return the images of a folder, with all below it, of a list, or the one image, or raise an `InputError`.

    Folders tell the class of an image where one that it lies in is called as a class.
    """
    path = Path(where)
    if path.is_dir():
        found = [file for file in sorted(path.rglob("*")) if _is_image(file.relative_to(path)) and file.is_file()]
        asked = [Asked(file.relative_to(path).as_posix(), file, _find_class(file, path, classes)) for file in found]
    elif path.is_file():
        asked = read_list(path, classes) if path.suffix.lower() in LISTS else [Asked(path.name, path)]
    else:
        raise InputError.of("IMAGES", "be a folder, a file or a list", f"nothing at {where!r}")
    if not asked:
        raise InputError.of("IMAGES", f"hold images ({', '.join(IMAGE_ENDINGS[:8])}, ...)", f"none in {where!r}")
    return asked


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_ENDINGS and not any(part.startswith(".") for part in path.parts)


def _find_class(file: Path, root: Path, classes: Sequence[str]) -> str | None:
    names = [*file.relative_to(root).parts[:-1]]
    return next((name for name in reversed(names) if name in classes), None)


def read_list(path: Path, classes: Sequence[str]) -> list[Asked]:
    """Return the images of a list; paths are seen from the list's own folder where they are not absolute."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError.of(str(path), "be a list in UTF-8", "other bytes") from None
    if path.suffix.lower() == ".txt":
        return [Asked(line, path.parent / line) for line in map(str.strip, text.splitlines()) if line]
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if "path" not in (rows.fieldnames or ()):
        got = f"{join_names(rows.fieldnames)} alone" if rows.fieldnames else "none"
        raise InputError.of(str(path), "have a column path", shorten(got))
    asked = [Asked(row["path"] or "", path.parent / (row["path"] or ""), row.get("label") or None) for row in rows]
    for each in asked:
        if each.label is not None and each.label not in classes:
            raise InputError.of(f"the labels of {path}", f"be {join_names(classes)}", shorten(repr(each.label)))
    return asked
