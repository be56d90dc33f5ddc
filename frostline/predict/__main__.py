"""Name the class of each image with the model that a study left behind, and say which of them are doubtful.

IMAGES is a folder (with all below it; folders that are called as classes tell what is right, and that is scored), an
image, or a list: a .txt of a path a line, or a .csv with a column path and maybe label. What cannot be read is told
at the end, and the exit code is then 2.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from frostline.errors import InputError, end_in_one_line
from frostline.model.saved import CERTAIN, Saved, read_model
from frostline.predict.listing import list_images
from frostline.predict.output import Doubt, Writer, list_sentences, tell_unreadable
from frostline.predict.predicting import predict

FORMATS = ("csv", "jsonl")


def main(images: str, model: Path, out: Path, form: str | None, sure: float | None, *, int8: bool) -> int:
    """Write what the model makes of the images to `out`; return the exit code."""
    form = form or ("jsonl" if out.suffix.lower() == ".jsonl" else "csv")
    saved = read_model(model)
    doubt = choose_doubt(saved, sure)
    asked = list_images(images, saved.classes)
    writer = Writer(saved.classes, doubt.threshold, with_labels=any(each.label is not None for each in asked))
    began = time.perf_counter()
    with tqdm(total=len(asked), unit="image", disable=None, desc="predict") as bar:

        def watch() -> Any:
            for each in predict(saved, asked, int8=int8):
                bar.update()
                yield each

        writer.write(out, form, watch())
    seconds, tally = time.perf_counter() - began, writer.tally
    print(f"{tally.predicted:,} images in {seconds:.1f} s ({tally.predicted / seconds:,.0f} a second): {out.resolve()}")
    for line in list_sentences(tally, doubt) if tally.predicted else ():
        print(line)
    if tally.unreadable:
        print(tell_unreadable(tally.unreadable, out), file=sys.stderr)
        return 2
    return 0


def choose_doubt(saved: Saved, sure: float | None) -> Doubt:
    """Return below which probability images are doubtful, so that of the others a share of `sure` is right."""
    doubtful = saved.about["doubtful"]
    if sure is None or sure == doubtful["level"]:
        return Doubt(doubtful["level"], doubtful["threshold"], doubtful["right"])
    if not 0 < sure <= 1:
        raise InputError.of("--sure", "be above 0 and at most 1", str(sure))
    from frostline.files import read_csv  # pandas, scikit-learn: only those wait for them who ask
    from frostline.model.calibration import find_threshold

    rows = read_csv(saved.folder / CERTAIN)
    threshold = find_threshold(rows.probability.to_numpy(float), rows.right.to_numpy(float), sure)
    right = None if threshold is None else float(rows.right[rows.probability >= threshold].mean())
    return Doubt(sure, threshold, right)


def make_parser(program: str = "python -m frostline.predict") -> argparse.ArgumentParser:
    """Return what reads the command line of the program."""
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.add_argument("images", metavar="IMAGES", help="a folder, an image or a list")
    parser.add_argument("--model", type=Path, default=Path("data/model"), help="the folder of the model (data/model)")
    parser.add_argument("--out", type=Path, default=Path("predictions.csv"), help="what is written (predictions.csv)")
    parser.add_argument(
        "--format", dest="form", choices=FORMATS, help="csv, or jsonl: JSON lines; by default as OUT ends"
    )
    parser.add_argument("--sure", type=float, help="how often those that are not doubtful shall be right (0.95)")
    parser.add_argument("--int8", action="store_true", help="with the model in 8 bits: smaller, faster, less accurate")
    return parser


if __name__ == "__main__":
    with end_in_one_line():
        sys.exit(main(**vars(make_parser().parse_args())))
