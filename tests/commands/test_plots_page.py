"""`dvc plots diff` of two studies: one scatter that tells them apart, drawn without a network."""

import json
import re
from pathlib import Path

import pytest
import vl_convert

from frostline.laying.plots_page import VEGA_LITE
from tests.browser import open_browser, open_page
from tests.project import commit, copy_project, run
from tests.reports import Study, write_study

OLDER_TEMPLATES = "The compiled spec uses Vega v5, but current version is"
"""Vega-Lite 5, for which dvc's own templates are written, says so of the newer Vega that the package brings."""


@pytest.fixture(scope="module")
def two_studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project whose last two commits hold the tables of two studies."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    for message, study in (("one", Study()), ("other", Study(shift=-0.03, advised="stage4"))):
        write_study(folder / "reports", study)
        commit(folder, message)
    run(folder, "python", "-m", "frostline.laying.plots_page", "--out", ".dvc/plots/page.html")
    return folder


def test_both_studies_stand_in_one_scatter_each_with_its_interval_shape_and_name(two_studies: Path) -> None:
    told = json.loads(run(two_studies, "dvc", "plots", "diff", "HEAD~1", "HEAD", "--json").stdout)["data"]
    (scatter,) = told["tradeoff"]
    assert scatter["revisions"] == ["HEAD~1", "HEAD"]
    svg = vl_convert.vegalite_to_svg(scatter["content"], VEGA_LITE)
    texts = [text.replace("\N{MIDDLE DOT}", "of") for text in re.findall(r"<text[^>]*>([^<]+)</text>", svg)]
    for label in ("head (advised) of HEAD~1", "stage4 (advised) of HEAD", "scratch of HEAD~1", "scratch of HEAD"):
        assert label in texts
    for label in (
        "HEAD~1",
        "HEAD",
        "training computation (FLOP)",
        "test accuracy",
        "point: all tested images; line: 95 % interval",
    ):
        assert label in texts
    marks = re.findall(
        r'role="graphics-symbol" aria-roledescription="point"[^>]* d="([^"]+)"',
        svg,
    )
    assert len(marks) == 10
    assert len({re.sub(r"[\d.,-]+", "", path) for path in marks}) == 2


def test_the_page_of_two_studies_is_drawn_in_a_browser_without_a_network(two_studies: Path) -> None:
    run(two_studies, "dvc", "plots", "diff", "HEAD~1", "HEAD", "--out", "dvc_plots")
    page_file = two_studies / "dvc_plots" / "index.html"
    with open_browser() as browser, open_page(browser, page_file, known=OLDER_TEMPLATES) as page:
        pictures = page.locator("svg.marks")
        pictures.nth(2).wait_for()
        assert pictures.count() == 3
        scatter = pictures.first.locator("text").all_text_contents()
        assert "all \N{MIDDLE DOT} HEAD~1" in scatter
        assert "all \N{MIDDLE DOT} HEAD" in scatter
