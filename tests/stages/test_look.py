"""Looking inside a run, as a stage and as `make look`: what is drawn and told, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from frostline.commands import look as look_tool
from frostline.constants import PARTS
from frostline.files import read_json, write_json, write_sums, write_yaml
from frostline.interpret.gradcam import PartMaps
from frostline.interpret.inspection import open_run
from stages import look as look_stage
from tests import toys
from tests.project import seal
from tests.stages.looked_into import predictions

pytestmark = pytest.mark.usefixtures("one_thread")


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
    for path in (study / "runs", study / "scores"):
        seal(path)
    write_sums(study, ["advice.json"])
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
            "SHA256SUMS",
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
    toys.set_params(trained, logging__tensorboard=True)
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
    assert where == f"{run}, replicate 0: {out / run / 'leaf 1.jpg'}"
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
