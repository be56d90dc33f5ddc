"""The report in a real browser: it needs no network, tells all that it shows, and fits a phone, a screen and paper."""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from frostline.constants import COSTS
from frostline.report.embedding import describe_point
from frostline.report.page import describe_saving
from frostline.report.tradeoff import list_points, span_costs
from frostline.units import COST_LABELS
from stages import plot
from tests.browser import open_browser, open_page
from tests.reports import VARIANTS, advice_of, costs_of, plans_of, runs_of, write_study

PAPER = 718
"""Width of A4 less margins of 1 cm, in CSS pixels."""

HEADINGS = [
    "Advice", "Accuracy against cost", "The plans", "How sure", "What it cost", "Learning curves",
    "What head confuses", "Looking inside", "What was run",
]  # fmt: skip


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


def shown_costs(page: Page) -> list[str]:
    """Return the costs whose pictures are seen."""
    return [cost for cost in COSTS if page.locator(f".by-{cost} svg:visible").count()]


# --- What it says, in which order -----------------------------------------------------------------------------------


def test_the_page_goes_from_the_question_to_what_was_run(page: Page) -> None:
    assert page.locator("h1").count() == 1
    assert page.locator("h1").inner_text().startswith("How deep should this classifier be unfrozen")
    assert page.locator("h2").all_inner_texts() == HEADINGS
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(each => Number(each.tagName[1]))")
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


@pytest.mark.parametrize("name", VARIANTS)
def test_sentences_and_names_stand_as_they_are_written(browser: Browser, reports: dict[str, Path], name: str) -> None:
    folder = reports[name].parent
    said = [*json.loads((folder / "advice.json").read_text())["sentences"], *VARIANTS[name].notes]
    said += [*VARIANTS[name].classes, VARIANTS[name].origin]
    with open_page(browser, reports[name]) as page:
        text = page.locator("body").inner_text()
        assert page.locator("script, link, iframe, img:not([src^='data:image/svg+xml'])").count() == 0
    for sentence in said:
        assert " ".join(sentence.split()) in " ".join(text.split())


def test_every_number_of_a_pair_and_of_a_cost_is_told(page: Page) -> None:
    pairs = page.locator("table:has(#pairs-caption) tbody tr").all_inner_texts()
    assert len(pairs) == 10
    assert " ".join(pairs[0].split()) == "head stage4 +1.9 \N{MINUS SIGN}1.1 to +4.9 0.375 1.000 not told apart"
    assert " ".join(pairs[3].split()) == "head scratch +6.2 +3.2 to +9.2 < 0.001 0.004 head is better"
    head = page.locator("table:has(#time-caption) tbody tr").first
    assert " ".join(head.inner_text().split()) == ("head 2.56 k 2.1 TFLOP 52.5 MFLOP 2.4 GFLOP 10.6 s 7.3 s 31 0.342 s")
    assert head.locator("[title]").first.get_attribute("title") == "2,562"


def test_what_was_run_names_data_hashes_versions_processor_and_precision(page: Page) -> None:
    text = page.locator("dl").inner_text()
    for told in ("2,624", "1.0.0.post1", "CC-BY-NC-SA", "dedf4f0c", "3e3e3e", "torch 2.14.1", "AMD EPYC", "bfloat16"):
        assert told in text


def test_what_a_race_stopped_is_told_with_the_reason_and_only_after_a_race(
    browser: Browser, reports: dict[str, Path]
) -> None:
    with open_page(browser, reports["race"], 1400) as page:
        told = page.get_by_role("table", name="What could not catch up").get_by_role("row").all_inner_texts()
        assert [row.split("\t")[:4] for row in told[1:]] == [
            ["head", "0.0003", "1", "2"],
            ["stage2", "the plan", "2", "12"],
        ]
        assert "validation loss 0.412" in told[1]
    with open_page(browser, reports["usual"], 1400) as page:
        assert page.get_by_text("stopped early").count() == 0


def test_what_one_view_against_many_costs_and_saves_is_told_where_two_plans_differ_in_that_alone(
    browser: Browser, reports: dict[str, Path]
) -> None:
    told = "1 view instead of 4 (head_one_view against head): accuracy -0.3 points (95 % interval -1.2 to +0.6). "
    for name, times in (("one_view", 1), ("usual", 0)):
        with open_page(browser, reports[name]) as page:
            text = page.locator("body").inner_text()
            assert text.count(f"{told}It saves 6.5 s of 10.6 s of training.") == times
            assert text.count("view instead of") == times


def test_a_plan_that_took_longer_saves_no_time() -> None:
    assert describe_saving(8.0, 7.6) == "It saves no time: 8 s of training instead of 7.6 s."


@pytest.mark.parametrize(("name", "kind"), [("usual", "advice"), ("undecided", "advice open")])
def test_an_advice_that_is_not_shown_looks_otherwise(
    browser: Browser, reports: dict[str, Path], name: str, kind: str
) -> None:
    with open_page(browser, reports[name]) as page:
        told = page.locator(".advice")
        assert told.get_attribute("class") == kind
        assert told.locator("p").all_inner_texts() == advice_of(VARIANTS[name])["sentences"]


# --- The figure -----------------------------------------------------------------------------------------------------


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
    points = list_points(plans_of(study), costs_of(study), runs_of(study), cost, "advised")
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
    points = list_points(plans_of(study), costs_of(study), runs_of(study), "train_flops", "advised")
    told = [describe_point(point, "train_flops") for point in sorted(points, key=lambda point: point.cost)]
    assert order[0] == "by-train_flops"
    assert order[1 : 1 + len(told)] == told
    assert order[1 + len(told)] == "plans-caption"
    assert len(span_costs(points).ticks) >= 3


def test_a_likelier_front_is_a_fuller_mark_and_a_ring_and_a_printed_number(page: Page) -> None:
    marks = page.locator(".point:visible")
    fills = [mark.evaluate("each => getComputedStyle(each).fill") for mark in marks.locator(".mark use").all()]
    assert len(set(fills)) == len(fills)
    assert "rgb(8, 118, 180)" in fills  # #0072B2 to 97 %
    assert marks.locator(".ring").count() == 1
    assert page.locator("svg:visible text").filter(has_text="on front 97 %").count() == 1


# --- Nothing is cut, nothing overlaps -------------------------------------------------------------------------------

FAULTS = """() => {
    const faults = [];
    const box = each => each.getBoundingClientRect();
    const within = (a, b) => a.left >= b.left - 1 && a.right <= b.right + 1
        && a.top >= b.top - 1 && a.bottom <= b.bottom + 1;
    const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1.5
        && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1.5;
    for (const svg of document.querySelectorAll('svg.tradeoff')) {
        if (!box(svg).width) continue;
        const texts = [...svg.querySelectorAll('text')];
        const marks = [...svg.querySelectorAll('.point .mark, .point .interval')];
        texts.forEach((text, index) => {
            if (!within(box(text), box(svg))) faults.push('outside: ' + text.textContent);
            for (const other of texts.slice(index + 1))
                if (meet(box(text), box(other))) faults.push('meet: ' + text.textContent + ', ' + other.textContent);
            for (const mark of marks)
                if (meet(box(text), box(mark))) faults.push('over a mark: ' + text.textContent);
        });
        for (const tip of svg.parentElement.querySelectorAll('.tip'))
            if (!within(box(tip), box(svg))) faults.push('tip outside: ' + tip.textContent);
        const places = [...svg.querySelectorAll('.point .mark')].map(box);
        places.forEach((place, index) => places.slice(index + 1).forEach(other => {
            if (meet(place, other)) faults.push('two marks on one place');
        }));
    }
    return faults;
}"""


@pytest.mark.parametrize("width", [360, 768, 1400])
@pytest.mark.parametrize("name", VARIANTS)
def test_nothing_overflows_is_cut_or_lies_on_anything_else(
    browser: Browser, reports: dict[str, Path], name: str, width: int
) -> None:
    with open_page(browser, reports[name], width) as page:
        for cost in COSTS:
            page.get_by_label(COST_LABELS[cost], exact=True).check()
            assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
            assert page.evaluate(FAULTS) == [], cost


@pytest.mark.parametrize("name", ["usual", "two_backbones", "twelve_plans", "long_names"])
def test_paper_shows_the_chosen_cost_and_no_controls_and_cuts_no_table(
    browser: Browser, reports: dict[str, Path], name: str, tmp_path: Path
) -> None:
    with open_page(browser, reports[name], PAPER) as page:
        page.get_by_label(COST_LABELS["train_seconds"], exact=True).check()
        page.emulate_media(media="print")
        assert page.locator("fieldset").is_hidden()
        assert shown_costs(page) == ["train_seconds"]
        assert page.locator(".narrow:visible").count() == 0
        assert page.locator(".advice").is_visible()
        assert page.evaluate(FAULTS) == []
        assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
        printed = page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert printed.startswith(b"%PDF")
    assert len(re.findall(rb"/Type /Page\b", printed)) >= 2


# --- For those who do not see it, or not well -----------------------------------------------------------------------


def test_every_picture_has_a_text_alternative_with_its_numbers(page: Page) -> None:
    told: list[Any] = page.evaluate(
        "[...document.querySelectorAll('img, svg')].map(each => each.alt || each.getAttribute('aria-label'))"
    )
    assert len(told) == 8 + 2 + 4
    assert all(told)
    curves, confusion, _, _, evidence, moved = told[8:]
    assert "head 0.400 after 2 to 3 epochs" in curves
    assert "6 % of defective are taken for functional" in confusion
    assert "cell0.png: truly functional, taken for defective (0.990), evidence strongest in the upper left" in evidence
    assert "stage3 0 exactly, frozen; stage4 0.0125, some of it learned; head 0.8" in moved


def test_every_table_has_a_caption_and_headers_with_their_scope(page: Page) -> None:
    tables = page.locator("table")
    assert tables.count() == 7
    for table in tables.all():
        assert table.locator("caption").inner_text().strip()
        assert table.locator("th:not([scope])").count() == 0
        region = table.locator("xpath=..")
        assert region.get_attribute("role") == "region"
        assert region.get_attribute("tabindex") == "0"


def test_all_text_stands_out_from_what_is_behind_it(page: Page) -> None:
    """WCAG's contrast ratio, 4.5 or more."""
    worst = page.evaluate("""() => {
        const parts = colour => colour.match(/[\\d.]+/g).map(Number);
        const light = colour => parts(colour).slice(0, 3).map(each => each / 255)
            .map(each => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
            .reduce((sum, each, index) => sum + each * [0.2126, 0.7152, 0.0722][index], 0);
        const behind = each => {
            for (; each; each = each.parentElement) {
                const colour = getComputedStyle(each).backgroundColor;
                if ((parts(colour)[3] ?? 1) > 0) return colour;
            }
            return 'rgb(255, 255, 255)';
        };
        const ratios = [];
        for (const each of document.querySelectorAll('body *')) {
            if (![...each.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())) continue;
            const style = getComputedStyle(each);
            const [a, b] = [light(each.namespaceURI.endsWith('svg') ? style.fill : style.color), light(behind(each))];
            ratios.push((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
        }
        return Math.min(...ratios);
    }""")
    assert worst >= 4.5
