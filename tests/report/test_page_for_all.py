"""Nothing of the page is cut, nothing overlaps, and who does not see it well is told all."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from frostline.constants import COSTS
from frostline.files import read_csv, read_json
from tests.browser import open_page
from tests.report.pages import choose_cost, shown_costs
from tests.reports import VARIANTS

PAPER = 718
"""Width of A4 less margins of 1 cm, in CSS pixels."""


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


@pytest.mark.long
@pytest.mark.parametrize("width", [360, 768, 1400])
@pytest.mark.parametrize("name", VARIANTS)
def test_nothing_overflows_is_cut_or_lies_on_anything_else(
    browser: Browser, reports: dict[str, Path], name: str, width: int
) -> None:
    with open_page(browser, reports[name], width) as page:
        for cost in COSTS:
            choose_cost(page, cost)
            assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
            assert page.evaluate(FAULTS) == [], cost


@pytest.mark.parametrize("name", ["usual", "two_backbones", "twelve_plans", "long_names"])
def test_paper_shows_the_chosen_cost_and_no_controls_and_cuts_no_table(
    browser: Browser, reports: dict[str, Path], name: str, tmp_path: Path
) -> None:
    with open_page(browser, reports[name], PAPER) as page:
        choose_cost(page, "train_seconds")
        page.emulate_media(media="print")
        assert page.locator("fieldset:visible").count() == 0
        assert shown_costs(page) == ["train_seconds"]
        assert page.locator(".narrow:visible").count() == 0
        assert page.locator(".advice").is_visible()
        assert page.evaluate(FAULTS) == []
        assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
        printed = page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert printed.startswith(b"%PDF")
    assert len(re.findall(rb"/Type /Page\b", printed)) >= 2


def test_every_picture_has_a_text_alternative_with_its_numbers(page: Page, reports: dict[str, Path]) -> None:
    told: list[Any] = page.evaluate(
        "[...document.querySelectorAll('img, svg')].map(each => each.alt || each.getAttribute('aria-label'))"
    )
    assert len(told) == 2 * 8 + 2 + 4
    assert all(told)
    curves, confusion, _, _, evidence, moved = told[16:]
    history = read_csv(reports["usual"].parent / "history.csv")
    least = history[(history.plan == "head") & history.chosen].groupby("replicate").val_loss.min()
    assert f"head {least.min():.3f} to {least.max():.3f} after " in curves
    counts = read_csv(reports["usual"].parent / "confusion.csv").query("plan == 'head' and actual == 'defective'")
    share = counts[counts.predicted == "functional"].images.sum() / counts.images.sum()
    assert f"{100 * share:.0f} % of defective are taken for functional" in confusion
    assert "cell0.png: truly functional, taken for defective (0.990), evidence strongest in the upper left" in evidence
    assert "stage3 0 exactly, frozen; stage4 0.0125, some of it learned; head 0.8" in moved


def test_every_table_has_a_caption_and_headers_with_their_scope(page: Page) -> None:
    tables = page.locator("table")
    assert tables.count() == 8
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


@pytest.mark.parametrize("name", VARIANTS)
def test_sentences_and_names_stand_as_they_are_written(browser: Browser, reports: dict[str, Path], name: str) -> None:
    folder = reports[name].parent
    said = [*read_json(folder / "advice.json")["sentences"], *read_json(folder / "study.json")["notes"]]
    said += [*VARIANTS[name].classes, VARIANTS[name].origin]
    with open_page(browser, reports[name]) as page:
        text = page.locator("body").inner_text()
        assert page.locator("script, link, iframe, img:not([src^='data:image/svg+xml'])").count() == 0
    for sentence in said:
        assert " ".join(sentence.split()) in " ".join(text.split())
