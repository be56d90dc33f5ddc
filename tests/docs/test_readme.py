"""README's figures are those that the studies wrote."""

import re
import subprocess

import pytest

from tests.project import ROOT
from tools.readme import blocks, fill

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_holds_what_the_studies_wrote() -> None:
    assert fill(README, blocks(ROOT)) == README, "run `make readme`"


def test_a_readme_without_a_place_for_a_table_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"README.md must hold <!-- study --> and <!-- /study -->. Got neither instead."
    ):
        fill("no place", {"study": "table"})


def test_readme_shows_the_house_as_it_is() -> None:
    """The tree has one line for every module, and names nothing that is not there."""
    tree = README.split("## The house")[1].split("```")[1]
    named = {line.split()[0] for line in tree.splitlines() if re.match(r" {2}\S", line)}
    there = {path.name for folder in ("stages", "tools") for path in (ROOT / folder).glob("[a-z]*.*")}
    assert there <= named
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    parts = {part for path in listed for part in path.split("/")}
    assert {name.rstrip("/") for name in named} <= parts
