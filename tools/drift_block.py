"""The figure and the numbers of the page about BatchNorm: what `docs.drift.measure` measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frostline.files import read_json
from tools.page_layout import laid_out, picture
from tools.page_words import Words
from tools.tables import markdown

CROSSED = ("held_head_loaded", "held_head_drifted", "drifting_head_drifted", "drifting_head_loaded")
"""Which head was tested on which statistics, in the order in which the table has them."""
TOLD = {"drift_together": "drifting", "drift_head_alone": "drifting_head_alone", "drift_moved": "held_head_moved"}
"""The sentences, and the difference that each of them tells."""

Row = Mapping[str, Any]


def batchnorm(root: Path, words: Words) -> str:
    """Return what held and drifting statistics came to, seed by seed."""
    measured = read_json(root / "docs" / "drift" / "drift.json")
    seeds, apart = measured["of_seeds"], measured["differences"]
    names = [name.replace("_head", "") for name in CROSSED]
    means = [sum(row[f"{name}_statistics"] for row in seeds) / len(seeds) for name in CROSSED]
    shown = [f"{words.sentences[name]} {words.number(f'{mean:.3f}')}" for name, mean in zip(names, means, strict=True)]
    figure = picture(words, "drift_picture", "docs/drift/drift.png", points="; ".join(shown))
    rows = [
        (str(row["seed"]), *(words.number(f"{row[f'{name}_statistics']:.3f}") for name in CROSSED)) for row in seeds
    ]
    table = f"{setting(measured, words)}\n\n{markdown(words.columns('seed', *names), rows)}"
    told = [told_difference(sentence, apart[name], words) for sentence, name in TOLD.items()]
    return laid_out(figure, table, [moved(seeds, words), *told])


def setting(measured: Row, words: Words) -> str:
    """Return in a sentence what the table shows, and how it was trained."""
    asked = {name: str(measured[name]) for name in ("seeds", "epochs", "batch")}
    return words.say("drift_setting", px=str(measured["image_px"]), **asked)


def told_difference(sentence: str, found: Row, words: Words) -> str:
    """Return the sentence with a difference in it, and where the interval has 0."""
    bounds = found["low"], found["high"]
    return words.say(sentence, points=words.points(found["estimate"], *bounds), zero=words.where_zero_lies(*bounds))


def moved(seeds: Sequence[Row], words: Words) -> str:
    """Return in a sentence what moved of what was frozen; of shares the mean over seeds."""
    most = {name: max(row[f"{name}_moved_tensors"] for row in seeds) for name in ("held", "drifting")}
    kinds = {
        name: sum(row[f"relative_norm_of_{name}"] for row in seeds) / len(seeds) for name in ("means", "variances")
    }
    shares = {name: words.number(f"{100 * share:.2g} %") for name, share in kinds.items()}
    counts = {name: words.number(f"{count:,}") for name, count in most.items()}
    return words.say("moved", frozen=words.number(f"{seeds[0]['frozen_tensors']:,}"), **counts, **shares)
