"""Laying down: a folder in which a study runs with the installed package, and the page that `dvc plots` draws on there.

DVC's own page loads Vega from the internet; offline its charts are blank. `.dvc/config` names this page instead
(`plots.html_template`), and `dvc plots show` and `dvc plots diff` put their charts into it.
"""

import argparse
import hashlib
import io
import shutil
import subprocess
import sys
from pathlib import Path

import vl_convert
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from frostline.commands.choose import WHOLE, make_yaml, write_study
from frostline.errors import InputError
from frostline.files import hash_file, open_whole_file, read_yaml, write_yaml
from frostline.params.loading import check_params

PACKAGE = Path(__file__).parents[1]
CODE = "code.yaml"
"""In a folder that was laid down: the SHA-256 of each room of the package, on which its stages depend."""
MAKEFILE = """# What there is to do here; `frostline <command> --help` says more.
.PHONY: study check plans show predict

study: ## run the study of params.yaml, as far as it is stale, and show its comparison
	@frostline study

check: ## look at the images before anything is trained
	@frostline check

plans: ## what each plan of params.yaml lets learn, part by part
	@frostline plans

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
    originals = PACKAGE / "laid"
    if not originals.is_dir():
        fix = "In a checkout `make study` does what there is to do."
        raise InputError.of("frostline new", "be run by an installed package", "a checkout's", fix)
    if folder.exists() and not folder.is_dir():
        raise InputError.of("FOLDER", "be a new or an empty folder", f"the file {str(folder)!r}")
    if folder.is_dir() and [path for path in folder.iterdir() if path.name != ".git"]:
        raise InputError.of("FOLDER", "be a new or an empty folder", f"{str(folder)!r}, which is not empty")
    params = write_study(study or WHOLE, originals, images)
    check_params(YAML(typ="safe", pure=True).load(params))
    folder.mkdir(parents=True, exist_ok=True)
    begin_repository(folder)
    for name in [*COPIED, *(f"studies/{path.name}" for path in (originals / "studies").glob("*.yaml"))]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(originals / name, folder / name)
    written = {"params.yaml": params, "Makefile": MAKEFILE, "dvc.yaml": write_pipeline(originals / "dvc.yaml")}
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


def write_pipeline(original: Path) -> str:
    """Return dvc.yaml as it is in a folder that was laid down: its stages are the package's, and CODE stands for them.

    There the rooms of the package are no files that dvc could watch. Their SHA-256 are parameters instead, so that an
    update of the package makes just those stages stale whose rooms it changed.
    """
    yaml, stream = make_yaml(), io.StringIO()
    content = yaml.load(original.read_text(encoding="utf-8"))
    for stage in content["stages"].values():
        stage["cmd"] = stage["cmd"].replace("python -m stages.", "python -m frostline.stages.")
        names = [name_room(dep) for dep in stage["deps"] if _is_code(dep)]
        stage["deps"] = [dep for dep in stage["deps"] if not _is_code(dep)]
        stage["params"] = [*stage.get("params", ()), CommentedMap({CODE: names})]
    yaml.dump(content, stream)
    head, _, stages = stream.getvalue().partition("\nstages:")
    about, _, _ = head.partition("\n")
    own = f"# {CODE} stands for the installed package; `frostline` writes it anew after an update."
    return f"{about}\n{own}\n\nstages:{stages}"


def _is_code(dep: str) -> bool:
    return dep.startswith(("frostline/", "stages/"))


def name_room(dep: str) -> str:
    """Return what a room or file of the package, or a stage, is called in CODE: dvc takes a dot for a level."""
    return dep.removeprefix("frostline/").removesuffix(".py").replace("/", "-")


def hash_rooms() -> dict[str, str]:
    """Return the SHA-256 of each room and stage of the installed package that its dvc.yaml names."""
    stages = make_yaml().load((PACKAGE / "laid/dvc.yaml").read_text(encoding="utf-8"))["stages"]
    deps = sorted({str(dep) for stage in stages.values() for dep in stage["deps"] if _is_code(dep)})
    return {name_room(dep): hash_room(PACKAGE / dep.removeprefix("frostline/")) for dep in deps}


def hash_room(path: Path) -> str:
    """Return one SHA-256 of the files of a room, or of a file."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    kept = sorted(each for each in files if "__pycache__" not in each.parts)
    hashed = hashlib.sha256("".join(f"{each.relative_to(path.parent)} {hash_file(each)}\n" for each in kept).encode())
    return hashed.hexdigest()


def note_code(folder: Path) -> None:
    """Write what the package's rooms are now, in a folder that was laid down: after an update dvc then runs anew."""
    path = folder / CODE
    if path.is_file() and (now := hash_rooms()) != read_yaml(path):
        write_yaml(path, now)
        print(f"{CODE}: the installed package has changed, and what follows from it will run anew", flush=True)


# Of the major version that DVC's built-in templates and those in .dvc/plots are written for.
VEGA_LITE = "5.21"

# DVC puts the charts in place of {plot_divs}. {scripts} is left out on purpose: DVC would put its download tags there.
# The function keeps the bundle's hundreds of short global names away from the scripts that DVC writes.
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
    <meta charset="utf-8">
    {refresh_tag}
    <title>dvc plots</title>
    <style>
        body { font-family: sans-serif; margin: 24px; }
        body > div { margin-bottom: 40px; }
    </style>
    <script>(() => {
BUNDLE
})();</script>
</head>
<body>
{plot_divs}
</body>
</html>
"""


def write_page() -> str:
    """Return the HTML template: one file of about 0.9 MB that defines `vegaEmbed` and loads nothing.

    Raises `ValueError` when the bundle holds text that would end the script early or that DVC would replace.
    """
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", VEGA_LITE)
    for reserved in ("</script", "<!--", "{scripts}", "{plot_divs}", "{refresh_tag}"):
        if reserved in bundle.lower():
            raise ValueError(f"the Vega bundle must be free of {reserved!r}. Got one with it instead.")
    return PAGE.replace("BUNDLE", bundle)


def write_plots_page(out: Path) -> None:
    """Write the page to `out`, whole or not at all."""
    with open_whole_file(out) as unfinished:
        unfinished.write_text(write_page(), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="where the page is written")
    write_plots_page(parser.parse_args().out)
