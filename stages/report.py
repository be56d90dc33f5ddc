"""The report: one HTML file, readable on paper and on a phone, that needs no network."""

import base64
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.figures import labels_of


def render_report(plans: pd.DataFrame, runs: pd.DataFrame, facts: dict[str, Any], figures: Path) -> str:
    """Return the page about the plans, with the pictures of the folder `figures` inside it."""
    here = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    rows = [{**plan, "label": label} for plan, label in zip(plans.to_dict("records"), labels_of(plans), strict=True)]
    advised = next(row for row in rows if row["advised"])
    return here.get_template("report.html").render(
        facts=facts,
        plans=rows,
        advised=advised,
        seeds=sorted(runs.seed.unique().tolist()),
        test_images=int(runs.groupby("seed").test_images.first().sum()),
        pictures={name: _embedded(figures / f"{name}.svg") for name in ("tradeoff", "curves", "confusion")},
        summary=", ".join(
            f"{row['label']}: {row['trainable_parameters']:,} trainable parameters, accuracy {row['accuracy']:.3f}"
            for row in rows
        ),
    )


def _embedded(picture: Path) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(picture.read_bytes()).decode("ascii")
