"""Params, folders of images and files of weights, changed at random, are taken for what they are or refused."""

import random
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save

from frostline.backbones.registry import build_backbone
from frostline.constants import IMAGE_ENDINGS
from frostline.errors import InputError
from frostline.networks.small_networks import build_cnn3
from frostline.params.loading import load_params
from frostline.sources.folders import read_folders
from tests.project import load_yaml
from tests.test_params_mutations import LINES, NASTY

SECONDS = 10


def draw(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311


@contextmanager
def within_seconds() -> Iterator[None]:
    """Fail what takes longer."""

    def fail(_number: int, _frame: object) -> None:
        raise AssertionError(f"it took more than {SECONDS} s")

    usual = signal.signal(signal.SIGALRM, fail)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, usual)


def check_line(error: InputError) -> str:
    line = str(error)
    assert line.isprintable(), repr(line)
    assert len(line) < 500, line
    return line


def count(small: int, whole: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("times", [small, pytest.param(whole, marks=pytest.mark.trial)])


@count(60, 5_000)
def test_mutated_params_are_loaded_as_they_read_or_refused(times: int, tmp_path: Path) -> None:
    rng, path, accepted = draw(0), tmp_path / "params.yaml", 0
    for _ in range(times):
        text, twice = mutate_params(rng)
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
        try:
            with within_seconds():
                params = load_params(path)
        except InputError as error:
            check_line(error)
            continue
        assert not twice, text
        accepted += 1
        dumped, read = params.model_dump(by_alias=True, mode="json", exclude_unset=True), load_yaml(text)
        assert all(dumped[name] == read[name] for name in ("study", "backbones", "advice", "logging")), text
    assert accepted < times


def mutate_params(rng: random.Random) -> tuple[str, bool]:
    """Return params with up to three changed lines, and whether a name now stands twice."""
    lines, twice = list(LINES), False
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(lines))
        head, colon, _ = lines[place].partition(":")
        kind = rng.choice(["value", "drop", "twice", "byte", "indent", "swap"])
        if kind == "value":
            lines[place] = f"{head}{colon} {rng.choice(NASTY)}"
        elif kind == "drop":
            lines[place] = ""
        elif kind == "twice":
            lines.insert(place, lines[place])
            twice = len(lines) == len(LINES) + 1 and is_plain(lines[place]) and lines[place] in LINES
        elif kind == "byte":
            at = rng.randrange(len(lines[place]) + 1)
            lines[place] = lines[place][:at] + chr(rng.randrange(1, 0x2FF)) + lines[place][at:]
            twice = False
        elif kind == "indent":
            lines[place] = " " * rng.randint(1, 5) + lines[place]
            twice = False
        else:
            other = rng.randrange(len(lines))
            lines[place], lines[other] = lines[other], lines[place]
            twice = False
        if kind in ("value", "drop"):
            twice = False
    return "\n".join(lines) + "\n", twice


def is_plain(line: str) -> bool:
    """Return whether the line is a name with a value, which may not stand twice."""
    name, colon, value = line.partition(":")
    return bool(colon) and bool(value.split("#")[0].strip()) and name.strip().isidentifier()


CLASSES = ("healthy", "rust", "P01", "sea side", "été", "日本", "0", "train_station", "-x", "a.b")
JUNK = ("@eaDir/x.jpg", ".hidden/x.png", "__MACOSX/x.jpg", ".DS_Store", "Thumbs.db", "notes.txt", "._x.jpg")


@count(30, 500)
def test_folders_as_people_may_have_them_are_understood_as_they_were_made_or_refused(
    times: int, tmp_path: Path
) -> None:
    rng = draw(1)
    for number in range(times):
        root = tmp_path / str(number)
        made, is_sound = make_folders(root, rng)
        try:
            with within_seconds():
                found = read_folders(root).images
        except InputError as error:
            line = check_line(error)
            assert not is_sound, line
            continue
        told = {str(each.path.relative_to(root)): (each.class_name, each.split) for each in found}
        assert told == made, sorted(told.items() ^ made.items())[:4]


def make_folders(root: Path, rng: random.Random) -> tuple[dict[str, tuple[str, str | None]], bool]:
    """Make folders of images by some layout, with junk and faults; return what they mean and whether they are sound."""
    classes = rng.sample(CLASSES, rng.randint(2, 4))
    above, below = rng.choice([(True, False), (False, True), (False, False)])
    train, test = rng.choice([("train", "test"), ("seg_train", "seg_test"), ("Training", "Testing"), ("trn", "val")])
    words = {"train": train, "test": test}
    made: dict[str, tuple[str, str | None]] = {}
    for name in classes:
        for split in ("train", "test") if above or below else (None,):
            parts = [words[split], name] if above and split else [name, words[split]] if below and split else [name]
            for image in range(rng.randint(1, 3)):
                ending = rng.choice(IMAGE_ENDINGS)
                path = "/".join([*parts, f"{image}{rng.choice([ending, ending.upper()])}"])
                made[path] = (name, "validation" if split == "test" and test == "val" else split)
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).touch()
    for junk in rng.sample(JUNK, rng.randint(0, 3)):
        path = root / rng.choice(list(made)).rpartition("/")[0] / junk
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    fault = rng.choice(["", "", "", "loose", "link", "empty", "split beside", "name"])
    if fault == "loose":
        Image.new("RGB", (2, 2)).save(root / "loose.png")
    elif fault == "link":
        (root / rng.choice(classes) / "link").parent.mkdir(parents=True, exist_ok=True)
        (root / rng.choice([path.rpartition("/")[0] for path in made]) / "link").symlink_to(root)
    elif fault == "empty":
        (root / next(iter(made)).split("/")[0]).parent.joinpath("nothing in it").mkdir()
    elif fault == "split beside":
        (root / "val").mkdir(exist_ok=True)
        (root / "val" / "x.png").touch()
    elif fault == "name":
        (root / next(iter(made))).with_name("\udcff.png").touch()
    return made, not fault


@count(30, 300)
def test_mutated_files_of_weights_are_refused_or_hold_finite_numbers_of_the_right_shapes(
    times: int, tmp_path: Path
) -> None:
    rng, state = draw(2), build_cnn3().state_dict()
    torch.save(state, tmp_path / "plain.pth")
    kinds = {"safetensors": save(state), "pth": (tmp_path / "plain.pth").read_bytes()}
    for number in range(times):
        ending = rng.choice(list(kinds))
        path = tmp_path / f"{number}.{ending}"
        path.write_bytes(mutate_bytes(kinds[ending], rng))
        try:
            with within_seconds():
                backbone = build_backbone("cnn3", str(path), 2)
        except InputError as error:
            check_line(error)
        else:
            for name, tensor in backbone.state_dict().items():
                assert tensor.isfinite().all(), name
        path.unlink()


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """Return the file with flipped bits, cut short, repeated, or with another length in its head."""
    changed, kind = bytearray(content), rng.choice(["flip", "flips", "cut", "head", "zero", "nan", "twice"])
    if kind == "flip":
        changed[rng.randrange(min(len(changed), 4_000))] ^= 1 << rng.randrange(8)
    elif kind == "flips":
        for _ in range(50):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del changed[rng.randrange(len(changed)) :]
    elif kind == "head":
        changed[:8] = struct.pack("<Q", rng.choice([0, 1, 2**16, 2**31, 2**63 - 1, 2**64 - 1, len(content)]))
    elif kind == "zero":
        start = rng.randrange(len(changed))
        changed[start : start + 500] = bytes(len(changed[start : start + 500]))
    elif kind == "nan":
        start = rng.randrange(len(changed) // 2, len(changed) - 8) // 4 * 4
        changed[start : start + 4] = struct.pack("<f", float("nan"))
    else:
        changed += content
    return bytes(changed)
