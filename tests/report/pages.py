"""The reports of made-up studies, and a browser to open them in."""

from playwright.sync_api import Page

from frostline.constants import COSTS


def shown_costs(page: Page) -> list[str]:
    """Return the costs whose pictures are seen."""
    return [cost for cost in COSTS if page.locator(f".by-{cost} svg:visible").count()]
