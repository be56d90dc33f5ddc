"""Draw the study: pictures and one page that a person can use as they are.

Reads: the tables that compare wrote, and `source.json`.
Writes: `figures/` (tradeoff, curves and confusion, as SVG and PNG) and `report.html` (one file that needs no network).
"""

from pathlib import Path

import pandas as pd

from stages.command import command
from stages.figures import confusion, curves, labels_of, save, styled, tradeoff
from stages.outputs import read_csv, read_json, whole_file, whole_folder
from stages.report import render_report


def main(*, reports: Path, source: Path, figures: Path, report: Path) -> None:
    """Draw the tables of the folder `reports` into the folder `figures` and the file `report`."""
    plans, runs, history = (read_csv(reports / f"{name}.csv") for name in ("plans", "runs", "history"))
    as_named = dict.fromkeys(("backbone", "plan", "actual", "predicted"), str)  # a class may be called 007, or NA
    confusions = pd.read_csv(reports / "confusion.csv", dtype=as_named, keep_default_na=False)
    facts = read_json(source)
    advised = plans[plans.advised].iloc[0]
    its = confusions[(confusions.backbone == advised.backbone) & (confusions.plan == advised.plan)]
    label = labels_of(plans)[plans.index[plans.advised][0]]
    with whole_folder(figures) as folder, styled():
        save(tradeoff(plans, runs, f"{facts['images']:,} images, {facts['origin']}"), folder, "tradeoff")
        save(curves(history, plans), folder, "curves")
        save(confusion(its, label, int(advised.seeds)), folder, "confusion")
    with whole_file(report) as unfinished:
        unfinished.write_text(render_report(plans, runs, facts, figures), encoding="utf-8")


if __name__ == "__main__":
    command(main)
