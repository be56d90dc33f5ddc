"""What is seen of the figures of a report."""

from playwright.sync_api import Page

from frostline.constants import COSTS

KINDS = ("difference", "accuracy")
"""The figures of scores over a cost, in the order of the page."""


def choose_cost(page: Page, cost: str) -> None:
    """Choose the cost in every figure."""
    for switch in page.locator(f"input[id$='-by-{cost}']").all():
        switch.check()


def shown_costs(page: Page, kind: str = KINDS[0]) -> list[str]:
    """Return the costs whose pictures are seen in the figure."""
    figure = page.locator(f"figure:has(#{kind}-by-{COSTS[0]})")
    return [cost for cost in COSTS if figure.locator(f".by-{cost} svg:visible").count()]
