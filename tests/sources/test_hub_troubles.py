"""What goes wrong on the way to a hub is told in one line, and nothing half done is kept."""

import fcntl
import hashlib
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest
from huggingface_hub import constants

from frostline.sources.hub import OFFLINE
from tests.loopback import serving
from tests.project import ENVIRONMENT, ROOT, copy_project, load_yaml, read_study, run, write_params
from tests.sources.fake_hub import (
    CARD,
    COMMIT,
    NAME,
    TRAIN,
    FakeHub,
    fetched,
    refusal,
    study,
)


def test_a_hub_that_breaks_down_twice_is_asked_a_third_time(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes]
) -> None:
    server.publish(leaves)
    server.troubles.extend(["breaks down", "breaks down"])
    facts, _ = fetched(tmp_path)
    assert facts["images"] == 72
    assert server.asked[:3] == [f"/api/datasets/{NAME}/revision/{COMMIT}"] * 3


def test_a_hub_that_breaks_down_for_good_is_told_with_its_answer(server: FakeHub, tmp_path: Path) -> None:
    server.troubles.extend(["breaks down"] * 9)
    assert refusal(tmp_path) == (
        f"The list of files of {NAME} must come whole from {server.address}. Got the answer 503 instead. {OFFLINE}"
    )


def test_a_hub_that_stalls_is_left_after_the_timeout(
    server: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
    server.troubles.extend(["stalls"] * 9)
    assert refusal(tmp_path) == (
        f"The list of files of {NAME} must come whole from {server.address}. Got no answer (timed out) instead. "
        f"{OFFLINE}"
    )
    assert len(server.asked) == 3


def test_a_download_that_stalls_is_taken_up_again(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    server.publish({"train.parquet": leaves[TRAIN]})
    server.troubles.extend(["", "", "", "", "stalls"])  # lists twice, and of the file its head twice, are there
    facts, _ = fetched(tmp_path, validation=None, test=None)
    assert facts["images"] == 36
    assert len(server.asked) == 6


def test_a_download_that_stalls_for_good_is_left_after_its_timeouts(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library tries six times, a second apart."""
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    server.publish({"train.parquet": leaves[TRAIN]})
    server.troubles.extend(["", "", "", "", *["stalls"] * 9])
    assert refusal(tmp_path) == (
        f"train.parquet of {NAME} must come whole from {server.address}. Got no answer (timed out) instead. {OFFLINE}"
    )
    assert len(server.asked) == 4 + 6


def test_a_hub_that_is_silent_about_a_file_is_left_after_three_timeouts(
    server: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaves: dict[str, bytes]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
    server.publish({"train.parquet": leaves[TRAIN]})
    server.troubles.extend(["", *["stalls"] * 9])
    assert refusal(tmp_path) == (
        f"train.parquet of {NAME} must come whole from {server.address}. Got no answer (timed out) instead. {OFFLINE}"
    )
    assert len(server.asked) == 1 + 3


@pytest.mark.parametrize("place", [0, 1], ids=["the list", "a file"])
def test_a_refusal_is_told_with_its_answer_and_not_taken_for_a_lost_connection(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes], place: int
) -> None:
    server.publish({"train.parquet": leaves[TRAIN]})
    server.troubles.extend([*[""] * place, "refuses"])
    what = ("The list of files", "train.parquet")[place]
    line = f"{what} of {NAME} must come whole from {server.address}. Got the answer 403 instead. Check HF_TOKEN."
    assert refusal(tmp_path) == line
    assert len(server.asked) == 1 + place


def test_a_login_page_in_the_way_is_told_from_a_hub(server: FakeHub, tmp_path: Path) -> None:
    server.files[f"/api/datasets/{NAME}/revision/{COMMIT}"] = b"<html>Welcome to our hotel</html>"
    assert refusal(tmp_path) == (
        f"The list of files of {NAME} must come whole from {server.address}. "
        "Got an answer that is none of a hub's instead. A login page may be in the way."
    )


def test_without_a_connection_one_line_says_what_was_tried_and_what_runs_offline(
    server: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as other:
        nobody = other.address
    monkeypatch.setattr(constants, "ENDPOINT", nobody)
    told = refusal(tmp_path)
    assert told.startswith(f"The list of files of {NAME} must come whole from {nobody}. Got no answer (")
    assert told.endswith(f"refused) instead. {OFFLINE}")
    assert server.asked == []


def test_the_studies_that_are_said_to_run_offline_are_those_that_do() -> None:
    ready = {path.stem: read_study(path.stem) for path in (ROOT / "studies").glob("*.yaml")}
    offline = {
        name
        for name, params in ready.items()
        if params["data"]["source"] == "package" and params["backbones"] == ["efficientnet_lite0"]
    }
    told = {name for name in ready if f"STUDY={name} " in f"{OFFLINE.replace(',', ' ')} "}
    # A line of a table and a lesson are not what anyone would fall back on, nor is what one runs without a name.
    assert told == offline - {"architectures_lite0", "size", "default", "default_72"}


@pytest.mark.parametrize("length", [1_000, -1], ids=["another length", "the same length"])
def test_a_damaged_file_is_refused_by_the_hash_that_the_hub_has_and_not_kept(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes], length: int
) -> None:
    """A mirror may serve a file that was cut off, whose length it then believes."""
    server.publish(leaves)
    wrong = leaves[TRAIN][:length] + (b"" if length > 0 else b"X")
    server.damage(TRAIN, wrong)
    wanted, found = (hashlib.sha256(each).hexdigest() for each in (leaves[TRAIN], wrong))
    assert refusal(tmp_path) == (
        f"{TRAIN} of {NAME} must have the SHA-256 {wanted}, as the hub says. Got {found} instead. "
        "It is removed: try again."
    )
    server.damage(TRAIN, leaves[TRAIN])
    facts, _ = fetched(tmp_path)  # as one was told
    assert facts["images"] == 72


def test_a_small_file_is_refused_by_its_git_hash(server: FakeHub, tmp_path: Path, leaves: dict[str, bytes]) -> None:
    server.publish(leaves)
    server.damage("README.md", CARD.replace(b"mit", b"gpl"))
    assert f"README.md of {NAME} must have the git hash " in refusal(tmp_path)


def test_a_file_that_breaks_off_short_of_the_length_that_was_announced_is_refused(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes]
) -> None:
    server.publish(leaves)
    server.headers[f"/datasets/{NAME}/resolve/{COMMIT}/{TRAIN}"]["X-Linked-Size"] = str(len(leaves[TRAIN]) + 9)
    told = refusal(tmp_path)
    assert told.startswith(
        f"data/test-00000-of-00001.parquet and 2 more of {NAME} must come whole from {server.address}."
    )
    assert f"Got Consistency check failed: file should be of size {len(leaves[TRAIN]) + 9}" in told
    assert TRAIN in told


def test_offline_the_cache_is_used_and_what_is_not_there_is_told(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish(leaves)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    line = (
        f"The list of files of {NAME} must come whole from {server.address}. "
        f"Got HF_HUB_OFFLINE, and no list of files in {constants.HF_ASSETS_CACHE}, instead. {OFFLINE}"
    )
    assert refusal(tmp_path, revision="main") == line
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    online = fetched(tmp_path, revision="main")
    server.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    offline = fetched(tmp_path, revision="main")
    assert offline[0] == online[0]
    assert server.asked == []


def test_offline_a_file_that_is_not_in_the_cache_is_told(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish(leaves)
    fetched(tmp_path)
    shutil.rmtree(tmp_path / "raw")
    shutil.rmtree(constants.HF_HUB_CACHE)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refusal(tmp_path) == (
        f"README.md of {NAME} must come whole from {server.address}. "
        f"Got HF_HUB_OFFLINE, and no such file in {constants.HF_HUB_CACHE}, instead. {OFFLINE}"
    )


def test_a_list_of_files_that_cannot_be_kept_is_asked_for_each_time(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes]
) -> None:
    server.publish(leaves)
    Path(constants.HF_ASSETS_CACHE).parent.mkdir()
    Path(constants.HF_ASSETS_CACHE).write_text("in the way")
    fetched(tmp_path)
    server.asked.clear()
    facts, _ = fetched(tmp_path)
    assert facts["images"] == 72
    assert server.asked == [f"/api/datasets/{NAME}/revision/{COMMIT}"]


def test_a_cache_that_cannot_be_written_is_told_in_one_line(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes]
) -> None:
    server.publish(leaves)
    Path(constants.HF_HUB_CACHE).parent.mkdir()
    Path(constants.HF_HUB_CACHE).write_text("in the way")
    told = refusal(tmp_path)
    assert told.startswith(f"README.md of {NAME} must come whole from {server.address}. Got [Errno ")
    assert told.endswith(" instead.")


@pytest.mark.parametrize("asked", [{"dataset": "lab/leaves/rust"}, {"dataset": "lab/leafs"}, {"revision": "v2"}])
def test_of_what_is_not_on_the_hub_nothing_is_kept(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes], asked: dict[str, str]
) -> None:
    server.publish(leaves)
    refusal(tmp_path, **asked)
    assert not Path(constants.HF_ASSETS_CACHE).exists()


@pytest.mark.long
def test_dvc_fetches_from_the_hub_of_the_environment_once_and_again_when_other_images_are_asked_for(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish(leaves)
    monkeypatch.setitem(ENVIRONMENT, "HF_ENDPOINT", server.address)
    monkeypatch.setitem(ENVIRONMENT, "HF_HOME", str(tmp_path / "home"))
    project = copy_project(tmp_path / "project")
    params = load_yaml(study(tmp_path).read_text(encoding="utf-8"))
    params["data"]["folder"] = "data/none"
    write_params(project, params)
    assert (
        f"fetch: 72 images of 3 classes from Hugging Face hub: {NAME}" in run(project, "dvc", "repro", "fetch").stdout
    )
    assert os.path.lexists(tmp_path / f"home/hub/datasets--lab--leaves/snapshots/{COMMIT}/{TRAIN}")
    server.asked.clear()
    assert "up to date" in run(project, "dvc", "repro", "fetch").stdout
    assert server.asked == []
    fetched_before = (project / "data/raw/images.parquet").read_bytes()
    params["data"]["hub"]["revision"] = "v2"
    write_params(project, params)
    told = run(project, "dvc", "repro", "fetch", succeeds=False).stderr.splitlines()
    assert f"data.hub.revision must be a commit, tag or branch of {NAME}. Got 'v2' instead." in told
    assert not [line for line in told if "Traceback" in line]
    run(project, "dvc", "checkout", "fetch")
    assert (project / "data/raw/images.parquet").read_bytes() == fetched_before


def read_until_closed(terminal: int, told: bytearray) -> None:
    """Read what is written to a terminal until nobody has it open for writing."""
    with suppress(OSError):  # Linux's end of a terminal
        while content := os.read(terminal, 65_536):
            told += content


def test_a_terminal_shows_how_far_the_download_is(server: FakeHub, tmp_path: Path, leaves: dict[str, bytes]) -> None:
    server.publish(leaves)
    shown, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    environment = {**ENVIRONMENT, "HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "stages.fetch", "--params", study(tmp_path), "--out", tmp_path / "raw"]
    told = bytearray()
    reader = Thread(target=read_until_closed, args=(shown, told), daemon=True)
    reader.start()
    subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=terminal, check=True)
    os.close(terminal)
    reader.join()
    os.close(shown)
    assert re.search(r"Fetching 4 files: 100%", told.decode())
    assert re.search(r"Reconstruction complete: 100%\S+ \S+kB / \S+kB", told.decode())
