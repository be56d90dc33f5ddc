"""A study in a folder of its own, which needs the installed package and no checkout of this repository."""

import shutil
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from frostline.errors import InputError
from frostline.files import write_yaml
from frostline.laying.pipeline import CODE, ORIGINALS, hash_rooms, write_pipeline
from frostline.laying.plots_page import write_plots_page
from frostline.laying.studies import WHOLE, write_study
from frostline.params.loading import check_params

MAKEFILE = """# What there is to do here; `frostline <command> --help` says more.
.PHONY: study check plans look show predict

study: ## run the study of params.yaml, as far as it is stale, and show its comparison
	@frostline study

check: ## look at the images before anything is trained
	@frostline check

plans: ## what each plan of params.yaml lets learn, part by part
	@frostline plans

look: ## see inside RUN (a folder of data/runs) what it makes of IMAGE (a file)
	@frostline look "$(RUN)" "$(IMAGE)"

show: ## the experiments so far, one row each
	@frostline show

predict: ## name the class of IMAGES, a folder, a file or a list, with the model in data/model
	@frostline predict "$(IMAGES)"
"""
COPIED = (
    ".dvc/.gitignore", ".dvc/config", ".dvc/plots/confusion_counts.json", ".dvc/plots/curves.json",
    ".dvc/plots/tradeoff.json", ".dvcignore", ".gitignore", "data/.gitignore", "data/none/README.md",
    "data/weights/README.md", "models/example.py",
)  # fmt: skip
"""What a folder has of the project as it stands there, beside studies/*.yaml."""


def lay_down(folder: Path, study: str | None = None, images: str | None = None) -> None:
    """Lay down a study in the folder, which must be empty or not there yet, and say what to do next.

    Its stages are those of the installed package. Raises an `InputError` about the folder, the study, or git.
    """
    if not ORIGINALS.is_dir():
        fix = "In a checkout `make study` does what there is to do."
        raise InputError.of("frostline new", "be run by an installed package", "a checkout's", fix)
    if folder.exists() and not folder.is_dir():
        raise InputError.of("FOLDER", "be a new or an empty folder", f"the file {str(folder)!r}")
    if folder.is_dir() and [path for path in folder.iterdir() if path.name != ".git"]:
        raise InputError.of("FOLDER", "be a new or an empty folder", f"{str(folder)!r}, which is not empty")
    params = write_study(study or WHOLE, ORIGINALS, images)
    check_params(YAML(typ="safe", pure=True).load(params))
    folder.mkdir(parents=True, exist_ok=True)
    begin_repository(folder)
    for name in [*COPIED, *(f"studies/{path.name}" for path in (ORIGINALS / "studies").glob("*.yaml"))]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ORIGINALS / name, folder / name)
    written = {"params.yaml": params, "Makefile": MAKEFILE, "dvc.yaml": write_pipeline(ORIGINALS / "dvc.yaml")}
    for name, content in written.items():
        (folder / name).write_text(content, encoding="utf-8")
    write_yaml(folder / CODE, hash_rooms())
    write_plots_page(folder / ".dvc/plots/page.html")
    print(f"A study lies in {folder.resolve()}: params.yaml says which images, which plans, tested how often.")
    print("In it, `frostline check` looks at the images, and `frostline study` runs all of it.")


def begin_repository(folder: Path) -> None:
    """Make the folder a repository of git, unless it lies in one, and of dvc."""
    asked = run(folder, "git", "rev-parse", "--show-prefix")
    if asked.returncode:
        _run_or_refuse(folder, "git", "init", "--quiet")
    below = ["--subdir"] if asked.returncode == 0 and asked.stdout.strip() else []
    _run_or_refuse(folder, sys.executable, "-m", "dvc", "init", "--quiet", *below)


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Return what the command did in the folder, or raise an `InputError` if there is no such command."""
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        raise InputError.of("this machine", "have git, in which studies are kept", "none", "Install it.") from None


def _run_or_refuse(folder: Path, *command: str) -> None:
    done = run(folder, *command)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).partition("\n")[0]
        raise InputError.of(str(folder), "become a repository of git and dvc", repr(said))
