"""A run comes back as it was trained, or is refused in one line that names what is not as it was."""

import re
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from frostline.backbones.registry import build_original_classifier
from frostline.backbones.runs import load_backbone, read_run
from frostline.errors import InputError
from frostline.files import hash_file
from frostline.training import grid
from frostline.training.checkpoints import save_fit
from frostline.training.loop import Fit
from tests import toys
from tests.project import dump_yaml, load_yaml


def damage(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


def test_a_replicates_file_that_was_damaged_is_one_line_that_names_it_and_both_hashes(toy: Path) -> None:
    folder = toys.train_toy(toy, "head")
    path, wanted = folder / "replicate-1.safetensors", read_run(folder).weights_sha256["1"]
    damage(path)
    with pytest.raises(InputError) as told:
        load_backbone(folder, 1)
    assert str(told.value) == (
        f"{path} must have the SHA-256 {wanted}. Got {hash_file(path)} instead. "
        "`dvc checkout` brings the file back, or `dvc repro` trains it again."
    )
    load_backbone(folder, 0)


def test_a_replicate_that_is_not_there_is_refused_by_name(toy: Path) -> None:
    folder = toys.train_toy(toy, "head")
    (folder / "replicate-1.safetensors").unlink()
    with pytest.raises(
        InputError, match=r"replicate-1\.safetensors must have the SHA-256 \w{64}\. Got no file instead\."
    ):
        load_backbone(folder, 1)
    with pytest.raises(InputError, match=r"^the replicate of .* must be 0 or 1\. Got 7 instead\.$"):
        load_backbone(folder, 7)


def with_own_weights(toy: Path, *plans: str) -> Path:
    """Give these plans weights of their own; return the file."""
    path = Path("data/weights/mine.safetensors")
    path.parent.mkdir(parents=True)
    save_file(build_original_classifier("efficientnet_lite0", "pretrained").state_dict(), path)
    params = load_yaml((toy / "params.yaml").read_text())
    for plan in plans:
        params["plans"][plan]["weights"] = str(path)
    (toy / "params.yaml").write_text(dump_yaml(params))
    return path


@pytest.mark.parametrize("changed", ["conv_stem.weight", "bn1.running_var"])
@pytest.mark.parametrize("plan", ["head", "surgical"])
def test_weights_that_were_changed_after_training_are_one_line_that_names_their_file_and_both_hashes(
    plan: str, changed: str, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy)
    weights = with_own_weights(toy, plan)
    folder = toys.train_toy(toy, plan)
    load_backbone(folder, 0)
    tensors = load_file(weights)
    tensors[changed].view(-1)[0] += 1.0
    save_file(tensors, weights)
    wanted = read_run(folder).backbone_sha256
    with pytest.raises(InputError) as told:
        load_backbone(folder, 0)
    before, found = str(told.value).split(". Got ")
    assert before == (
        f"{weights} must be what {folder} was trained with, whose frozen tensors have the SHA-256 {wanted}"
    )
    assert re.fullmatch(r"\w{64} instead\. Put the former weights back, or train the run again\.", found)


@pytest.mark.long
def test_a_killed_run_whose_weights_file_was_changed_meanwhile_begins_anew(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy)
    weights = with_own_weights(toy, "all")
    first, other = load_file(weights), load_file(weights)
    next(tensor for tensor in other.values() if tensor.dim() == 4).mul_(0.5)
    save_file(other, weights)
    expected = read_run(toys.train_toy(toy, "all")).weights_sha256
    save_file(first, weights)

    def killed(path: Path, fit: Fit) -> None:
        save_fit(path, fit)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(grid, "save_fit", killed)
        with pytest.raises(KeyboardInterrupt):
            toys.train_toy(toy, "all")
    save_file(other, weights)
    assert read_run(toys.train_toy(toy, "all")).weights_sha256 == expected


@pytest.mark.parametrize(("plan", "views", "shown"), [("head", 8, 2), ("gradual", 8, 2), ("head", 1, 1)])
def test_a_run_tells_no_more_views_than_it_has_epochs(plan: str, views: int, shown: int, toy: Path) -> None:
    assert read_run(toys.train_toy(toy, plan, views=views)).definition["views"] == shown


@pytest.mark.long
def test_a_run_of_which_all_learned_needs_its_pretrained_weights_no_more(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy)
    weights = with_own_weights(toy, "all", "head")
    folders = [toys.train_toy(toy, plan) for plan in ("all", "head")]
    expected = load_backbone(folders[0], 0).state_dict()
    weights.unlink()
    assert toys.differing(load_backbone(folders[0], 0).state_dict(), expected) == set()
    with pytest.raises(InputError, match=r"mine\.safetensors must be a weights file\. Got no file instead\."):
        load_backbone(folders[1], 0)
