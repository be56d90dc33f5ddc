"""The figures of the page can be switched, pointed at and reached by Tab."""

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from frostline.constants import COSTS
from frostline.report.embedding import describe_point
from frostline.report.points import View, list_views
from frostline.report.tradeoff import fade, span_costs
from tests.browser import open_page
from tests.report.pages import KINDS, shown_costs
from tests.reports import VARIANTS, make_comparison


def view(kind: str, cost: str = "train_flops", name: str = "usual") -> View:
    return next(each for each in list_views(make_comparison(VARIANTS[name]), cost) if each.kind == kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["usual", "cost_is_memory"])
def test_the_cost_of_the_advice_is_shown_first(
    browser: Browser, reports: dict[str, Path], name: str, kind: str
) -> None:
    with open_page(browser, reports[name]) as page:
        assert shown_costs(page, kind) == [VARIANTS[name].cost]


@pytest.mark.parametrize("kind", KINDS)
def test_the_switch_works_by_mouse_and_for_its_own_figure(page: Page, kind: str) -> None:
    other = next(each for each in KINDS if each != kind)
    for cost in (*COSTS, COSTS[0]):
        page.locator(f"#{kind}-by-{cost}").click()
        assert shown_costs(page, kind) == [cost]
        assert shown_costs(page, other) == ["train_flops"]


def test_the_switch_works_by_keyboard(page: Page) -> None:
    page.keyboard.press("Tab")
    seen = [shown_costs(page)]
    for _ in range(4):
        page.keyboard.press("ArrowRight")
        seen.append(shown_costs(page))
    first = COSTS.index("train_flops")
    assert seen == [[COSTS[(first + step) % 4]] for step in range(5)]


def test_one_plan_has_no_figure_of_differences(browser: Browser, reports: dict[str, Path]) -> None:
    with open_page(browser, reports["one_plan"]) as page:
        assert page.locator("fieldset").count() == 1
        assert shown_costs(page, "accuracy") == ["train_flops"]


@pytest.mark.parametrize("width", [360, 1400])
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_point_tells_its_numbers_on_hover_and_on_focus(
    browser: Browser, reports: dict[str, Path], kind: str, cost: str, width: int
) -> None:
    points = view(kind, cost).points
    with open_page(browser, reports["usual"], width) as page:
        figure = page.locator(f"figure:has(#{kind}-by-{cost})")
        page.locator(f"#{kind}-by-{cost}").check()
        marks = figure.locator(".point:visible")
        assert marks.count() == len(points)
        told = {mark.get_attribute("aria-label") for mark in marks.all()}
        assert told == {describe_point(point) for point in points}
        for mark in marks.all():
            point = next(point for point in points if mark.get_attribute("aria-label") == describe_point(point))
            for reach in (mark.hover, mark.focus):
                reach()
                tips = page.locator(".tip:visible").all_inner_texts()
                assert len(tips) == 1
                assert tips[0].split("\n") == [point.name, *point.lines, *([point.mark] if point.mark else [])]
                page.mouse.move(1, 1)
            mark.blur()
            assert page.locator(".tip:visible").count() == 0


def test_a_focused_point_wears_a_ring(page: Page) -> None:
    mark = page.locator(".point:visible").first
    ring = mark.locator(".focus use")
    assert ring.evaluate("each => getComputedStyle(each).visibility") == "hidden"
    mark.focus()
    assert ring.evaluate("each => getComputedStyle(each).visibility") == "visible"


def test_tab_goes_from_each_switch_along_the_costs_to_the_tables(page: Page) -> None:
    order = []
    for _ in range(40):
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
    wanted = []
    for kind in KINDS:
        points = sorted(view(kind).points, key=lambda point: point.cost)
        wanted += [f"{kind}-by-train_flops", *map(describe_point, points)]
        assert len(span_costs(points).ticks) >= 3
    assert order[: len(wanted) + 1] == [*wanted, "plans-caption"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_likelier_is_a_fuller_mark_and_a_ring_and_a_printed_number(page: Page, kind: str) -> None:
    points, figure = view(kind).points, page.locator(f"figure:has(#{kind}-by-train_flops)")
    marks = figure.locator(".point:visible")
    fills = [mark.evaluate("each => getComputedStyle(each).fill") for mark in marks.locator(".mark use").all()]
    parts = [[round(255 * part) for part in fade(point.colour, point.strength)] for point in points]
    found = [[int(part) for part in re.findall(r"\d+", fill)] for fill in fills]
    assert all(any(np.allclose(wanted, given, atol=1.5) for given in found) for wanted in parts)
    assert marks.locator(".ring").count() == sum(point.strength >= 0.5 for point in points)
    for point in points:
        assert figure.locator("svg:visible text").filter(has_text=point.told).count() >= 1
