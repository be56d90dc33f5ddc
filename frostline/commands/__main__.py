"""Find out how deep to unfreeze a pretrained classifier, what each depth costs, and how sure that is."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from frostline.errors import InputError, end_in_one_line
from frostline.laying.pipeline import note_code

SHOWN = (
    "Experiment", "advised_plan", "advice", "probability", "expected_shortfall", "resolution", "accuracy",
    "accuracy_low", "accuracy_high", "trainable_parameters", "train_flops", "train_seconds", "peak_memory_bytes",
)  # fmt: skip
"""The columns of `frostline show`."""
SHOW = (
    "exp", "show", "--no-pager", "--hide-failed", "--hide-queued", "--hide-workspace", "--drop", ".*",
    "--keep", f"^({'|'.join(SHOWN)})$", "--sort-by", "trainable_parameters",
)  # fmt: skip
NOTHING_LOST = "Nothing is lost: what dvc had cleared is back, and other studies' runs are in its cache."
PARAMS = Path("params.yaml")


def study(name: str | None, folder: str | None) -> int:
    """Run the study of params.yaml, as far as it is stale, and show its comparison."""
    begin(name, folder)
    if code := run_dvc("repro"):
        run_dvc("checkout", "--quiet")
        print(NOTHING_LOST, file=sys.stderr)
        return code
    from frostline.commands import show

    show.main(Path("reports"))
    return 0


def check(name: str | None, folder: str | None) -> int:
    """Look at the images before anything is trained: counts, duplicates, a contact sheet, minutes."""
    begin(name, folder)
    if code := run_dvc("repro", "prepare"):
        run_dvc("checkout", "--quiet")
        return code
    from frostline.commands import survey

    survey.main(PARAMS, Path("data"), Path("check"))
    return 0


def begin(name: str | None, folder: str | None) -> None:
    """Write the params of a ready study, if one was asked for, and check those that are there."""
    choose_study(name, folder)
    from frostline.commands import check

    check.main(PARAMS)


def choose_study(name: str | None, folder: str | None) -> None:
    """Write the params of a ready study, if one was asked for, and note what code the package has now."""
    if not Path("dvc.yaml").is_file():
        raise InputError.of("this folder", "be a study's", "one without dvc.yaml", "`frostline new` lays one down.")
    note_code(Path())
    if name or folder:
        from frostline.commands import choose

        choose.main(name or "", folder or None)


def plans(name: str | None, folder: str | None) -> int:
    """Tell what each plan of params.yaml lets learn, part by part."""
    choose_study(name, folder)
    from frostline.commands import plans

    plans.main(PARAMS, Path("data/prepared/prepared.json"))
    return 0


def look(run: str, image: str) -> int:
    """See inside RUN, a folder of data/runs, what it makes of IMAGE, a file: filters, maps, Grad-CAM."""
    from frostline.commands import look

    look.main(run, image)
    return 0


def show() -> int:
    """Show the experiments so far, one row each."""
    return run_dvc(*SHOW, environment={"COLUMNS": "190"})


def new(folder: str, name: str | None, images: str | None) -> int:
    """Lay down a study in FOLDER: params.yaml, dvc.yaml, Makefile and what dvc needs, in a git repository."""
    from frostline.laying.study import lay_down

    lay_down(Path(folder), name, images)
    return 0


def run_dvc(*words: str, environment: dict[str, str] | None = None) -> int:
    """Run dvc with this Python, which is also the one that its stages find; return its exit code."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    told = os.environ | {"PATH": path, "PYTHONUNBUFFERED": "1"} | (environment or {})
    return subprocess.run([sys.executable, "-m", "dvc", *words], env=told, check=False).returncode  # noqa: S603


def make_parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="frostline", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (study, check, plans):
        asked = add(commands, command)
        asked.add_argument(
            "--study", dest="name", metavar="NAME", help="a ready study, such as beans: a file in studies"
        )
        asked.add_argument("--folder", metavar="FOLDER", help="your images: a folder for each class")
    asked = add(commands, look)
    asked.add_argument("run", metavar="RUN", help="such as efficientnet_lite0-stage4")
    asked.add_argument("image", metavar="IMAGE", help="an image file")
    add(commands, show)
    asked = add(commands, new)
    asked.add_argument("folder", metavar="FOLDER", help="a new folder, or an empty one")
    asked.add_argument("--study", dest="name", metavar="NAME", help="the ready study to begin with (default)")
    asked.add_argument("--images", metavar="FOLDER", help="your images, as the study names them: seen from its folder")
    commands.add_parser(
        "predict", add_help=False, help="name the class of images with the model that a study left in data/model"
    )
    return parser


def add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", command: Callable[..., int]
) -> argparse.ArgumentParser:
    """Return the parser of a command, whose docstring is its help."""
    told = (command.__doc__ or "").strip()
    made = commands.add_parser(command.__name__, help=told[:1].lower() + told[1:].rstrip("."), description=told)
    made.set_defaults(run_command=command)
    return made


def main() -> None:
    """Run the command that the command line names; end with its exit code."""
    parser = make_parser()
    with end_in_one_line():
        if sys.argv[1:2] == ["predict"]:
            from frostline.predict import __main__ as predict

            sys.exit(predict.main(**vars(predict.make_parser("frostline predict").parse_args(sys.argv[2:]))))
        given = vars(parser.parse_args())
        given.pop("command")
        sys.exit(given.pop("run_command")(**given))


if __name__ == "__main__":
    main()
