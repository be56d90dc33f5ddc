"""Ready studies: each as a whole params.yaml, with its comments.

studies/default.yaml is the whole of it; every other study holds what differs from that.
"""

from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from frostline.errors import InputError, join_names
from frostline.files import read_yaml
from frostline.params.loading import check_params
from frostline.params.schema import Params

WHOLE = "default"
REPLACED = ("plans",)
"""Sections that a study which has them replaces whole: a plan that it does not name is none of its."""


def write_study(name: str, root: Path, folder: str | None = None) -> str:
    """Return the study as a whole params.yaml, or raise an `InputError` that lists the ready ones."""
    ready = {path.stem: path for path in sorted((root / "studies").glob("*.yaml"))}
    if name not in ready:
        raise InputError.of("STUDY", f"name a file in studies: {join_names(ready)}", repr(name))
    head, whole = read_commented(ready[WHOLE])
    if name != WHOLE:
        head, changes = read_commented(ready[name])
        merge(whole, changes)
    if folder is not None:
        whole["data"] |= {"source": "folder", "folder": folder}
    return dump(head, whole)


def read_study(name: str, root: Path) -> dict[str, Any]:
    """Return what the study says as a whole, without comments."""
    content: dict[str, Any] = YAML(typ="safe", pure=True).load(write_study(name, root))
    return content


def load_study(name: str, root: Path) -> Params:
    """Return the study, checked."""
    return check_params(read_study(name, root))


def read_commented(path: Path) -> tuple[str, CommentedMap]:
    """Return the comment at the head of a study's file, and its content with all other comments."""
    read_yaml(path)  # whose errors are one line
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    first = next((place for place, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    content = make_yaml().load("".join(lines[first:]))
    if not isinstance(content, CommentedMap):
        raise InputError.of(str(path), "be a mapping of names to values", repr(content))
    return "".join(lines[:first]), content


def merge(whole: CommentedMap, changes: CommentedMap) -> None:
    """Put the changes, and what they say of themselves at the end of their lines, into the whole, map by map."""
    for name, value in changes.items():
        if isinstance(value, CommentedMap) and isinstance(whole.get(name), CommentedMap) and name not in REPLACED:
            merge(whole[name], value)
        else:
            whole[name] = value
        explain_line(whole, changes, name)


def explain_line(whole: CommentedMap, changes: CommentedMap, name: str) -> None:
    """Let the comment that ends a line of the changes take the place of the one that the whole has there.

    What follows the line up to the next name (blank lines, comments of what comes then) stays with the whole.
    """
    told, found = (content.ca.items.get(name) for content in (changes, whole))
    if not told or not told[2] or not told[2].value.strip():
        return
    words, _, _ = told[2].value.partition("\n")
    if found and found[2]:
        _, _, following = found[2].value.partition("\n")
        told[2].value = f"{words}\n{following}"
    whole.ca.items[name] = told


def dump(head: str, whole: CommentedMap) -> str:
    """Return a whole params.yaml: its head, then its sections with a blank line before each."""
    stream = StringIO()
    make_yaml().dump(whole, stream)
    lines: list[str] = []
    for line in stream.getvalue().splitlines():
        if line and line[0] not in " #" and lines and lines[-1] and not lines[-1].startswith("#"):
            lines.append("")
        if line or lines[-1:] != [""]:
            lines.append(line.replace("] #", "]  #") if '"' not in line and "'" not in line else line)
    return head + "\n".join(lines) + "\n"


def make_yaml() -> YAML:
    """Return what reads and writes YAML with its comments, as this project lays it out."""
    yaml = YAML()
    yaml.width = 120
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(type(None), _represent_null)
    return yaml


def _represent_null(representer: Any, _: None) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")
