"""The project as its users have it: a copy of its files in an own git repository, and dvc beside it."""

import os
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from frostline.files import SUMS, write_sums
from frostline.laying import studies

ROOT = Path(__file__).parent.parent
STUDIES = sorted(path.stem for path in (ROOT / "studies").glob("*.yaml"))
"""The ready studies, by name."""
ENVIRONMENT = {
    # Neither dvc, git nor make is to know who runs the tests.
    **{name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_", "MAKE", "MFLAGS"))},
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "GIT_AUTHOR_NAME": "t",
    "GIT_AUTHOR_EMAIL": "t@example.org",
    "GIT_COMMITTER_NAME": "t",
    "GIT_COMMITTER_EMAIL": "t@example.org",
}


def run(folder: Path, *command: str, succeeds: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the command in the folder; its output must be seen when it does not end as it should."""
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == succeeds, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done


def copy_project(to: Path) -> Path:
    """Return a git repository with the project's files as they stand here, committed once."""
    listed = run(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard").stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, to / name)
    run(to, "git", "init", "--quiet", "--initial-branch", "main")
    commit(to, "as it is")
    return to


def commit(folder: Path, message: str) -> None:
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", message)


def load_yaml(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def dump_yaml(content: object) -> str:
    stream = StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.dump(content, stream)
    return stream.getvalue()


def read_study(name: str) -> dict[str, Any]:
    """Return the whole params of a ready study."""
    return studies.read_study(name, ROOT)


def read_params(folder: Path) -> dict[str, Any]:
    return load_yaml((folder / "params.yaml").read_text())


def write_params(folder: Path, params: dict[str, Any]) -> None:
    (folder / "params.yaml").write_text(dump_yaml(params))


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def seal(root: Path) -> None:
    """Give each folder the sums of its files as they are now, as stages do."""
    for folder, _, files in os.walk(root):
        if files:
            write_sums(Path(folder), sorted({*files} - {SUMS}))
