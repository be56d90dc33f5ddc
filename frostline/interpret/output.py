"""Looks: what is seen inside a run, as pictures and numbers in a folder."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from frostline.files import open_whole_folder, write_json
from frostline.interpret.captions import describe_pictures, list_notes
from frostline.interpret.figures import draw_pictures
from frostline.interpret.inspection import Inside
from frostline.plotting import save_figure, use_style

LIKELIEST = 5
"""So many classes of a case are told, with their probabilities."""


def write_look(folder: Path, inside: Inside) -> None:
    """Write each picture, as SVG and PNG, and look.json into the folder, in place of what was there."""
    with open_whole_folder(folder) as unfinished, use_style():
        for name, picture in draw_pictures(inside).items():
            save_figure(picture, unfinished, name)
        write_json(unfinished / "look.json", collect_numbers(inside))


def post_pictures(folder: Path, inside: Inside) -> None:
    """Show each picture in TensorBoard, whose files lie in the folder, in place of what was there."""
    from torch.utils.tensorboard import SummaryWriter  # takes a second, which only those pay who asked for it

    shutil.rmtree(folder, ignore_errors=True)
    with use_style(), SummaryWriter(folder) as writer:
        for name, picture in draw_pictures(inside).items():
            writer.add_figure(name, picture, close=False)


def collect_numbers(inside: Inside) -> dict[str, Any]:
    """Return what look.json tells: numbers to six digits, and the words of each picture."""
    run, classes, evidence = inside.run, inside.run.classes, inside.evidence
    return {
        "backbone": run.backbone,
        "plan": run.plan,
        "replicate": inside.replicate,
        "moved": [asdict(part) | {"relative_norm": _round_number(part.relative_norm)} for part in inside.moved],
        "cases": [
            {
                "group": group,
                "image": case.name,
                "actual": None if case.actual is None else classes[case.actual],
                "predicted": classes[case.predicted],
                "probabilities": {
                    classes[index]: _round_number(case.probabilities[index]) for index in case.rank_classes(LIKELIEST)
                },
            }
            for group, cases in inside.groups.items()
            for case in cases
        ],
        "gradcam": None if evidence is None else {"block": evidence.block, "places": [*evidence.heat.shape[1:]]},
        "mapped": inside.mapped.name,
        "maps": {
            maps.part: {
                "block": maps.block,
                "places": [*maps.after.shape[1:]],
                "channels": maps.channels,
                "difference": _round_number(maps.difference),
            }
            for maps in inside.maps
        },
        "pictures": describe_pictures(inside),
        "notes": list_notes(inside),
    }


def _round_number(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
