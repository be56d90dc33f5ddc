"""Images that are alike are found, told, and kept together or left out, as data.duplicates says."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from frostline.files import read_json
from frostline.preparation import duplicates
from frostline.preparation.duplicates import NEAR, choose_dropped, find_near, hash_look, join_alike, list_exact
from tests.stages.prepared import Picture, encoded, prepare_pictures, refuse_pictures


def draw(number: int) -> Image.Image:
    """Return a picture of blurred noise, which no other number gives."""
    noise = np.random.default_rng(number).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    blurred = np.asarray(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(4)), np.float32)
    return Image.fromarray(((blurred - blurred.min()) / np.ptp(blurred) * 255).astype(np.uint8))


def save_anew(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "jpeg", quality=60)
    return Image.open(file).convert("RGB")


COPIES = {
    "saved anew": save_anew,
    "half the size": lambda image: image.resize((48, 48)),
    "brighter": lambda image: Image.eval(image, lambda value: min(255, int(value * 1.1))),
    "cropped": lambda image: image.crop((1, 1, 95, 95)),
}


def pictures(count: int = 12, **more: Image.Image) -> dict[str, Picture]:
    """Return so many different pictures of each of two classes, and these beside them."""
    plain = {f"{name}/{i:02d}.png": draw(1000 * place + i) for place, name in enumerate("ab") for i in range(count)}
    return {name: encoded(image) for name, image in (plain | {f"a/{key}.png": of for key, of in more.items()}).items()}


def count_bits(one: Image.Image, other: Image.Image) -> int:
    return int(np.bitwise_count(hash_look(one) ^ hash_look(other)).sum())


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_near_and_another_picture_is_not(name: str) -> None:
    assert all(count_bits(draw(i), COPIES[name](draw(i))) <= NEAR for i in range(20))
    assert all(count_bits(draw(i), draw(i + 1)) > NEAR for i in range(20))


def test_an_image_in_which_nothing_is_to_be_seen_is_like_no_other() -> None:
    looks = np.array([hash_look(Image.new("RGB", (32, 32), (grey, grey, grey))) for grey in (0, 100, 255)])
    assert len(find_near(looks, np.arange(3))[0]) == 0


@pytest.mark.parametrize("tile", [(256, 1024), (3, 2), (2, 5)])
@given(words=st.lists(st.integers(0, 2**16 - 1), min_size=2, max_size=40), data=st.data())
def test_near_pairs_are_those_that_a_plain_comparison_finds_whatever_is_compared_at_once(
    tile: tuple[int, int], words: list[int], data: st.DataObject
) -> None:
    looks = np.array([[word + 1, word * word, 7, 0] for word in words], np.uint64)
    digests = data.draw(st.lists(st.sampled_from("abcdef"), min_size=len(words), max_size=len(words)))
    firsts = [row for row, digest in enumerate(digests) if digest not in digests[:row]]
    expected = {
        (later, earlier, int(np.bitwise_count(looks[later] ^ looks[earlier]).sum()))
        for later in firsts
        for earlier in firsts
        if earlier < later
    }
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(duplicates, "ROWS_AT_ONCE", tile[0])
        patched.setattr(duplicates, "COLUMNS_AT_ONCE", tile[1])
        found, is_whole = find_near(looks, np.array(digests))
    assert is_whole
    assert [tuple(pair) for pair in found.tolist()] == sorted(pair for pair in expected if pair[2] <= NEAR)


def test_where_nearly_all_look_alike_no_more_pairs_are_held_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 100)
    monkeypatch.setattr(duplicates, "COLUMNS_AT_ONCE", 8)
    looks = np.ones((500, 4), np.uint64)
    pairs, is_whole = find_near(looks, np.arange(500))
    assert not is_whole
    assert len(pairs) == 100
    assert (pairs[:, 1] < pairs[:, 0]).all()


@given(
    st.lists(st.tuples(st.sampled_from(["train", "validation", "test"]), st.integers(0, 8)), min_size=2, max_size=30)
)
def test_of_official_splits_no_two_that_are_left_hold_the_same_image_and_test_stays_whole(
    images: list[tuple[str, int]],
) -> None:
    table = pd.DataFrame(images, columns=["split", "digest"])
    exact = list_exact(table.digest.to_numpy())
    dropped = choose_dropped(table, exact, exact[:0], official=True)
    kept = table.drop(index=dropped.tolist())
    assert (kept.groupby("digest").split.nunique() == 1).all()
    assert set(kept.digest) == set(table.digest)
    assert (kept.split == "test").sum() == (table.split == "test").sum()


def test_near_ones_are_told_and_left_where_they_are_by_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared = prepare_pictures(tmp_path, pictures(copy=save_anew(draw(3))))
    assert (
        "prepare: 0 images have the pixels of an earlier one, 1 look nearly so (duplicates.csv lists them): "
        "data.duplicates: group keeps what looks alike together, drop leaves it out" in capsys.readouterr().out
    )
    table = pd.read_csv(prepared / "duplicates.csv")
    assert table[["id", "like_id", "kind", "left_out"]].to_numpy().tolist() == [
        ["a/copy.png", "a/03.png", "near", False]
    ]
    assert read_json(prepared / "prepared.json")["near_duplicates"] == 1
    groups = pd.read_csv(prepared / "images.csv").group
    assert groups.nunique() == len(groups)


def test_with_group_what_looks_alike_is_never_torn(tmp_path: Path) -> None:
    prepared = prepare_pictures(tmp_path, pictures(copy=save_anew(draw(3))), duplicates="group")
    images, splits = pd.read_csv(prepared / "images.csv"), pd.read_csv(prepared / "splits.csv")
    both = images.index[images.id.isin(["a/03.png", "a/copy.png"])]
    assert images.group[both].nunique() == 1
    assert (splits[splits.image.isin(both)].groupby("replicate").split.nunique() == 1).all()


def test_with_drop_one_of_them_is_left_out_of_every_replicate(tmp_path: Path) -> None:
    prepared = prepare_pictures(tmp_path, pictures(copy=save_anew(draw(3))), duplicates="drop")
    images, splits = pd.read_csv(prepared / "images.csv"), pd.read_csv(prepared / "splits.csv")
    left = splits[splits.split == "left out"]
    assert set(images.id[left.image]) == {"a/copy.png"}
    assert left.replicate.nunique() == splits.replicate.nunique()
    assert len(splits) == len(images) * splits.replicate.nunique()
    tested = splits[splits.split == "test"]
    assert sorted(tested.image) == sorted(set(images.index) - set(left.image))


def official(**more: Image.Image) -> dict[str, Picture]:
    plain = pictures()
    splits = {name: "test" if int(name[2:4]) >= 8 else "train" for name in plain}
    named = {f"{splits[name]}/{name}": picture for name, picture in plain.items()}
    return named | {f"{name.replace('__', '/')}.png": encoded(image) for name, image in more.items()}


def test_the_same_image_in_two_official_splits_is_refused_with_a_way_on(tmp_path: Path) -> None:
    said = refuse_pictures(tmp_path, official(train__a__copy=draw(9)))
    assert said == (
        "data must let the same image lie in one split. Got test/a/09.png = train/a/copy.png instead. "
        "data.duplicates: drop leaves out the twin of one that is scored."
    )


@pytest.mark.parametrize("copy", [draw(9), save_anew(draw(9))])
def test_of_official_splits_the_twin_that_is_trained_on_is_left_out(copy: Image.Image, tmp_path: Path) -> None:
    prepared = prepare_pictures(tmp_path, official(train__a__copy=copy), duplicates="drop")
    images, splits = pd.read_csv(prepared / "images.csv"), pd.read_csv(prepared / "splits.csv")
    assert set(images.id[splits.image[splits.split == "left out"]]) == {"train/a/copy.png"}
    table = pd.read_csv(prepared / "duplicates.csv")
    assert table[["id", "left_out", "like_id", "like_left_out"]].to_numpy().tolist() == [
        ["train/a/copy.png", True, "test/a/09.png", False]
    ]


def test_pairs_across_official_splits_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare_pictures(tmp_path, official(train__a__copy=save_anew(draw(9))))
    assert "prepare: alike across train and test: 1 pair\n" in capsys.readouterr().out


def test_with_group_official_splits_that_tear_what_looks_alike_are_refused(tmp_path: Path) -> None:
    said = refuse_pictures(tmp_path, official(train__a__copy=save_anew(draw(9))), duplicates="group")
    assert said == (
        "data must keep each group of images in one split. Got test/a/09.png ~ train/a/copy.png instead. data.splits: "
        "folds keeps them together, data.duplicates: drop leaves out twins of scored ones."
    )


def test_groups_of_what_is_alike_are_the_connected_ones() -> None:
    pairs = np.array([[1, 0, 3], [2, 1, 3], [4, 3, 0]])
    assert join_alike(6, pairs).tolist() == [0, 0, 0, 1, 1, 2]


def test_a_class_that_most_images_have_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = pictures()
    few = {name: picture for name, picture in plain.items() if name[0] == "a" or int(name[2:4]) < 4}
    few |= {f"a/x{number}.png": encoded(draw(5000 + number)) for number in range(20)}
    prepare_pictures(tmp_path, few, folds=2)
    assert "prepare: 89 % of the images are 'a', which is the accuracy of always saying so" in capsys.readouterr().out
