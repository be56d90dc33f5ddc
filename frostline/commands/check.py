"""Check params.yaml, and that what it names is there, before dvc clears anything for a stage to write anew."""

import argparse
import subprocess
from pathlib import Path

from frostline.constants import BACKBONES, PARTS
from frostline.errors import InputError, end_in_one_line
from frostline.params.loading import load_params
from frostline.params.schema import Params, Plan


def main(params: Path) -> None:
    """Check the params; return if they are in order, else end the process with one line."""
    with end_in_one_line():
        settings = load_params(params)
        check_git()
        if settings.training.workers == "ray":
            from frostline.cluster.connecting import require_ray

            require_ray()
        if settings.data.source in ("folder", "table"):
            from frostline.sources.local import open_source

            open_source(settings.data)
        for name in settings.study.plans:
            check_weights(f"plans.{name}.weights", settings.plans[name].weights)
        check_depths(settings)


def check_git() -> None:
    """Raise an `InputError` with git's own reason if this is no repository that git works in."""
    must = "be a git repository, which dvc keeps experiments in"
    try:
        asked = subprocess.run(["git", "rev-parse", "--git-dir"], capture_output=True, text=True, check=False)  # noqa: S607
    except FileNotFoundError:
        raise InputError.of("this folder", must, "no git", "Install it.") from None
    if asked.returncode:
        got = asked.stderr.strip().partition("\n")[0].removeprefix("fatal: ") or "an error of git"
        fix = "`git init` makes it one." if "not a git repository" in got else "`git status` says what helps."
        raise InputError.of("this folder", must, repr(got), fix)


def check_weights(where: str, weights: str) -> None:
    """Raise an `InputError` if the weights are a file that is not there."""
    if weights not in ("pretrained", "none") and not Path(weights).is_file():
        raise InputError.of(where, "be pretrained, none or a file", f"no file {weights!r}")


def check_depths(settings: Params) -> None:
    """Raise an `InputError` about a backbone that is none, a plan that names what it lacks, or weights that do not fit.

    From any part on, every backbone with a short name can learn; to know about the rest, it must be built, which takes
    seconds.
    """
    asked = [(backbone, name) for backbone in settings.backbones for name in settings.study.plans]
    unknown = [(backbone, name) for backbone, name in asked if _must_be_built(backbone, settings.plans[name])]
    if unknown:
        from frostline.backbones.adapters import build_for_plan
        from frostline.backbones.freezing import refuse_unfit

        for backbone, name in unknown:
            plan, where = settings.plans[name], f"plans.{name} on {backbone}"
            weights = "none" if plan.weights == "pretrained" else plan.weights
            refuse_unfit(build_for_plan(backbone, weights, 2, settings.data.image_px, plan, where), plan, where)


def _must_be_built(backbone: str, plan: Plan) -> bool:
    """Return whether only the backbone itself can say if the plan, and a file of weights, fit it."""
    is_simple = plan.head_after is None and all(depth.from_ in PARTS for depth in plan.depths)
    return not is_simple or backbone not in BACKBONES or plan.weights not in ("pretrained", "none")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("params", type=Path)
    main(**vars(parser.parse_args()))
