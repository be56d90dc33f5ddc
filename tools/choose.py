"""Put a ready study in the place of params.yaml, unless that would lose changes that exist nowhere else."""

import argparse
import subprocess
from pathlib import Path

from stages.command import one_line
from stages.mistakes import listed, mistake


def main(study: str, root: Path = Path()) -> None:
    """Copy `studies/<study>.yaml` over params.yaml, or end the process with one line."""
    with one_line():
        content = read_study(study, root)
        if params_of(root) != content:
            check_nothing_is_lost(root)
            (root / "params.yaml").write_bytes(content)
            print(f"params.yaml is now studies/{study}.yaml; `git checkout params.yaml` brings the committed one back.")


def read_study(name: str, root: Path) -> bytes:
    """Return the file of the study, or raise a `Mistake` that lists the ready ones."""
    ready = {path.stem: path for path in sorted((root / "studies").glob("*.yaml"))}
    if name not in ready:
        raise mistake("STUDY", f"name a file in studies: {listed(ready)}", repr(name))
    return ready[name].read_bytes()


def check_nothing_is_lost(root: Path) -> None:
    """Raise a `Mistake` if params.yaml is neither what git has of it nor a ready study."""
    known = [path.read_bytes() for path in (root / "studies").glob("*.yaml")]
    if params_of(root) not in (None, committed(root), *known):
        fix = "Commit it, or keep it as a file in studies."
        raise mistake("params.yaml", "hold no changes that would be lost", "some that are not committed", fix)


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
    main(**vars(parser.parse_args()))
