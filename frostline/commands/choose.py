"""Write a ready study as params.yaml, whole and checked, unless that would lose changes that exist nowhere else.

studies/default.yaml is the whole of it, with its comments; every other study holds what differs from that.
"""

import argparse
import subprocess
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from frostline.errors import InputError, end_in_one_line, join_names, shorten
from frostline.files import open_whole_file, read_yaml
from frostline.params.loading import check_params
from frostline.params.schema import Params

WHOLE = "default"
CHANGES_NAMED = 3
REPLACED = ("plans",)
"""Sections that a study which has them replaces whole: a plan that it does not name is none of its."""


def main(study: str, folder: str | None = None, root: Path = Path()) -> None:
    """Write the study as params.yaml, its images taken from `folder` if there is one.

    Where that cannot be, end the process with one line, params.yaml as it was.
    """
    with end_in_one_line():
        content, chosen = write_study(study, root, folder), f"the study {study!r}"
        if folder is not None:
            chosen = f"{chosen} on the images in {folder}"
        if read_params(root) != content:
            check_params(YAML(typ="safe", pure=True).load(content))
            check_nothing_is_lost(root)
            with open_whole_file(root / "params.yaml") as unfinished:
                unfinished.write_text(content, encoding="utf-8")
            print(f"params.yaml is now {chosen}; `git checkout params.yaml` brings the committed one back.")


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


def check_nothing_is_lost(root: Path) -> None:
    """Raise an `InputError` if params.yaml is neither what git has of it nor a ready study, on whichever images."""
    found = read_params(root)
    if found is None or found == read_committed(root) or forget_folder(root) in list_studies(root):
        return
    fix = "`git commit params.yaml` keeps them, and so does a file in studies."
    raise InputError.of("params.yaml", "hold no changes that would be lost", tell_changes(root), fix)


def tell_changes(root: Path) -> str:
    """Return the first three names whose values git has otherwise, with both values, and how many more there are."""
    try:
        now, then = (make_yaml().load(text or "") for text in (read_params(root), read_committed(root)))
    except YAMLError:
        now = then = None
    if not (isinstance(now, dict) and isinstance(then, dict)):
        return "some that are not committed"
    now, then = flatten(now), flatten(then)
    names = [name for name in dict.fromkeys([*now, *then]) if now.get(name) != then.get(name)]
    told = [f"{name}: {shorten(repr(now.get(name)), 40)}, not {shorten(repr(then.get(name)), 40)}" for name in names]
    more = f" and {len(names) - CHANGES_NAMED} more" if len(names) > CHANGES_NAMED else ""
    return "; ".join(told[:CHANGES_NAMED]) + more if told else "other comments"


def flatten(content: Any, name: str = "") -> dict[str, Any]:
    """Return the values of a tree of mappings by their whole names."""
    if not isinstance(content, dict):
        return {name.removeprefix("."): content}
    return {path: value for key, of in content.items() for path, value in flatten(of, f"{name}.{key}").items()}


def forget_folder(root: Path) -> str | None:
    """Return params.yaml as it would be on the images in "", or None where it is no study."""
    try:
        head, content = read_commented(root / "params.yaml")
        content["data"] |= {"source": "folder", "folder": ""}
    except (InputError, YAMLError, KeyError, TypeError):
        return None
    return dump(head, content)


def list_studies(root: Path) -> list[str]:
    """Return every ready study as it would be on the images in ""."""
    return [write_study(path.stem, root, "") for path in (root / "studies").glob("*.yaml")]


def read_params(root: Path) -> str | None:
    """Return what params.yaml holds, if there is one."""
    path = root / "params.yaml"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def read_committed(root: Path) -> str | None:
    """Return what the last commit has as params.yaml, if it has one."""
    shown = subprocess.run(
        ["git", "show", "HEAD:./params.yaml"],  # noqa: S607
        cwd=root,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return shown.stdout if shown.returncode == 0 else None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--folder")
    main(**vars(parser.parse_args()))
