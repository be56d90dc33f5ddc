"""Look inside any trained run, at what it makes of any image: the pictures of the report, of that image."""

import argparse
from pathlib import Path

import torch

from frostline.data.images import read_prepared
from frostline.errors import InputError, end_in_one_line, join_names
from frostline.files import read_yaml
from frostline.interpret.inspection import Case, Opened, look_inside, open_run
from frostline.interpret.output import LIKELIEST, write_look
from frostline.preparation.decoding import decode

SHOWN = 20
"""Of more runs than this the first are named."""


def main(run: str, image: str, data: Path = Path("data"), out: Path = Path("look")) -> None:
    """Draw what the run in `data/runs` makes of the image file, into a folder of its own in `out`, and say so."""
    with end_in_one_line():
        folder = find_run(data / "runs", run)
        check_study(data.parent / "dvc.lock", run)
        file = find_image(image)
        pixels = decode(file.read_bytes(), image_px=read_prepared(data / "prepared").images.shape[1])
        if isinstance(pixels, str):
            raise InputError.of("IMAGE", "be an image that can be read", f"{image} ({pixels})")
        opened = open_run(folder)
        case = predict_case(opened, Case(file.name, pixels.pixels, [], None))
        into = out / run / file.name
        write_look(into, look_inside(opened, {file.name: [case]}, mapped=case))
        for index in case.rank_classes(LIKELIEST):
            print(f"{case.probabilities[index]:.3f} {opened.run.classes[index]}")
        print(f"{run}, replicate {opened.replicate}: {into.resolve()}")


def find_run(runs: Path, name: str) -> Path:
    """Return the folder of the trained run of that name, or raise an `InputError` that names those that there are."""
    known = sorted(path.parent.name for path in runs.glob("*/run.json"))
    if not known:
        raise InputError.of(str(runs), "hold trained runs", "none", "`make study` trains them.")
    if name not in known:
        more = "" if len(known) <= SHOWN else f" (and {len(known) - SHOWN} more)"
        raise InputError.of(
            "RUN", f"be {join_names(known[:SHOWN])}{more}", repr(name), "Say make look RUN=<run> IMAGE=<file>."
        )
    return runs / name


def check_study(lock: Path, run: str) -> None:
    """Raise an `InputError` if dvc knows the run to be of other prepared images than those that there are.

    `data/runs` may still hold the runs of the study before, which saw images of another size, or other classes.
    """
    stages = read_yaml(lock)["stages"] if lock.is_file() else {}
    hashes = [
        entry["md5"]
        for stage, role in ((f"train@{run}", "deps"), ("prepare", "outs"))
        for entry in stages.get(stage, {}).get(role, [])
        if entry["path"] == "data/prepared"
    ]
    if len(set(hashes)) > 1:
        hint = "It saw others: `make study STUDY=...` brings its study back."
        raise InputError.of("RUN", "be a run on the images that are prepared now", repr(run), hint)


def find_image(name: str) -> Path:
    """Return the path of the image, or raise an `InputError` if there is no such file."""
    path = Path(name)
    if not path.is_file():
        got = "a folder" if name and path.is_dir() else f"no file {name!r}"
        raise InputError.of("IMAGE", "be an image file", got, "Say make look RUN=<run> IMAGE=<file>.")
    return path


@torch.no_grad()
def predict_case(opened: Opened, case: Case) -> Case:
    """Return the case with the probabilities that the trained backbone gives it, computed in float32."""
    logits = opened.trained(opened.scale_images([case]))
    return Case(case.name, case.pixels, logits[0].double().softmax(0).tolist(), case.actual)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("image")
    main(**vars(parser.parse_args()))
