"""What was published or saved is read bit for bit, or refused in words."""

import hashlib
import re
import socket
from pathlib import Path

import pytest

from frostline import downloads
from frostline.errors import InputError
from frostline.networks import weights
from frostline.networks.weights import load_published_tensors
from tests.backbones.published import TENSORS, Published, kept, same, saved
from tests.loopback import serving

OFFLINE = "Offline, take efficientnet_lite0, whose weights are installed, or give weights: a file in data/weights."


pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older-format"])
def test_published_tensors_are_downloaded_once_and_are_those_that_were_saved(
    server: Published, cache: Path, zipped: bool
) -> None:
    url = server.publish(saved(TENSORS, _use_new_zipfile_serialization=zipped))
    assert same(load_published_tensors(url), TENSORS)
    assert same(load_published_tensors(url), TENSORS)
    assert len(server.asked) == 1
    assert kept(cache) == [url.rpartition("/")[2]]


def test_a_download_whose_sha256_is_not_that_of_its_name_is_refused_and_not_kept(
    server: Published, cache: Path
) -> None:
    url = server.publish(saved(TENSORS), named_after=b"something else")
    wanted = hashlib.sha256(b"something else").hexdigest()[:8]
    with pytest.raises(InputError) as caught:
        load_published_tensors(url)
    assert str(caught.value) == (
        f"{url} must have a SHA-256 that begins with {wanted}. Got other bytes instead. Try again."
    )
    assert kept(cache) == []


def test_a_download_that_breaks_off_is_refused_and_not_kept(server: Published, cache: Path) -> None:
    whole = saved(TENSORS)
    url = server.publish(whole[:-100], named_after=whole)
    with pytest.raises(InputError, match=r"must have a SHA-256 that begins with \w{8}\. Got other bytes instead"):
        load_published_tensors(url)
    assert kept(cache) == []
    server.files[url.removeprefix(server.address)] = whole
    assert same(load_published_tensors(url), TENSORS)  # trying again, as one was told


def test_weights_that_are_not_there_are_told_with_the_servers_answer(server: Published, cache: Path) -> None:
    url = f"{server.address}/models/resnet18-00000000.pth"
    with pytest.raises(InputError) as caught:
        load_published_tensors(url)
    assert str(caught.value) == f"{url} must be reachable. Got the answer 404 (Not Found) instead. {OFFLINE}"
    assert len(server.asked) == 1
    assert kept(cache) == []


def test_without_a_connection_one_is_told_how_to_do_without(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as other:
        url = f"{other.address}/models/resnet18-00000000.pth"
    monkeypatch.setattr(downloads, "WAITS", (0.01, 0.01))
    with pytest.raises(InputError) as caught:
        load_published_tensors(url)
    words = rf"{re.escape(url)} must be reachable\. Got no connection \(.*refused.*\) instead\. {re.escape(OFFLINE)}"
    assert re.fullmatch(words, str(caught.value))
    assert kept(cache) == []


def test_a_server_that_breaks_down_twice_is_asked_a_third_time(server: Published, cache: Path) -> None:
    url = server.publish(saved(TENSORS))
    server.troubles.extend(["breaks down", "breaks down"])
    assert same(load_published_tensors(url), TENSORS)
    assert len(server.asked) == 3
    assert kept(cache) == [url.rpartition("/")[2]]


def test_a_server_that_stalls_is_left_after_the_timeout(
    server: Published, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "SILENCE", 0.1)
    url = server.publish(saved(TENSORS))
    server.troubles.extend(["stalls"] * 3)
    with pytest.raises(InputError) as caught:
        load_published_tensors(url)
    assert str(caught.value) == f"{url} must be reachable. Got no connection (timed out) instead. {OFFLINE}"
    assert len(server.asked) == 3
    assert kept(cache) == []
    assert socket.getdefaulttimeout() is None  # as it was


def test_an_answer_that_is_not_http_is_told_in_words(server: Published, cache: Path) -> None:
    url = server.publish(b"")
    with pytest.raises(
        InputError, match=r"^http\S+ must be reachable\. Got no connection \(this is not HTTP\) instead\. "
    ):
        load_published_tensors(url)
    assert kept(cache) == []


def test_a_file_that_was_damaged_in_torchs_cache_is_refused_by_its_name_each_time(
    server: Published, cache: Path
) -> None:
    content = saved(TENSORS)
    url = server.publish(content)
    load_published_tensors(url)
    (path,) = cache.iterdir()
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 1
    path.write_bytes(damaged)
    wanted, got = (hashlib.sha256(each).hexdigest()[:8] for each in (content, damaged))
    for _ in range(2):
        with pytest.raises(InputError) as caught:
            load_published_tensors(url)
        assert str(caught.value) == (
            f"{path} must have a SHA-256 that begins with {wanted}. Got {got} instead. "
            "Delete it, and it is downloaded again."
        )
    path.unlink()
    assert same(load_published_tensors(url), TENSORS)
