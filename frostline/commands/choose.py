"""Write a ready study as params.yaml, whole and checked, unless that would lose changes that exist nowhere else."""

import argparse
import subprocess
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from frostline.errors import InputError, end_in_one_line, shorten
from frostline.files import open_whole_file
from frostline.laying.studies import dump, make_yaml, read_commented, write_study
from frostline.params.loading import check_params

CHANGES_NAMED = 3


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
