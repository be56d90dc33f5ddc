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


class Reports(dict[str, Path]):
    """The report of each made-up study by its name, drawn when it is first asked for."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self.folders = folders

    def __missing__(self, name: str) -> Path:
        folder = write_study(self.folders.mktemp(name), VARIANTS[name])
        report = self[name] = folder / "report.html"
        source, look, figures = folder / "source.json", folder / "look", folder / "figures"
        model, told = folder / "model", folder / "model.json"
        plot.main(
            reports=folder, look=look, source=source, model=model, told=told, figures=figures, report=report
        )  # fmt: skip
        return report


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Reports:
    return Reports(tmp_path_factory)


@pytest.fixture
def page(browser: Browser, reports: dict[str, Path]) -> Iterator[Page]:
    with open_page(browser, reports["usual"]) as page:
        yield page
