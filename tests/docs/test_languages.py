"""The pages that explain say the same in both languages, and what the studies found."""

import re
from pathlib import Path

import pandas as pd
import pytest

from docs.build import render_page, write_numbers
from docs.facts import Facts
from docs.rows import compare_losses
from frostline.files import read_csv, read_json, write_csv, write_json
from tests.project import ROOT
from tests.reports import VARIANTS, Study, write_study

LANGUAGES = ("en", "es")
TEMPLATES = ROOT / "docs" / "templates"
DOCS = {language: ROOT / "docs" / language for language in LANGUAGES}
LINK = re.compile(r"\]\(([^)#]+)\)")
CODE = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)|<!--.*?-->|{[%{].*?[}%]}", re.DOTALL)
NUMBER = {"en": r"\d[\d,]*(?:\.\d+)?", "es": r"\d+(?:\.\d{3})*(?:,\d+)?"}
NETWORKS = ("plain20", "plain56", "residual20", "residual56")
COMMANDS = {
    "freezing": "make study", "batchnorm": "python -m docs.drift.measure",
    "feature_extraction": "make record STUDY=beans_lite0 INTO=beans FOLDER=<the folder of leaves>",
    "residuals": "make record STUDY=depth", "mlp_or_cnn": "make record STUDY=digits",
    "weights_and_activations": "make study", "how_many_images": "make record STUDY=size",
    "transfer": "make record STUDY=cifar10 FOLDER=<the folder of images>", "adapters": "make record STUDY=adapt",
}  # fmt: skip
"""The pages in the order in which they are best read, and what measures the figure of each."""


def numbers(text: str, language: str) -> list[str]:
    """Return the numbers outside code and addresses, as 1234.5, sorted: languages order their words as they like."""
    found = re.findall(NUMBER[language], CODE.sub("", text))
    if language == "en":
        return sorted(number.rstrip(",").replace(",", "") for number in found)
    return sorted(number.replace(".", "").replace(",", ".") for number in found)


def shown(name: str, root: Path, language: str = "en") -> str:
    """Return the page as it is rendered from what is recorded below `root`, by the project's templates."""
    return render_page(ROOT, Path(language, f"{name}.md"), Facts(root))


def drift_row(seed: int) -> dict[str, object]:
    crossed = {"held_head_loaded": 0.82, "held_head_drifted": 0.41, "drifting_head_loaded": 0.66}
    return {
        "fold": seed, "train_images": 1_560, "test_images": 644, "frozen_tensors": 294, "held_moved_tensors": 0,
        "drifting_moved_tensors": 147, "relative_norm_of_means": 0.08, "relative_norm_of_variances": 0.35,
        **{f"{name}_statistics": value for name, value in crossed.items()}, "drifting_head_drifted_statistics": 0.78,
        "curves": {"held": [0.8], "drifting": [0.7]},
    }  # fmt: skip


def look() -> dict[str, object]:
    return {
        "backbone": "efficientnet_lite0", "plan": "all", "replicate": 0, "mapped": "a.png",
        "moved": [
            {"part": "stem", "parameters": 13_968, "trainable": 13_968, "relative_norm": 0.0091},
            {"part": "stage1", "parameters": 0, "trainable": 0, "relative_norm": None},
            {"part": "head", "parameters": 2_562, "trainable": 2_562, "relative_norm": 0.46},
        ],
        "maps": {"stem": {"places": [36, 36], "difference": 0.364}, "stage1": {"places": [18, 18], "difference": 0.0}},
        "pictures": {"filters": {"told": ""}, "maps": {"told": ""}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which every study was recorded, with made-up figures."""
    root = tmp_path_factory.mktemp("recorded")
    write_study(root / "reports")
    write_study(root / "docs" / "beans", VARIANTS["leaning"])
    write_study(root / "docs" / "beans_folds")
    write_study(root / "docs" / "cifar10_lite0")
    for name in ("cifar10", "cifar10_batchnorm"):
        write_study(root / "docs" / name, VARIANTS["networks"])
    write_study(root / "docs" / "digits", VARIANTS["networks"])
    adapters = ("norms", "lora4_stage4", "lora16_stage4", "lora16_all", "stage4", "all")
    write_study(root / "docs" / "adapt", Study(plans=adapters, advised="stage4", recorded="docs/adapt"))
    write_study(root / "docs" / "size", VARIANTS["sizes"])
    of_depth = Study(
        plans=("scratch",), backbones=NETWORKS, advised="scratch", reference="scratch", recorded="docs/depth"
    )
    depth = write_study(root / "docs" / "depth", of_depth)
    history = read_csv(depth / "history.csv")
    history["train_loss"] = 0.6 / history.epoch + 0.25 * (history.backbone == "plain56")
    write_csv(depth / "history.csv", history)
    drift = {"estimate": -0.04, "low": -0.07, "high": -0.01}
    measured = {"folds": 2, "epochs": 1, "batch": 32, "image_px": 72, "of_folds": [drift_row(0), drift_row(1)]}
    apart = dict.fromkeys(("drifting", "drifting_head_alone", "held_head_moved"), drift)
    write_json(root / "docs" / "drift" / "drift.json", measured | {"differences": apart})
    write_json(root / "reports" / "look" / "look.json", look())
    return root


def test_every_page_is_there_in_both_languages_and_in_both_lists() -> None:
    names = {f"{name}.md" for name in COMMANDS}
    for folder in DOCS.values():
        assert {path.name for path in folder.iterdir()} == names | {"README.md"}
        listed = [link for link in LINK.findall((folder / "README.md").read_text()) if "/" not in link]
        assert listed == [f"{name}.md" for name in COMMANDS]


@pytest.mark.parametrize("path", sorted(path for folder in DOCS.values() for path in folder.glob("*.md")), ids=str)
def test_no_link_or_picture_of_a_page_leads_nowhere(path: Path) -> None:
    links = [link for link in LINK.findall(path.read_text(encoding="utf-8")) if not link.startswith("http")]
    assert all((path.parent / link).is_file() for link in links)
    other = "es" if path.parent.name == "en" else "en"
    assert links[0] == f"../{other}/{path.name}"


@pytest.mark.parametrize("name", [*COMMANDS, "README"])
def test_a_page_says_the_same_numbers_links_and_code_in_both_languages(name: str) -> None:
    texts = {language: (folder / f"{name}.md").read_text(encoding="utf-8") for language, folder in DOCS.items()}
    assert numbers(texts["en"], "en") == numbers(texts["es"], "es")
    english, spanish = ([link for link in LINK.findall(text) if "README" not in link][1:] for text in texts.values())
    assert sorted(english) == sorted(spanish)
    codes = [[line.partition("#")[0] for line in re.findall(r"(?ms)^```.*?^```", text)] for text in texts.values()]
    assert codes[0] == codes[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_no_result_is_typed_into_the_prose(name: str) -> None:
    """Results have a decimal point or are per cent. Years, layers of a paper and the like are typed."""
    for folder in DOCS.values():
        prose = CODE.sub("", (TEMPLATES / folder.name / f"{name}.md").read_text(encoding="utf-8"))
        assert re.findall(r"\d+[.,]\d+|(?<!95 )\b(?!95 %)\d+ ?%", prose) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_recorded_page_has_a_picture_with_its_text_and_the_same_numbers_in_both_languages(
    recorded: Path, name: str
) -> None:
    pages = {language: shown(name, recorded, language) for language in LANGUAGES}
    told = {language: numbers(page, language) for language, page in pages.items()}
    assert told["en"] == told["es"]
    assert len(told["en"]) > 5
    for page in pages.values():
        assert re.search(r"^!\[[^\]]{40,}\]\(\.\./\.\./(docs|reports)/", page, re.MULTILINE)
        assert "nan" not in re.findall(r"\w+", CODE.sub("", page))


@pytest.mark.parametrize("name", COMMANDS)
def test_what_was_not_recorded_is_said_to_be_so(tmp_path: Path, name: str) -> None:
    for language in LANGUAGES:
        page = shown(name, tmp_path, language)
        assert f"`{COMMANDS[name]}`" in page
        assert "![" not in page


@pytest.mark.parametrize(
    ("english", "spanish"),
    [
        ("0.817", "0,817"), ("1,020", "1020"), ("26,240.5", "26.240,5"), ("7", "7"), ("1,552", "1552"),
        ("1.0", "1,0"), ("\N{MINUS SIGN}3.7 (95 %)", "\N{MINUS SIGN}3,7 (95 %)"), ("2,670,240 k", "2.670.240 k"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_people_who_read_the_language_do(english: str, spanish: str) -> None:
    assert write_numbers(english, "es") == spanish
    assert write_numbers(english, "en") == english


def test_words_of_a_difference_follow_where_its_interval_lies(recorded: Path) -> None:
    path = recorded / "docs" / "beans" / "pairs.csv"
    pairs = read_csv(path)
    told = []
    for low, high in ((-0.2, -0.1), (0.1, 0.2), (-0.1, 0.2)):
        pairs["low"], pairs["high"] = low, high
        write_csv(path, pairs)
        lines = [line for line in shown("feature_extraction", recorded).splitlines() if line.startswith("- `head`")]
        told.append(lines[0].rpartition("; ")[2])
    assert sorted(told) == sorted([
        "the interval lies below 0.", "the interval lies above 0.",
        "the interval holds 0, so that it may be luck.",
    ])  # fmt: skip


def test_the_page_about_residuals_says_what_the_losses_say(recorded: Path) -> None:
    """Made up: plain56 ends 0.25 above the others, which end alike."""
    last = 0.6 / read_csv(recorded / "docs" / "depth" / "history.csv").epoch.max()
    page = shown("residuals", recorded)
    assert "`plain56` ends with a loss higher than that of `plain20`: a difference of 0.2500 nats in the mean" in page
    assert "`residual56` ends with the same loss as `residual20`." in page
    assert f"| `plain20` | 270 k | {last:.4f} ({last:.4f} to {last:.4f}) |" in page


def test_of_two_losses_the_higher_mean_is_told_and_in_how_many_replicates_it_is_the_higher() -> None:
    turned = pd.DataFrame({"plain20": [0.3, 0.1], "plain56": [0.1, 0.2]})
    assert compare_losses(turned, "plain20", "plain56") == {
        "shallow": "plain20", "deep": "plain56", "difference": pytest.approx(-0.05), "replicates": 2, "count": 1,
        "same": False,
    }  # fmt: skip


def test_the_page_about_sizes_tells_where_rule_and_advice_part(recorded: Path) -> None:
    rows = [line.split(" | ") for line in shown("how_many_images", recorded).splitlines() if line.startswith("| ")]
    sizes = read_json(recorded / "docs/size/study.json")["sizes"]
    advised = [f"`{size['plan'].rpartition('_')[0]}`, {100 * size['probability']:.0f} %" for size in sizes]
    assert [row[-3] for row in rows[2:]] == advised
    assert [row[-2] for row in rows[2:]] == [
        "only the head" if size["rule"] == "head" else "the last parts" for size in sizes
    ]
    for row in rows[2:]:
        assert (row[-1] == "the same |") == (row[-3].startswith("`head`") and row[-2] == "only the head")


def test_the_page_about_shifts_names_who_stands_firmest(recorded: Path) -> None:
    page = shown("mlp_or_cnn", recorded)
    shifted = read_csv(recorded / "docs/digits/shifted.csv").set_index(["shift_px", "backbone"]).accuracy.unstack()
    lost = 100 * (shifted.loc[shifted.index.max()] - shifted.loc[0])
    assert f"`{lost.idxmax()}` stands firmest, `{lost.idxmin()}` suffers most." in page
    assert f"`{lost.idxmin()}` changes by \N{MINUS SIGN}{-lost.min():.1f} points" in page


def test_the_page_about_activations_tells_how_far_maps_differ(recorded: Path) -> None:
    page = shown("weights_and_activations", recorded, "es")
    assert "| `stem` | 13.968 | 0,91 % | 36 x 36 | 36 % |" in page
    assert "| `stage1` | 0 |  | 18 x 18 | 0 % |" in page


def test_the_page_about_sizes_names_the_turning_point(recorded: Path) -> None:
    sizes = read_json(recorded / "docs/size/study.json")["sizes"]
    depths = [size["plan"].rpartition("_")[0] for size in sizes]
    told = re.findall(
        r"^- From ([\d,]+) images on `(\w+)` is advised", shown("how_many_images", recorded), re.MULTILINE
    )
    turns = [place for place in range(1, len(sizes)) if depths[place] != depths[place - 1]]
    assert told == [(f"{sizes[place]['train_images']:,}", depths[place]) for place in turns]
