"""Weights by their address, a prepared set of another repository."""

from pathlib import Path

import pytest

from frostline.files import write_json, write_sums
from tests.loopback import serving
from tests.project import commit, copy_project, dump_yaml, load_yaml, run
from tests.toys import write_prepared


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy_project(tmp_path / "project")


def test_a_file_of_weights_is_taken_from_its_address_and_versioned(project: Path) -> None:
    where = "data/weights/own.safetensors"
    with serving() as server:
        for content in (b"weights", b"better weights"):
            server.files["/own.safetensors"] = content
            server.headers["/own.safetensors"] = {"ETag": f'"{len(content)}"'}
            first = not (project / where).exists()
            verb = ("import-url", f"{server.address}/own.safetensors", where) if first else ("update", f"{where}.dvc")
            run(project, "dvc", *verb)
            assert (project / where).read_bytes() == content
            commit(project, "weights")
    tracked = run(project, "git", "ls-files", "data/weights").stdout.splitlines()
    assert f"{where}.dvc" in tracked
    assert where not in tracked


def test_the_prepared_set_of_another_repository_takes_the_place_of_fetch_and_prepare(
    project: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "data/raw").mkdir(parents=True)
    write_prepared(theirs / "data/prepared")
    write_json(theirs / "data/raw/source.json", {"classes": ["dark", "bright"]})
    write_sums(theirs / "data/raw", ["source.json"])
    run(theirs, "git", "init", "--quiet", "--initial-branch", "main")
    run(theirs, "dvc", "init", "--quiet")
    run(theirs, "dvc", "add", "--quiet", "data/raw", "data/prepared")
    commit(theirs, "prepared")
    pipeline = load_yaml((project / "dvc.yaml").read_text())
    for stage in ("fetch", "prepare"):
        del pipeline["stages"][stage]
    (project / "dvc.yaml").write_text(dump_yaml(pipeline))
    for folder in ("data/raw", "data/prepared"):
        run(project, "dvc", "import", "--quiet", str(theirs), folder, "--out", folder)
    name = "images.npy"
    assert (project / "data/prepared" / name).read_bytes() == (theirs / "data/prepared" / name).read_bytes()
    would_run = run(project, "dvc", "repro", "--dry", "race").stdout
    assert "'data/prepared.dvc' didn't change" in would_run
    assert "Running stage 'race'" in would_run
    assert "fetch" not in would_run
