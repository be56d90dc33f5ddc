"""Every page holds what the studies found, is no longer than one reads, and leads nowhere that is not there."""

import re
from pathlib import Path

import pytest

from docs.build import draw_pipeline, render_page, render_pages
from docs.facts import Facts
from frostline.files import read_yaml
from tests.project import ROOT

TEMPLATES = ROOT / "docs" / "templates"
GUIDE = sorted(path.stem for path in (ROOT / "docs" / "guide").glob("*.md"))
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs" / "guide").glob("*.md")),
    ROOT / "docs/architectures/architectures.md",
]
LINK = re.compile(r"\]\(([^)#]+)\)")


def test_every_page_holds_what_the_recorded_studies_found(recorded: Path) -> None:
    for path, text in render_pages(recorded).items():
        assert (ROOT / path).read_text(encoding="utf-8") == text, f"`make readme`, and commit reports too: {path}"


def test_no_page_lies_about_that_no_template_makes() -> None:
    made = set(render_pages(ROOT))
    kept = {path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md") if TEMPLATES not in path.parents}
    assert kept | {Path("README.md")} == made


def test_readme_is_read_to_the_end() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


@pytest.mark.parametrize("name", GUIDE)
def test_a_page_of_the_guide_begins_with_what_one_can_do_after_it_and_readme_names_it(name: str) -> None:
    text = (ROOT / "docs" / "guide" / f"{name}.md").read_text(encoding="utf-8")
    assert text.split("\n\n")[1].startswith("After this page you ")
    assert f"(docs/guide/{name}.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_no_link_or_picture_leads_nowhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [link for link in LINK.findall(text) if not link.startswith("http")]
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_what_a_page_tells_to_run_or_to_read_is_there(path: Path) -> None:
    """Targets of make, modules, and files of this project that stand in code."""
    text = path.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", text, re.MULTILINE)) <= {
        pair for target in targets for pair in ((target, ""), ("", target))
    }
    for module in re.findall(r"python -m ((?:docs|tools|benchmarks|stages)[\w.]*)", text):
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file(), module
    for name in re.findall(r"`((?:frostline|stages|tools|studies|docs|benchmarks)/[\w/.]+)`", text):
        assert (ROOT / name).exists(), name


def test_the_pipelines_picture_has_every_stage_and_what_it_follows() -> None:
    drawn = draw_pipeline(ROOT).splitlines()
    stages = read_yaml(ROOT / "dvc.yaml")["stages"]
    assert drawn[0] == "flowchart LR"
    assert {name for line in drawn[1:] for name in line.split(" --> ") for name in [name.strip()]} == set(stages)
    assert "    fetch --> prepare" in drawn
    assert "    train --> evaluate" in drawn


def test_readme_names_every_room() -> None:
    rooms = {path.parent.name for path in (ROOT / "frostline").glob("*/__init__.py")}
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^- \[`frostline/(\w+)`\]", text, re.MULTILINE)) == rooms


def test_a_page_says_where_it_is_made() -> None:
    page = render_page(ROOT, Path("guide/lessons.md"), Facts(ROOT))
    assert page.startswith(
        "<!-- Made by `make readme` from docs/templates/guide/lessons.md: change that. -->\n# Lessons"
    )
