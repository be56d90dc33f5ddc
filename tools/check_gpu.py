"""Try on this machine's GPU what no processor can show: a claim after the other, a line each, in ten minutes.

`make check-gpu`. A claim that does not hold says what was found instead, and the command then ends with 1.
"""

import argparse
import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.images import arrange, write_elpv_images
from benchmarks.this_project import PARAMS
from frostline.backbones.precision import compute_deterministically
from frostline.errors import InputError, end_in_one_line
from frostline.files import read_yaml, write_yaml
from frostline.hardware import keep_freed_memory
from stages import fetch, prepare
from tools.gpu_claims import CLAIMS
from tools.gpu_trials import Bench, NotTried, Wrong

IMAGES, IMAGE_PX = 512, 224
SECONDS = 600
"""After which no claim is begun any more."""


def set_up(folder: Path, images: int, image_px: int) -> None:
    """Write a study of solar cells into the folder: params.yaml, and the images prepared."""
    params = read_yaml(PARAMS)
    params["data"] |= {"source": "folder", "folder": str(folder / "images"), "image_px": image_px, "groups": "none"}
    params["plans"] = {"stage4": {"from": "stage4", "weights": "pretrained", "learning_rates": [0.001]}}
    params["study"] |= {"plans": ["stage4"], "repeats": 1, "racing": False, "shifts": []}
    params["finish"] = False
    write_yaml(folder / "params.yaml", params)
    arrange(write_elpv_images(folder / "cells"), images, folder / "images")
    with contextlib.redirect_stdout(io.StringIO()):
        fetch.main(params=folder / "params.yaml", out=folder / "raw")
        prepare.main(params=folder / "params.yaml", raw=folder / "raw", out=folder / "prepared")


def check(device: torch.device, images: int = IMAGES, image_px: int = IMAGE_PX, seconds: float = SECONDS) -> list[str]:
    """Try each claim on the device and print a line about it; return the names of those that do not hold."""
    keep_freed_memory()
    compute_deterministically(device)
    began, wrong = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch), device)
        set_up(bench.folder, images, image_px)
        for claim in CLAIMS:
            says = (claim.__doc__ or "").partition("\n")[0].rstrip(".")
            at = time.perf_counter()
            try:
                word, found = "yes", try_claim(claim, bench, seconds - (at - began))
            except NotTried as reason:
                word, found = "not tried", str(reason)
            except Exception as error:  # noqa: BLE001 - whatever it is, the others are tried too
                word, found = "NO", str(error) if isinstance(error, Wrong) else f"{type(error).__name__}: {error}"
                wrong.append(claim.__name__)
            print(f"{word:>9}  {says}: {found} ({time.perf_counter() - at:.1f} s)", flush=True)
    return wrong


def try_claim(claim: Callable[[Bench], str], bench: Bench, left: float) -> str:
    """Return what the claim found. Raises `NotTried` where no seconds are left."""
    if left < 0:
        raise NotTried("its time is over")
    return claim(bench)


def main(arguments: Sequence[str]) -> int:
    """Return 0 if all claims hold that could be tried, or 1. Raises `InputError` where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--px", type=int, default=IMAGE_PX)
    asked = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        raise InputError.of("this machine", "have a GPU that torch can use", "none")
    wrong = check(torch.device("cuda"), asked.images, asked.px)
    print(f"{len(wrong)} of {len(CLAIMS)} claims do not hold." if wrong else "All that was tried holds.")
    return int(bool(wrong))


if __name__ == "__main__":
    with end_in_one_line():
        sys.exit(main(sys.argv[1:]))
