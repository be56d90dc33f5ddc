"""The figure of the page can be switched, pointed at and reached by Tab."""

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from frostline.constants import COSTS
from frostline.report.embedding import describe_point
from frostline.report.tradeoff import fade, list_points, span_costs
from frostline.units import COST_LABELS
from tests.browser import open_page
from tests.report.pages import shown_costs
from tests.reports import VARIANTS, make_table


@pytest.mark.parametrize("name", ["usual", "cost_is_memory"])
def test_the_cost_of_the_advice_is_shown_first(browser: Browser, reports: dict[str, Path], name: str) -> None:
    with open_page(browser, reports[name]) as page:
        assert shown_costs(page) == [VARIANTS[name].cost]


def test_the_switch_works_by_mouse(page: Page) -> None:
    for cost in (*COSTS, COSTS[0]):
        page.get_by_label(COST_LABELS[cost], exact=True).click()
        assert shown_costs(page) == [cost]


def test_the_switch_works_by_keyboard(page: Page) -> None:
    page.keyboard.press("Tab")
    seen = [shown_costs(page)]
    for _ in range(4):
        page.keyboard.press("ArrowRight")
        seen.append(shown_costs(page))
    first = COSTS.index("train_flops")
    assert seen == [[COSTS[(first + step) % 4]] for step in range(5)]


def test_where_the_data_cannot_tell_no_plan_is_called_advised(browser: Browser, reports: dict[str, Path]) -> None:
    with open_page(browser, reports["undecided"], 1400) as page:
        table = page.get_by_role("table").first.inner_text()
        marks = " ".join(mark.get_attribute("aria-label") or "" for mark in page.locator(".point:visible").all())
    for told in (table, marks):
        assert "best on validation" in told
        assert "advised" not in told


@pytest.mark.parametrize("width", [360, 1400])
@pytest.mark.parametrize("cost", COSTS)
def test_each_point_tells_its_numbers_on_hover_and_on_focus(
    browser: Browser, reports: dict[str, Path], cost: str, width: int
) -> None:
    study = VARIANTS["usual"]
    points = list_points(
        make_table("plans", study), make_table("costs", study), make_table("runs", study), cost, "advised"
    )
    with open_page(browser, reports["usual"], width) as page:
        page.get_by_label(COST_LABELS[cost], exact=True).check()
        marks = page.locator(".point:visible")
        assert marks.count() == len(points)
        told = {mark.get_attribute("aria-label") for mark in marks.all()}
        assert len(told) == len(points)
        for mark in marks.all():
            name = (mark.get_attribute("aria-label") or "").split(":")[0].partition(", ")[0]
            point = next(point for point in points if point.name == name)
            for reach in (mark.hover, mark.focus):
                reach()
                tips = page.locator(".tip:visible").all_text_contents()
                assert len(tips) == 1
                for number in (f"{point.accuracy:.3f}", f"{point.low:.3f}", f"{point.high:.3f}", COST_LABELS[cost]):
                    assert number in tips[0]
                assert tips[0].startswith(name)
                assert f"front: {100 * point.front:.0f} %" in tips[0]
                assert ("advised" in tips[0]) == bool(point.mark)
                page.mouse.move(1, 1)
            mark.blur()
            assert page.locator(".tip:visible").count() == 0


def test_a_focused_point_wears_a_ring(page: Page) -> None:
    mark = page.locator(".point:visible").first
    ring = mark.locator(".focus use")
    assert ring.evaluate("each => getComputedStyle(each).visibility") == "hidden"
    mark.focus()
    assert ring.evaluate("each => getComputedStyle(each).visibility") == "visible"


def test_tab_goes_from_the_switch_along_the_costs_to_the_tables(page: Page) -> None:
    order = []
    for _ in range(30):
        page.keyboard.press("Tab")
        order.append(
            page.evaluate("""() => {
            const each = document.activeElement;
            if (each === document.body) return '';
            return each.id || each.getAttribute('aria-label') || each.getAttribute('aria-labelledby');
        }""")
        )
        if not order[-1]:
            break
    study = VARIANTS["usual"]
    points = list_points(
        make_table("plans", study), make_table("costs", study), make_table("runs", study), "train_flops", "advised"
    )
    told = [describe_point(point, "train_flops") for point in sorted(points, key=lambda point: point.cost)]
    assert order[0] == "by-train_flops"
    assert order[1 : 1 + len(told)] == told
    assert order[1 + len(told)] == "plans-caption"
    assert len(span_costs(points).ticks) >= 3


def test_a_likelier_front_is_a_fuller_mark_and_a_ring_and_a_printed_number(page: Page) -> None:
    study = VARIANTS["usual"]
    points = list_points(*(make_table(name, study) for name in ("plans", "costs", "runs")), "train_flops", "advised")
    marks = page.locator(".point:visible")
    fills = [mark.evaluate("each => getComputedStyle(each).fill") for mark in marks.locator(".mark use").all()]
    parts = [[round(255 * part) for part in fade(point.colour, point.front)] for point in points]
    found = [[int(part) for part in re.findall(r"\d+", fill)] for fill in fills]
    assert all(any(np.allclose(wanted, given, atol=1.5) for given in found) for wanted in parts)
    assert marks.locator(".ring").count() == sum(point.front >= 0.5 for point in points)
    for point in points:
        assert page.locator("svg:visible text").filter(has_text=f"on front {100 * point.front:.0f} %").count() >= 1
