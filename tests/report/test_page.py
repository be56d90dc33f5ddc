"""The report in a real browser: it needs no network, tells all that it shows, and fits a phone, a screen and paper."""

import itertools
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from frostline.files import read_csv, read_json
from frostline.report.page import describe_saving
from frostline.units import format_cost, format_number, typeset_points
from tests.browser import open_page
from tests.reports import VARIANTS, make_advice

HEADINGS = [
    "Advice", "What each plan gives up, and what it costs", "Accuracy against cost", "The plans", "How sure",
    "What it cost", "Learning curves", "What head confuses", "Looking inside", "The model",
    "What was run",
]  # fmt: skip


def test_the_page_goes_from_the_question_to_what_was_run(page: Page) -> None:
    assert page.locator("h1").count() == 1
    assert page.locator("h1").inner_text().startswith("How deep should this classifier be unfrozen")
    assert page.locator("h2").all_inner_texts() == HEADINGS
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(each => Number(each.tagName[1]))")
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_every_number_of_a_pair_and_of_a_cost_is_told(page: Page, reports: dict[str, Path]) -> None:
    rows = page.locator("table:has(#pairs-caption) tbody tr").all_inner_texts()
    pairs = read_csv(reports["usual"].parent / "pairs.csv")
    assert len(rows) == len(pairs) == 10
    for shown, pair in zip(rows, pairs.itertuples(), strict=True):
        difference, low, high = (typeset_points(share) for share in (pair.difference, pair.low, pair.high))
        better = {"plan": f"{pair.plan} is better", "other": f"{pair.other_plan} is better"}
        verdict = better.get(str(pair.better), "not told apart")
        holm = "< 0.001" if pair.p_holm < 0.001 else f"{pair.p_holm:.3f}"
        p_value = "< 0.001" if pair.p_value < 0.001 else f"{pair.p_value:.3f}"
        told = f"{pair.plan} {pair.other_plan} {difference} {low} to {high} {p_value} {holm} {verdict}"
        assert " ".join(shown.split()) == told
    assert {str(pair.better) for pair in pairs.itertuples()} == {"plan", "nan"}
    head = page.locator("table:has(#time-caption) tbody tr").first
    cost = read_csv(reports["usual"].parent / "costs.csv").iloc[0]
    told = [
        *("head", "2.56 k", format_cost(cost.train_flops, "train_flops")),
        *(format_number(cost[name], "FLOP") for name in ("train_flops_per_image", "train_flops_per_image_live")),
        *(format_number(cost[name], "s") for name in ("train_seconds", "prefix_seconds")),
        *(str(cost.epochs), format_number(cost.epoch_seconds, "s")),
    ]
    assert " ".join(head.inner_text().split()) == " ".join(told)
    assert head.locator("[title]").first.get_attribute("title") == "2,562"


def test_what_was_run_names_data_hashes_versions_processor_and_precision(page: Page, reports: dict[str, Path]) -> None:
    text = page.locator("dl").inner_text()
    study = read_json(reports["usual"].parent / "study.json")
    said = (study["prepared_sha256"]["images.npy"], study["processor"], study["precision"])
    for told in ("2,624", "1.0.0.post1", "CC-BY-NC-SA", "c84371e7", "torch 2.14.1", *said):
        assert told in text


def test_what_a_race_stopped_is_told_with_the_reason_and_only_after_a_race(
    browser: Browser, reports: dict[str, Path]
) -> None:
    with open_page(browser, reports["race"], 1400) as page:
        told = page.get_by_role("table", name="A rate that was worse").get_by_role("row").all_inner_texts()
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
            spent = read_csv(reports["one_view"].parent / "costs.csv").set_index("plan").train_seconds
            saved, all_ = (
                format_number(seconds, "s") for seconds in (spent["head"] - spent["head_one_view"], spent["head"])
            )
            assert text.count(f"{told}It saves {saved} of {all_} of training.") == times
            assert text.count("view instead of") == times


def test_a_plan_that_took_longer_saves_no_time() -> None:
    assert describe_saving(8.0, 7.6) == "It saves no time: 8 s of training instead of 7.6 s."


@pytest.mark.parametrize(("name", "kind"), [("usual", "advice"), ("leaning", "advice leaning")])
def test_an_advice_that_is_only_a_leaning_looks_otherwise(
    browser: Browser, reports: dict[str, Path], name: str, kind: str
) -> None:
    with open_page(browser, reports[name]) as page:
        told = page.locator(".advice")
        assert told.get_attribute("class") == kind
        assert told.locator("p").all_inner_texts() == make_advice(VARIANTS[name])["sentences"]


def test_each_class_has_recall_precision_and_f1_of_the_advised_plan(page: Page, reports: dict[str, Path]) -> None:
    table = page.locator("table", has=page.locator("#classes-caption"))
    counts = read_csv(reports["usual"].parent / "confusion.csv")
    mine = counts[counts.plan == VARIANTS["usual"].advised]
    rows = [row.inner_text().split("\t") for row in table.locator("tbody tr").all()]
    assert [name for name, *_ in rows] == list(mine.actual.unique())
    for name, images, *shares in rows:
        right = mine.images[(mine.actual == name) & (mine.predicted == name)].sum()
        recall = right / mine.images[mine.actual == name].sum()
        precision = right / mine.images[mine.predicted == name].sum()
        assert int(images.replace(",", "")) == mine.images[mine.actual == name].sum()
        assert shares == [f"{share:.3f}" for share in (recall, precision, 2 / (1 / precision + 1 / recall))]
