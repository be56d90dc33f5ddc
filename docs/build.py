"""Render the pages, README's among them, from the templates below docs/templates: `make readme`.

A template's path there is its page's path: `README.md` is the project's own, all others lie in docs. Figures come from
what studies recorded (`docs/facts.py`); a test fails where a page differs from what they found.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from babel.numbers import format_decimal
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from docs.facts import Facts
from frostline.files import open_whole_file, read_yaml
from frostline.units import format_cost, format_number, format_percent, typeset_points

TEMPLATES = Path("docs", "templates")
ONE_GROUP = ("es",)
"""Where four digits are written without a separator (minimumGroupingDigits in CLDR, which babel leaves out)."""
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
MADE = "<!-- Made by `make readme` from {}: change that. -->\n"


def render_pages(root: Path) -> dict[Path, str]:
    """Return what each page should hold, by its path below `root`."""
    facts = Facts(root)
    templates = root / TEMPLATES
    pages = {}
    for path in sorted(templates.rglob("*.md")):
        name = path.relative_to(templates)
        if not name.name.startswith("_"):
            page = name if name == Path("README.md") else "docs" / name
            pages[page] = render_page(root, name, facts)
    return pages


def render_page(root: Path, name: Path, facts: Facts) -> str:
    """Return the page of the template, in the language of its folder, or else in English."""
    locale = name.parts[0] if name.parts[0] in ("en", "es") else "en"
    environment = Environment(
        loader=FileSystemLoader(root / TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown, of which nothing comes from others
    )
    environment.filters |= make_filters(locale)
    environment.globals |= {"facts": facts, "draw_pipeline": partial(draw_pipeline, root)}
    text = environment.get_template(str(name)).render()
    return MADE.format(TEMPLATES / name) + re.sub(r"\n{3,}", "\n\n", text)


def make_filters(locale: str) -> dict[str, Callable[..., str]]:
    """Return what templates write figures with, as people who read the locale do."""
    local = partial(write_numbers, locale=locale)
    return {
        "local": local,
        "fixed": lambda value, digits: local(f"{value:,.{digits}f}"),
        "significant": lambda value, digits: local(f"{value:.{digits}g}"),
        "count": lambda value: local(f"{value:,}"),
        "cost": lambda value, name: local(format_cost(value, name)),
        "human": lambda value, unit="": local(format_number(value, unit)),
        "percent": lambda value: local(format_percent(value)),
        "points": lambda value: local(typeset_points(value)),
        "accuracy": lambda plan: local(write_accuracy(plan)),
    }


def write_numbers(text: str, locale: str) -> str:
    """Return the text with its numbers, which are written as in English, as the locale writes them."""
    return NUMBER.sub(lambda found: write_number(found[0], locale), text)


def write_number(english: str, locale: str) -> str:
    """Return the number with as many decimals as it has."""
    number = Decimal(english.replace(",", ""))
    whole = "0" if locale in ONE_GROUP and number < 10_000 else "#,##0"
    decimals = "0" * len(english.partition(".")[2])
    return format_decimal(number, format=f"{whole}.{decimals}" if decimals else whole, locale=locale)


def write_accuracy(plan: Mapping[str, Any]) -> str:
    """Return an accuracy and its interval, shares."""
    return f"{plan['accuracy']:.3f} ({plan['accuracy_low']:.3f}\N{EN DASH}{plan['accuracy_high']:.3f})"


def draw_pipeline(root: Path) -> str:
    """Return the stages as dvc draws them in Mermaid, each once, whatever the number of its cells in the matrix."""
    drawn = subprocess.run(
        [sys.executable, "-m", "dvc", "dag", "--mermaid"], cwd=root, capture_output=True, text=True, check=True
    )
    names = dict(re.findall(r'(node\d+)\["([^"@]+)', drawn.stdout))
    order = [*read_yaml(root / "dvc.yaml")["stages"]]
    edges = {(names[one], names[other]) for one, other in re.findall(r"(node\d+)-->(node\d+)", drawn.stdout)}
    lines = [f"    {one} --> {other}" for one, other in sorted(edges, key=lambda edge: [*map(order.index, edge)])]
    return "\n".join(["flowchart LR", *lines])


def main(root: Path) -> None:
    """Write all pages below `root`."""
    for path, text in render_pages(root).items():
        with open_whole_file(root / path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main(Path(__file__).parents[1])
