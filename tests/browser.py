"""A real Chromium, for tests of pages: the system's own, headless and without a network."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Yield the browser. Where there is none the test is skipped and says so; CI fails instead."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        told = f"the PATH must hold a Chromium for tests of pages ({', '.join(NAMES)}): apt-get install chromium"
        pytest.fail(told) if os.environ.get("CI") else pytest.skip(told)
    with sync_playwright() as driver:
        # Chromium refuses its sandbox to root, and containers seldom have room in /dev/shm.
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@contextmanager
def open_page(
    browser: Browser, file: Path, width: int = 1400, height: int = 900, known: str | None = None
) -> Iterator[Page]:
    """Yield the page of the file; fail if it asks for anything else, or says on the console what does not begin so."""
    complaints: list[str] = []

    def refuse(route: Route) -> None:
        if route.request.url == file.as_uri():
            route.continue_()
        else:
            complaints.append(route.request.url)
            route.abort()

    def listen(message: ConsoleMessage) -> None:
        if known is None or not message.text.startswith(known):
            complaints.append(message.text)

    context = browser.new_context(offline=True, viewport={"width": width, "height": height})
    context.route("**/*", refuse)
    page = context.new_page()
    page.on("console", listen)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(file.as_uri())
    yield page
    context.close()
    assert not complaints, complaints
