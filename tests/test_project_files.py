"""What others than the tests run calls what there is."""

import re

from frostline.files import read_yaml
from tests.project import ROOT

TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_both_checks_of_a_clone_run_what_one_runs_oneself() -> None:
    job = read_yaml(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["check"]
    told = [step["run"] for step in job["steps"] if "run" in step]
    assert told[-2:] == ["make lint", "make test"]
    assert [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("make")] == told[-2:]
    assert {line.split()[1] for line in told[-2:]} <= TARGETS


def test_actions_are_pinned_to_a_commit() -> None:
    steps = read_yaml(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["check"]["steps"]
    used = [step["uses"] for step in steps if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name) for name in used)


def test_hooks_download_nothing_and_run_what_setup_installs() -> None:
    (repository,) = read_yaml(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    entries = [hook["entry"] for hook in repository["hooks"]]
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    assert [entry.split()[0] for entry in entries] == [
        ".venv/bin/ruff", ".venv/bin/ruff", ".venv/bin/mypy", ".venv/bin/python"
    ]  # fmt: skip
    assert entries[-1].endswith("-m frostline.commands.check params.yaml")


def test_how_to_contribute_names_what_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert len(text.splitlines()) <= 80
    for name in re.findall(r"`((?:frostline|stages|tests|tools|studies|docs|benchmarks)/[\w./]*)`", text):
        assert (ROOT / name).exists(), name
    assert set(re.findall(r"make ([a-z-]+)", text)) <= TARGETS


def test_the_citation_and_the_package_have_the_same_version() -> None:
    citation = read_yaml(ROOT / "CITATION.cff")
    (version,) = re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert citation["version"] == version
    assert f"## {version} ({citation['date-released']})" in (ROOT / "CHANGELOG.md").read_text()
