"""Looking inside a run: movement, evidence and maps of networks whose answers are known beforehand, and make look."""

import json
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from frostline.backbones.freezing import apply_plan
from frostline.backbones.registry import build_backbone, cut_into_parts
from frostline.constants import PARTS
from frostline.files import read_json, read_yaml, write_json, write_yaml
from frostline.interpret.captions import describe_movement, describe_pictures, list_notes, locate_evidence
from frostline.interpret.figures import draw_pictures
from frostline.interpret.gradcam import (
    CHANNELS_FIRST,
    CHANNELS_LAST,
    POOLED,
    PartMaps,
    arrange_as_maps,
    compute_activation_maps,
    compute_grad_cam,
)
from frostline.interpret.inspection import choose_cases, open_run
from frostline.interpret.output import write_look
from frostline.interpret.weight_changes import Moved, find_first_filters, measure_movements
from frostline.plotting import use_style
from frostline.report.comparison import read_comparison
from frostline.report.page import render_report
from stages import look as look_stage
from tests import insides, toys
from tests.figures import find_overlaps
from tests.insides import made_up, without_places
from tests.reports import write_study
from tools import look as look_tool


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


def in_parts(**parts: nn.Module) -> nn.Sequential:
    """Return a backbone of these parts, each of one block."""
    return nn.Sequential(OrderedDict((name, nn.Sequential(part)) for name, part in parts.items())).eval()


def linear(*rows: list[float]) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    layer.weight = nn.Parameter(torch.tensor(rows))
    return layer


# --- How far each part moved ----------------------------------------------------------------------------------------


def test_movement_is_the_norm_of_the_change_over_the_norm_before_and_zero_where_nothing_changed() -> None:
    loaded = in_parts(stem=linear([3.0, 4.0]), stage1=nn.ReLU(), head=linear([1.0], [0.0]))
    trained = in_parts(stem=linear([3.0, 4.0]), stage1=nn.ReLU(), head=linear([1.0], [0.5]))
    apply_plan(trained, toys.plan("head"))
    assert measure_movements(loaded, trained) == [
        Moved("stem", 2, 0, 0.0), Moved("stage1", 0, 0, None), Moved("head", 2, 2, 0.5),
    ]  # fmt: skip


def test_a_tiny_change_of_a_large_part_is_not_rounded_away() -> None:
    loaded, trained = (in_parts(head=linear([1.0] * 9_999 + [last])) for last in (1.0, 1.0 + 2**-23))
    assert measure_movements(loaded, trained)[0].relative_norm == pytest.approx(2**-23 / 100)


@pytest.mark.parametrize(
    ("norm", "trainable", "told"),
    [
        (0.0, 0, "0 exactly, frozen"),
        (0.0125, 9, "0.0125"),
        (0.0125, 1, "0.0125, some of it learned"),
        (None, 0, "no parameters"),
    ],
)
def test_what_did_not_move_is_told_otherwise_than_what_hardly_did(
    norm: float | None, trainable: int, told: str
) -> None:
    assert describe_movement(Moved("stem", 9, trainable, norm)) == told


# --- What the first layer looks for ---------------------------------------------------------------------------------


def test_the_rows_of_a_linear_first_layer_are_draw_pictures_what_they_look_for() -> None:
    red_upper_left = torch.zeros(3, 4, 4)
    red_upper_left[0, 0, 0] = 1
    network = nn.Sequential(nn.Flatten(), linear(red_upper_left.flatten().tolist()))
    found = find_first_filters(network, network, most=9)
    assert found is not None
    assert np.array_equal(found.after[0], red_upper_left)


def test_of_many_filters_the_strongest_after_training_are_kept_in_their_order() -> None:
    layers = [nn.Conv2d(3, 4, 2, bias=False) for _ in range(2)]
    for layer, sizes in zip(layers, ([9.0, 9.0, 1.0, 1.0], [1.0, 3.0, 0.0, 2.0]), strict=True):
        layer.weight = nn.Parameter(torch.tensor(sizes)[:, None, None, None].expand(4, 3, 2, 2).clone())
    found = find_first_filters(*layers, most=2)
    assert found is not None
    assert (found.indices, found.of) == ([1, 3], 4)
    assert found.before[:, 0, 0, 0].tolist() == [9.0, 1.0]


def test_a_first_layer_that_sees_no_colours_has_no_filters_to_show() -> None:
    for layer in (nn.Conv2d(1, 4, 3), nn.Linear(7, 4)):
        assert find_first_filters(layer, layer, most=9) is None


# --- What the parts find --------------------------------------------------------------------------------------------


def test_tokens_lie_in_rows_of_a_square_behind_the_class_token() -> None:
    tokens = torch.arange(-1, 9.0).reshape(1, 10, 1)
    maps = arrange_as_maps(tokens, CHANNELS_FIRST)
    assert maps is not None
    assert maps.tolist() == [[[[0, 1, 2], [3, 4, 5], [6, 7, 8]]]]


@pytest.mark.parametrize(
    ("shape", "layout", "places"),
    [
        ((1, 5, 2, 3), CHANNELS_FIRST, (2, 3)),
        ((1, 2, 3, 5), CHANNELS_LAST, (2, 3)),
        ((1, 5, 1, 1), CHANNELS_FIRST, None),
        ((1, 5, 6, 6), POOLED, None),
        ((1, 5), CHANNELS_FIRST, None),
        ((1, 6, 5), CHANNELS_FIRST, None),
    ],
)
def test_maps_are_where_several_places_are_told_apart(
    shape: tuple[int, ...], layout: str, places: tuple[int, ...] | None
) -> None:
    maps = arrange_as_maps(torch.zeros(shape), layout)
    assert places == (None if maps is None else tuple(maps.shape[2:]))
    assert maps is None or maps.shape[1] == 5


# For each family: the side of its images, where Grad-CAM is taken, and the places of the maps of its parts.
FAMILIES = {
    "efficientnet_lite0": (64, "stage4.6", (32, 16, 8, 4, 2)),
    "alexnet": (96, "stage3.1", (11, 5, 5, 2)),
    "resnet18": (64, "stage4.1", (16, 16, 8, 4, 2)),
    "inception_v3": (96, "stage3.4", (22, 9, 9, 4)),
    "googlenet": (64, "stage4.1", (16, 8, 4, 2, 2)),
    "densenet121": (64, "stage4.2", (16, 8, 4, 2, 2)),
    "mobilenet_v3_small": (64, "stage4.3", (32, 16, 8, 4, 2)),
    "shufflenet_v2_x1_0": (64, "stage4.4", (32, 16, 8, 4, 2)),
    "squeezenet1_1": (64, "stage4.1", (15, 7, 3, 3, 3)),
    "mnasnet1_0": (64, "stage4.5", (32, 16, 8, 4, 2)),
    "regnet_y_400mf": (64, "stage4.5", (32, 16, 8, 4, 2)),
    "convnext_tiny": (64, "stage4.3", (16, 16, 8, 4, 2)),
    "swin_t": (64, "stage4.4", (16, 16, 8, 4, 2)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_maps_at_its_strides_and_evidence_at_its_deepest_places(name: str) -> None:
    side, deepest, places = FAMILIES[name]
    torch.manual_seed(0)
    backbone = build_backbone(name, "none", classes=2).eval()
    pixels = torch.randn(2, 3, side, side)
    found = compute_activation_maps(backbone, backbone, pixels[:1], 4)
    assert tuple(each.after.shape for each in found) == tuple((4, at, at) for at in places)
    assert [each.part for each in found] == list(PARTS[: len(places)])
    assert all(np.array_equal(each.before, each.after) for each in found)
    evidence = compute_grad_cam(backbone, pixels, torch.tensor([0, 1]))
    assert evidence is not None
    assert evidence.block == deepest
    assert evidence.heat.min() >= 0
    assert set(evidence.heat.max(axis=(1, 2))) <= {0, 1}
    filters = find_first_filters(backbone, backbone, 64)
    assert filters is not None
    assert np.array_equal(filters.before, filters.after)


def test_a_vision_transformers_evidence_lies_before_its_last_layer_which_leaves_its_patches_no_gradient() -> None:
    architecture = toys.small_vision_transformer()
    torch.manual_seed(0)
    backbone = cut_into_parts(architecture, architecture.original()).eval()
    nn.init.normal_(backbone.get_submodule("head.0").weight)  # torchvision begins with a head of zeros
    evidence = compute_grad_cam(backbone, torch.randn(1, 3, 32, 32), torch.tensor([1]))
    assert evidence is not None
    assert [name for name, _ in backbone.get_submodule("stage4").named_children()] == ["0", "1", "2"]
    assert evidence.block == "stage3.0"
    assert evidence.heat.shape == (1, 4, 4)
    found = compute_activation_maps(backbone, backbone, torch.randn(1, 3, 32, 32), 4)
    assert [each.after.shape for each in found] == [(4, 4, 4)] * 5


def test_the_channels_shown_differ_the_most_from_place_to_place_after_training() -> None:
    """Of three channels the first is the strongest, but the same everywhere."""
    trained = nn.Conv2d(3, 3, 1)
    trained.weight = nn.Parameter(torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])[..., None, None])
    trained.bias = nn.Parameter(torch.tensor([99.0, 0, 0]))
    untrained = nn.Conv2d(3, 3, 1)
    pixels = torch.arange(12.0).reshape(1, 3, 2, 2)
    (found,) = compute_activation_maps(in_parts(stem=untrained), in_parts(stem=trained), pixels, 2)
    assert found.channels == [2, 1]
    assert found.after[0].tolist() == [[0, 2], [4, 6]]
    assert np.allclose(found.before, untrained(pixels)[0, [2, 1]].detach())


# --- What it goes by ------------------------------------------------------------------------------------------------


class SumOverPlaces(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps.sum(dim=(2, 3))


def colour_classifier() -> nn.Sequential:
    """Return a network for which red speaks for class 0 and blue for class 1, wherever they are."""
    eye = nn.Conv2d(3, 3, 1, bias=False)
    eye.weight = nn.Parameter(torch.eye(3)[..., None, None])
    head = nn.Sequential(SumOverPlaces(), linear([1.0, 0, 0], [0.0, 0, 1]))
    return nn.Sequential(OrderedDict(stem=nn.Sequential(eye, nn.ReLU(inplace=True)), head=head)).eval()


def red_upper_left_blue_lower_right() -> Tensor:
    pixels = torch.zeros(1, 3, 4, 4)
    pixels[0, 0, 0, 0], pixels[0, 2, 3, 3] = 5, 2
    return pixels


@pytest.mark.parametrize(
    ("target", "place", "words"),
    [(0, (0, 0), "evidence strongest in the upper left"), (1, (3, 3), "evidence strongest in the lower right")],
)
def test_evidence_for_a_class_lies_where_what_speaks_for_it_is(target: int, place: tuple[int, int], words: str) -> None:
    evidence = compute_grad_cam(colour_classifier(), red_upper_left_blue_lower_right(), torch.tensor([target]))
    assert evidence is not None
    expected = np.zeros((1, 4, 4))
    expected[0, *place] = 1
    assert np.array_equal(evidence.heat, expected)
    assert locate_evidence(evidence.heat[0]) == words
    assert np.unravel_index(evidence.enlarge(8)[0].argmax(), (8, 8)) == tuple(7 * (each > 0) for each in place)


def test_where_nothing_speaks_for_a_class_there_is_no_evidence_anywhere() -> None:
    evidence = compute_grad_cam(colour_classifier(), torch.zeros(1, 3, 4, 4), torch.tensor([0]))
    assert evidence is not None
    assert not evidence.heat.any()
    assert locate_evidence(evidence.heat[0]) == "for which nothing speaks"


def test_a_network_of_vectors_has_no_maps_and_no_evidence_and_it_is_said() -> None:
    network = in_parts(stem=nn.Sequential(nn.Flatten(), nn.Linear(48, 5)), head=nn.Linear(5, 2))
    pixels = torch.randn(1, 3, 4, 4)
    assert compute_activation_maps(network, network, pixels, 4) == []
    assert compute_grad_cam(network, pixels, torch.tensor([0])) is None
    assert [*describe_pictures(without_places())] == ["gradcam", "moved"]
    assert " ".join(list_notes(without_places())) == (
        "The first layer of toy does not see colours: it has no filters to show. "
        "toy keeps no places, as its parts give one vector: there are no maps of what it finds. "
        "Nothing in toy tells places apart: Grad-CAM cannot say where its evidence lies."
    )


# --- Which images are telling ---------------------------------------------------------------------------------------


def predictions(*rows: tuple[int, str, int, int, float]) -> pd.DataFrame:
    """Return predictions from rows of seed, split, image, label and the probability of "bright"."""
    table = pd.DataFrame(rows, columns=["seed", "split", "image", "label", "probability_bright"])
    return table.assign(probability_dark=1 - table.probability_bright)


def test_the_worst_mistake_is_the_test_image_with_the_highest_probability_of_a_wrong_class() -> None:
    table = predictions(
        (0, "test", 10, 0, 0.6), (0, "test", 11, 1, 0.97), (0, "test", 12, 0, 0.9), (0, "test", 13, 1, 0.3),
        (0, "test", 14, 0, 0.02), (0, "validation", 15, 0, 0.99), (1, "test", 16, 0, 0.99),
    )  # fmt: skip
    wrong, hits = choose_cases(toys.prepared(), table, seed=0, count=2)
    assert [(each.name, each.actual, each.predicted, each.confidence) for each in wrong] == [
        ("12", 0, 1, 0.9), ("13", 1, 0, 0.7),
    ]  # fmt: skip
    assert [each.name for each in hits] == ["14", "11"]
    assert np.array_equal(hits[0].pixels, toys.pictures()[14])


def test_there_are_as_many_mistakes_as_were_made() -> None:
    wrong, hits = choose_cases(toys.prepared(), predictions((0, "test", 3, 1, 0.8)), seed=0, count=4)
    assert (len(wrong), len(hits)) == (0, 1)


# --- The pictures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "inside",
    [made_up(), without_places(), made_up(("microcrack across both busbars", "electrically insulated cell part"))],
    ids=["usual", "without places", "long names"],
)
def test_no_two_texts_of_a_picture_overlap(inside: insides.Inside) -> None:
    with use_style():
        for name, picture in draw_pictures(inside).items():
            assert not find_overlaps(picture), name


def test_draw_pictures_noise_from_large_images_stay_small(tmp_path: Path) -> None:
    write_look(tmp_path / "look", made_up(side=224, filters=64, filter_side=64))
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "look").iterdir()}
    assert len(sizes) == 4 * 2 + 1
    assert max(sizes.values()) < 400_000, sizes


def test_the_page_says_what_a_network_without_places_cannot_show(tmp_path: Path) -> None:
    folder = write_study(tmp_path)
    write_look(folder / "look", without_places())
    for name in ("curves", "confusion"):
        (tmp_path / f"{name}.svg").write_text("<svg/>")
    page = render_report(read_comparison(folder, folder / "source.json"), tmp_path, folder / "look")
    assert all(f"<p>{note}</p>" in page for note in list_notes(without_places()))
    assert [title in page for title in ("What it looks for", "What it finds", "What it goes by")] == [
        False,
        False,
        True,
    ]


# --- Of a run that was trained --------------------------------------------------------------------------------------


@pytest.fixture
def trained(toy: Path) -> Path:
    """Return the toy study's folder, with a run as dvc names it, its predictions, and advice to take it."""
    name = "efficientnet_lite0-block"
    toys.train_toy(toy, "block").rename(toy / "runs" / name)
    rows = [
        (0, "test", image, image % 2, share) for image, share in zip(range(66, 70), (0.9, 0.8, 0.3, 0.4), strict=True)
    ]
    (toy / "scores" / name).mkdir(parents=True)
    predictions(*rows).to_parquet(toy / "scores" / name / "predictions.parquet")
    write_json(toy / "advice.json", {"backbone": "efficientnet_lite0", "plan": "block"})
    return toy


def look_at(study: Path, out: Path) -> dict[str, bytes]:
    look_stage.main(
        params=study / "params.yaml",
        advice=study / "advice.json",
        prepared=study / "prepared",
        runs=study / "runs",
        scores=study / "scores",
        out=out,
    )
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_how_far_maps_differ_is_a_share_of_the_larger_of_both() -> None:
    zero, three, four = (np.full((1, 1, 1), value, np.float32) for value in (0, 3, 4))
    assert PartMaps("stem", "stem.0", [0], three, four).difference == pytest.approx(1 / 4)
    assert PartMaps("stem", "stem.0", [0], four, -three).difference == pytest.approx(7 / 4)
    assert PartMaps("stem", "stem.0", [0], zero, zero).difference == 0


def test_a_run_is_seen_as_it_began_and_as_it_was_left_and_the_same_again(trained: Path, tmp_path: Path) -> None:
    once, again = (look_at(trained, tmp_path / name) for name in ("once", "again"))
    assert once == again
    assert sorted(once) == sorted(
        [
            "look.json",
            *(f"{name}.{kind}" for name in ("filters", "maps", "gradcam", "moved") for kind in ("png", "svg")),
        ]
    )
    told = json.loads(once["look.json"])
    norms = {each["part"]: each["relative_norm"] for each in told["moved"]}
    assert [norms[part] for part in PARTS[:4]] == [0.0] * 4
    assert norms["stage4"] > 0
    assert norms["head"] > 0
    cases = [(each["group"], each["image"], each["actual"], each["predicted"]) for each in told["cases"]]
    assert cases == [
        ("Worst mistakes", "66", "dark", "bright"), ("Worst mistakes", "69", "bright", "dark"),
        ("Confident hits", "67", "bright", "bright"), ("Confident hits", "68", "dark", "dark"),
    ]  # fmt: skip
    assert told["mapped"] == "67"
    assert {maps["difference"] for maps in told["maps"].values()} == {0.0}  # at 16 px stage4 has no maps
    assert "exactly nothing" in told["pictures"]["filters"]["told"]
    opened = open_run(trained / "runs" / "efficientnet_lite0-block")
    changed = toys.differing(dict(opened.loaded.named_parameters()), dict(opened.trained.named_parameters()))
    assert changed == {name for name, each in opened.trained.named_parameters() if each.requires_grad}


def test_tensorboard_shows_the_pictures_where_it_was_asked_for(trained: Path, tmp_path: Path) -> None:
    logs = trained / "logs" / "efficientnet_lite0-block" / "pictures"
    kept = look_at(trained, tmp_path / "once")
    assert not logs.exists()
    params = read_yaml(trained / "params.yaml")
    params["training"]["tensorboard"] = True
    write_yaml(trained / "params.yaml", params)
    assert look_at(trained, tmp_path / "again") == kept
    assert EventAccumulator(str(logs)).Reload().Tags()["images"] == ["filters", "maps", "gradcam", "moved"]


def test_make_look_draws_any_image_and_says_what_it_is_taken_for(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (trained / "data").mkdir()
    for name in ("runs", "prepared"):
        (trained / name).rename(trained / "data" / name)
    run, data, out = "efficientnet_lite0-block", trained / "data", trained / "look"
    image = trained / "leaf 1.jpg"
    Image.new("RGB", (80, 60), "green").save(image)
    capsys.readouterr()
    look_tool.main(run, str(image), data, out)
    *told, where = capsys.readouterr().out.splitlines()
    shares = {line.split()[1]: float(line.split()[0]) for line in told}
    assert set(shares) == {"dark", "bright"}
    assert sum(shares.values()) == pytest.approx(1, abs=0.002)
    assert where == f"{run}, seed 0: {out / run / 'leaf 1.jpg'}"
    seen = read_json(out / run / "leaf 1.jpg" / "look.json")
    assert [(each["image"], each["actual"]) for each in seen["cases"]] == [("leaf 1.jpg", None)]
    assert seen["mapped"] == "leaf 1.jpg"
    (trained / "broken.png").write_bytes(b"no image")
    for asked, said in {
        ("efficientnet_lite0-all", str(image)): f"RUN must be {run}. Got 'efficientnet_lite0-all' instead.",
        ("../runs", str(image)): f"RUN must be {run}. Got '../runs' instead.",
        (run, ""): "IMAGE must be an image file. Got no file '' instead.",
        (run, str(trained)): "IMAGE must be an image file. Got a folder instead.",
        (run, str(trained / "broken.png")): f"IMAGE must be an image that can be read. Got {trained / 'broken.png'} (",
    }.items():
        with pytest.raises(SystemExit) as ended:
            look_tool.main(*asked, data, out)
        assert str(ended.value.code).startswith(said)
        assert "\n" not in str(ended.value.code)


def test_a_run_of_other_prepared_images_is_refused_by_make_look(trained: Path) -> None:
    """Of another study, whose images had another size or other classes: dvc knows what each run was trained on."""
    (trained / "data").mkdir()
    for name in ("runs", "prepared"):
        (trained / name).rename(trained / "data" / name)
    run, image = "efficientnet_lite0-block", trained / "leaf.png"
    Image.new("RGB", (8, 8), "green").save(image)

    def locked(md5: str) -> None:
        entries = {name: [{"path": "data/prepared", "md5": kept}] for name, kept in (("deps", md5), ("outs", "now"))}
        stages = {f"train@{run}": {"deps": entries["deps"]}, "prepare": {"outs": entries["outs"]}}
        write_yaml(trained / "dvc.lock", {"stages": stages})

    locked("before")
    with pytest.raises(SystemExit) as ended:
        look_tool.main(run, str(image), trained / "data", trained / "look")
    assert str(ended.value.code) == (
        f"RUN must be a run on the images that are prepared now. Got '{run}' instead. "
        "It saw others: `make study STUDY=...` brings its study back."
    )
    assert not (trained / "look").exists()
    locked("now")
    look_tool.main(run, str(image), trained / "data", trained / "look")


def test_without_any_run_make_look_says_how_to_train_one(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        look_tool.main("a", "b", tmp_path)
    assert (
        ended.value.code == f"{tmp_path / 'runs'} must hold trained runs. Got none instead. `make study` trains them."
    )
