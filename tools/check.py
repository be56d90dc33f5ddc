"""Check params.yaml, and that what it names is there, before dvc clears anything for a stage to write anew."""

import argparse
from pathlib import Path

from frostline.constants import PARTS
from frostline.errors import InputError, end_in_one_line
from frostline.params.loading import load_params
from frostline.params.schema import Params


def main(params: Path) -> None:
    """Check the params; return if they are in order, else end the process with one line."""
    with end_in_one_line():
        settings = load_params(params)
        if settings.data.source == "folder":
            from frostline.sources.local import read_folder

            read_folder(Path(settings.data.folder))
        for name in settings.study.plans:
            check_weights(f"plans.{name}.weights", settings.plans[name].weights)
        check_depths(settings)


def check_weights(where: str, weights: str) -> None:
    """Raise an `InputError` if the weights are a file that is not there."""
    if weights not in ("pretrained", "none") and not Path(weights).is_file():
        raise InputError.of(where, "be pretrained, none or a file", f"no file {weights!r}")


def check_depths(settings: Params) -> None:
    """Raise an `InputError` if a plan of the study names what one of its backbones lacks, or what cannot learn there.

    From any part on, every backbone can learn; to know about the rest, it must be built, which takes seconds.
    """
    plans = {name: settings.plans[name] for name in settings.study.plans}
    finer = {name: plan for name, plan in plans.items() if any(depth.from_ not in PARTS for depth in plan.depths)}
    if finer:
        from frostline.backbones.freezing import refuse_unfit
        from frostline.backbones.registry import build_backbone

        for backbone in settings.backbones:
            parts = build_backbone(backbone, "none", classes=2)
            for name, plan in finer.items():
                refuse_unfit(parts, plan, f"plans.{name} on {backbone}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("params", type=Path)
    main(**vars(parser.parse_args()))
