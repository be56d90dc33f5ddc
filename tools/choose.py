"""Put a ready study in the place of params.yaml, unless that would lose changes that exist nowhere else."""

import argparse
import json
import re
import subprocess
from functools import partial
from pathlib import Path

from frostline.errors import InputError, end_in_one_line, join_names

VALUE = r'("(?:[^"\\]|\\.)*"|\S+)'
"""A scalar of YAML, quoted or plain."""


def main(study: str, folder: str | None = None, root: Path = Path()) -> None:
    """Copy `studies/<study>.yaml` over params.yaml, its images taken from `folder` if there is one.

    Where that cannot be, end the process with one line.
    """
    with end_in_one_line():
        content = read_study(study, root)
        chosen = f"studies/{study}.yaml"
        if folder is not None:
            content, chosen = with_folder(content, folder), f"{chosen} on the images in {folder}"
        if params_of(root) != content:
            check_nothing_is_lost(root)
            (root / "params.yaml").write_bytes(content)
            print(f"params.yaml is now {chosen}; `git checkout params.yaml` brings the committed one back.")


def with_folder(content: bytes, folder: str) -> bytes:
    """Return the study with `data.source: folder` and this folder, and all else as it is, comments too."""
    text = content.decode()
    for key, value in (("source", "folder"), ("folder", json.dumps(folder, ensure_ascii=False))):
        line = re.compile(rf"^(  {key}: ){VALUE}", re.MULTILINE)
        text = line.sub(partial(_with_value, value), text, count=1)
    return text.encode()


def _with_value(value: str, found: re.Match[str]) -> str:
    return f"{found[1]}{value}"


def read_study(name: str, root: Path) -> bytes:
    """Return the file of the study, or raise an `InputError` that lists the ready ones."""
    ready = {path.stem: path for path in sorted((root / "studies").glob("*.yaml"))}
    if name not in ready:
        raise InputError.of("STUDY", f"name a file in studies: {join_names(ready)}", repr(name))
    return ready[name].read_bytes()


def check_nothing_is_lost(root: Path) -> None:
    """Raise an `InputError` if params.yaml is neither what git has of it nor a ready study, on whichever images."""
    found = params_of(root)
    studies = [with_folder(path.read_bytes(), "") for path in (root / "studies").glob("*.yaml")]
    if found is not None and found != committed(root) and with_folder(found, "") not in studies:
        fix = "Commit it, or keep it as a file in studies."
        raise InputError.of("params.yaml", "hold no changes that would be lost", "some that are not committed", fix)


def params_of(root: Path) -> bytes | None:
    """Return what params.yaml holds, if there is one."""
    path = root / "params.yaml"
    return path.read_bytes() if path.is_file() else None


def committed(root: Path) -> bytes | None:
    """Return what the last commit has as params.yaml, if it has one."""
    shown = subprocess.run(["git", "show", "HEAD:./params.yaml"], cwd=root, capture_output=True, check=False)  # noqa: S607
    return shown.stdout if shown.returncode == 0 else None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--folder")
    main(**vars(parser.parse_args()))
