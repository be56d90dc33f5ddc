"""Print what each plan of a study lets learn in each of its backbones, part by part."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from frostline.backbones.adapters import build_for_plan
from frostline.backbones.freezing import PartCount, apply_plan, count_by_part, describe_learned, refuse_unfit
from frostline.errors import end_in_one_line
from frostline.files import read_json
from frostline.params.loading import load_params


def main(params: Path, prepared: Path) -> None:
    """Print a table for every plan of the study, or end the process with one line about one that does not fit."""
    console = Console()
    with end_in_one_line():
        settings, known = load_params(params), prepared.exists()
        classes = len(read_json(prepared)["classes"]) if known else 2
        for backbone in settings.backbones:
            for name in settings.study.plans:
                plan, where = settings.plans[name], f"plans.{name} on {backbone}"
                parts = build_for_plan(backbone, "none", classes, settings.data.image_px, plan, where)
                refuse_unfit(parts, plan, where)
                apply_plan(parts, plan)
                told = ", then ".join(" ".join(describe_learned(parts, depth)) for depth in plan.depths)
                console.print(f"\n[bold]{name}[/bold] on {backbone}: {told}")
                console.print(tabulate_plans(count_by_part(parts)))
    console.print(f"Counted with {classes} classes{'' if known else ', as none are prepared yet'}.")


def tabulate_plans(counts: list[PartCount]) -> Table:
    """Return the table of one plan: each part's parameters, and whether they learn."""
    table = Table(show_footer=True)
    parameters, trainable = sum(part.parameters for part in counts), sum(part.trainable for part in counts)
    table.add_column("part", footer="total")
    table.add_column("parameters", footer=f"{parameters:,}", justify="right")
    table.add_column("trainable", footer=f"{trainable:,}", justify="right")
    table.add_column("learns or frozen", footer=f"{100 * trainable / parameters:.2f} % learns")
    for part in counts:
        table.add_row(part.part, f"{part.parameters:,}", f"{part.trainable:,}", describe(part))
    return table


def describe(count: PartCount) -> str:
    """Return in a word what becomes of a part."""
    if count.parameters == 0:
        return "has no parameters"
    if count.trainable == 0:
        return "frozen"
    return "learns" if count.trainable == count.parameters else "some of it learns"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("params", type=Path)
    parser.add_argument("--prepared", type=Path, default=Path("data/prepared/prepared.json"))
    main(**vars(parser.parse_args()))
