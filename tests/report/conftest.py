"""What tests of this room are given."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from stages import plot
from tests.browser import open_browser, open_page
from tests.reports import VARIANTS, write_study


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the report of each made-up study."""
    written = {}
    for name, study in VARIANTS.items():
        folder = write_study(tmp_path_factory.mktemp(name), study)
        written[name] = folder / "report.html"
        plot.main(
            reports=folder,
            look=folder / "look",
            source=folder / "source.json",
            figures=folder / "figures",
            report=folder / "report.html",
        )
    return written


@pytest.fixture
def page(browser: Browser, reports: dict[str, Path]) -> Iterator[Page]:
    with open_page(browser, reports["usual"]) as page:
        yield page
