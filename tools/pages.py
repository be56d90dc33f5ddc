"""Fill in the pages that explain, docs/<language>/*.md, from what the studies found: no figure is typed by hand.

Each page holds a block `study`; all else in it is prose, and true whatever the studies find.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from frostline.files import open_whole_file
from tools.depth_blocks import feature_extraction, freezing
from tools.drift_block import batchnorm
from tools.network_blocks import mlp_or_cnn, residuals, weights_and_activations
from tools.page_words import LANGUAGES, Words
from tools.readme import fill
from tools.size_block import how_many_images


@dataclass(frozen=True)
class Page:
    """What a page shows: the block, the file without which there is nothing to show, and what writes that."""

    block: Callable[[Path, Words], str]
    needs: str
    command: str


PAGES = {
    "freezing": Page(freezing, "reports/plans.csv", "make study"),
    "batchnorm": Page(batchnorm, "docs/drift/drift.json", "python -m docs.drift.measure"),
    "feature_extraction": Page(
        feature_extraction, "docs/beans/plans.csv", "make record STUDY=beans_lite0 INTO=beans FOLDER=../beans"
    ),
    "residuals": Page(residuals, "docs/depth/history.csv", "make record STUDY=depth"),
    "mlp_or_cnn": Page(mlp_or_cnn, "docs/digits/shifted.csv", "make record STUDY=digits"),
    "weights_and_activations": Page(weights_and_activations, "reports/look/look.json", "make study"),
    "how_many_images": Page(how_many_images, "docs/size/plans.csv", "make record STUDY=size"),
}
"""The pages, in the order in which they are best read."""


def block_of(name: str, root: Path, words: Words) -> str:
    """Return the page's block in the language, or what to run where its study was not recorded yet."""
    page = PAGES[name]
    if not (root / page.needs).is_file():
        return words.say("nothing", command=page.command)
    return page.block(root, words)


def filled(root: Path) -> dict[Path, str]:
    """Return what each page should hold, by its path. Raises `InputError` where a page has no place for its block."""
    pages = {}
    for language, words in LANGUAGES.items():
        for name in PAGES:
            path = Path("docs", language, f"{name}.md")
            text = (root / path).read_text(encoding="utf-8")
            pages[path] = fill(text, {"study": block_of(name, root, words)}, where=str(path))
    return pages


def main(root: Path) -> None:
    """Fill in all pages below `root`."""
    for path, text in filled(root).items():
        with open_whole_file(root / path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(__file__).parent.parent)
