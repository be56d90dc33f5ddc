"""Draw the study: pictures and one page that a person can use as they are.

Reads: the tables that compare wrote, what look saw inside the advised run, `source.json`, and `model.json`.
Writes: `figures/` (difference and accuracy over each cost, curves, confusion, and what the study shows beside, as SVG
and PNG), `model.json` (what the model tells of itself, for git) and `report.html` (one file that needs no network).
"""

import shutil
from pathlib import Path

from frostline.constants import COSTS
from frostline.errors import run_command
from frostline.files import check_sums, open_whole_file, open_whole_folder, read_json, write_json
from frostline.plotting import save_figure, use_style
from frostline.report.comparison import Comparison, read_comparison
from frostline.report.figures import draw_confusion, draw_curves
from frostline.report.lessons import list_lessons
from frostline.report.page import render_report
from frostline.report.points import KEYS, label_plans, list_views
from frostline.report.tradeoff import draw_tradeoff


def main(*, reports: Path, look: Path, source: Path, model: Path, told: Path, figures: Path, report: Path) -> None:
    """Draw the tables of `reports`, beside what `look` and `model` hold; note in `told` what the model tells."""
    check_sums(source.parent, [source.name])
    check_sums(model, ["model.json"])
    for whole in (reports, look):
        check_sums(whole)
    study = read_comparison(reports, source)
    with open_whole_folder(figures) as folder, use_style():
        draw(study, folder)
    write_json(told, read_json(model / "model.json"))
    with open_whole_file(report) as unfinished, use_style():
        unfinished.write_text(render_report(study, figures, look, model), encoding="utf-8")


def draw(study: Comparison, folder: Path) -> None:
    """Draw the study's pictures into the folder; `difference` and `accuracy` go by the cost that advice goes by."""
    for cost in COSTS:
        for view in list_views(study, cost):
            save_figure(draw_tradeoff(view, study.title), folder, f"{view.kind}_{cost}")
            for kind in ("svg", "png") if cost == study.advice["cost"] else ():
                shutil.copy(folder / f"{view.kind}_{cost}.{kind}", folder / f"{view.kind}.{kind}")
    save_figure(draw_curves(study.history, study.plans), folder, "curves")
    advised = study.plans.iloc[study.advised]
    its = study.confusion[(study.confusion[KEYS] == advised[KEYS]).all(axis=1)]
    for lesson in list_lessons(study):
        save_figure(lesson.draw(), folder, lesson.name)
    save_figure(
        draw_confusion(its, label_plans(study.plans)[study.advised], int(advised.replicates)), folder, "confusion"
    )


if __name__ == "__main__":
    run_command(main)
