"""A file as params, and what must hold between them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from frostline.constants import BACKBONES, LIBRARIES, PARTS, SELECTORS, WITHOUT_WEIGHTS
from frostline.errors import InputError, explain, join_names, shorten
from frostline.files import read_yaml
from frostline.params.schema import ADVISED, WEIGHTS, Augmentation, Data, Depth, Params, Phase, Plan, Training


def load_params(path: Path) -> Params:
    """Return the checked params of a file, or raise an `InputError` about the first thing that is wrong in them."""
    return check_params(read_yaml(path, most=100_000))


def check_params(content: Any) -> Params:
    """Return what YAML gave, typed and checked, or raise an `InputError` about the first thing that is wrong in it."""
    try:
        params = Params.model_validate(content)
    except ValidationError as error:
        raise explain(error, Params, "params.yaml") from None
    _check_choices(params)
    return params


def _check_choices(params: Params) -> None:
    _check_column(params.data)
    _check_backbones(params.backbones)
    for backbone in params.backbones:
        _check_side(backbone, params.data.image_px)
    _check_known("study.plans", params.study.plans, tuple(params.plans))
    for name in params.study.plans:
        _check_published(f"plans.{name}.weights", params.plans[name].weights, params.backbones)
    for name, plan in params.plans.items():
        _check_plan(f"plans.{name}", plan)
        _check_warmup(f"plans.{name}", plan, params.training)
    if params.finish is not None:
        _check_known("finish.plan", [params.finish.plan], (ADVISED, *params.study.plans))
        _check_known("finish.backbone", [params.finish.backbone], (ADVISED, *params.backbones))
    _check_crop(params.training.augmentation, params.data.image_px)
    _check_shifts(params.study.shifts, params.data.image_px)


def _check_backbones(names: Sequence[str]) -> None:
    """Check that each has a short name, or looks like one of a library's: which of those there are, only it knows."""
    for name in names:
        library, _, own = name.partition("/")
        if name not in BACKBONES and not (library in LIBRARIES and NAME.fullmatch(own)):
            must = f"name {join_names(BACKBONES)}, or one of a library, such as timm/vit_tiny_patch16_224"
            _refuse("backbones", must, name)
    _check_distinct("backbones", names)


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@-]*(?<!/)")
"""What may stand after the library in the name of a backbone: it becomes the name of a folder."""


def _check_column(data: Data) -> None:
    named = data.source == "table" and data.table.group is not None
    if named != (data.groups == "column"):
        must = "be column" if named else "be none, blocks, folders or a pattern"
        where = f"where data.table.group {'names one' if named else 'names none'}"
        raise InputError.of("data.groups", f"{must} {where}", repr(data.groups))


def _check_plan(where: str, plan: Plan) -> None:
    if plan.weights not in ("pretrained", "none") and not plan.weights.startswith(f"{WEIGHTS}/"):
        raise InputError.of(
            f"{where}.weights", f"be pretrained, none or a file in {WEIGHTS}", shorten(repr(plan.weights))
        )
    _check_learning(where, plan)
    frozen = [depth for depth in plan.depths if depth.from_ != "stem" and not set(PARTS) <= set(depth.train or ())]
    if plan.weights == "none" and frozen:
        raise InputError.of(f"{where}.weights", "be pretrained or a file where parts are frozen", "'none'")


def _check_learning(where: str, plan: Plan) -> None:
    if plan.phases is not None:
        _check_phases(where, plan, plan.phases)
        return
    _check_depth(where, plan)
    if plan.learning_rates is None:
        raise InputError.of(f"{where}.learning_rates", "be given", "nothing")
    _check_distinct(f"{where}.learning_rates", plan.learning_rates)


def _check_phases(where: str, plan: Plan, phases: Sequence[Phase]) -> None:
    for name in ("from_", "train", "adapt", "learning_rates", "layer_decay"):
        if name in plan.model_fields_set:
            said = name.rstrip("_")
            raise InputError.of(where, f"say {said} in each of its phases", f"{said} beside them")
    for place, phase in enumerate(phases):
        _check_depth(f"{where}.phases.{place}", phase)
        _check_distinct(f"{where}.phases.{place}.learning_rates", phase.learning_rates)


def _check_depth(where: str, depth: Depth) -> None:
    said = [name for name in ("from_", "train", "adapt") if getattr(depth, name) is not None]
    if len(said) != 1:
        got = "none of them" if not said else " and ".join(name.rstrip("_") for name in said)
        phases = ", or phases: [...]" if isinstance(depth, Plan) else ""
        must = f"say one of from: <part>, train: [<part>, ...] and adapt: {{lora: <rank>, parts: [...]}}{phases}"
        raise InputError.of(where, must, got)
    if depth.adapt is not None:
        _check_parts(f"{where}.adapt.parts", depth.adapt.parts, ())
    elif depth.from_ is not None:
        _check_parts(f"{where}.from", [depth.from_], ())
    else:
        _check_parts(f"{where}.train", depth.train or [], SELECTORS)


def _check_warmup(where: str, plan: Plan, training: Training) -> None:
    told = [(f"{where}.phases.{place}.epochs", phase.epochs) for place, phase in enumerate(plan.phases or ())]
    for name, epochs in told or [("training.epochs", training.epochs)]:
        if training.warmup_epochs >= epochs:
            raise InputError.of("training.warmup_epochs", f"be less than {name}, {epochs}", str(training.warmup_epochs))


def _check_crop(augmentation: Augmentation, image_px: int) -> None:
    if augmentation.crop == "padding" and augmentation.crop_padding >= image_px:  # padded with its own mirror image
        must = f"be less than data.image_px, {image_px}"
        raise InputError.of("training.augmentation.crop_padding", must, str(augmentation.crop_padding))


def _check_shifts(shifts: Sequence[int], image_px: int) -> None:
    for shift in (shift for shift in shifts if shift >= image_px):
        raise InputError.of("study.shifts", f"be less than data.image_px, {image_px}", str(shift))
    _check_distinct("study.shifts", shifts)


def _check_side(backbone: str, image_px: int) -> None:
    sides = BACKBONES.get(backbone)
    if sides is not None and image_px not in sides:
        must = f"be {sides[0]}" if len(sides) == 1 else f"be {sides[0]} to {sides[-1]}"
        raise InputError.of("data.image_px", f"{must} for {backbone}", str(image_px))


def _check_published(where: str, weights: str, backbones: Sequence[str]) -> None:
    bare = [name for name in backbones if name in WITHOUT_WEIGHTS or name.startswith("models/")]
    for backbone in bare if weights == "pretrained" else ():
        raise InputError.of(where, f"be none or a file for {backbone}", "'pretrained'", "Nobody has published any.")


def _check_parts(where: str, names: Sequence[str], selectors: Sequence[str]) -> None:
    """Check that each is a part, or looks like a block of one: which blocks there are, only the backbone knows."""
    for name in names:
        part, _, block = name.partition(".")
        is_block = part in PARTS and block.isdecimal()
        if not is_block and name not in (*PARTS, *selectors):
            _refuse(where, f"name {join_names([*PARTS, *selectors])}, or a block such as stage4.1", name)
    _check_distinct(where, names)


def _check_known(where: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in (name for name in names if name not in known):
        _refuse(where, f"name {join_names(known)}", name)
    _check_distinct(where, names)


def _check_distinct(where: str, values: Sequence[Any]) -> None:
    for value in (value for value in values if values.count(value) > 1):
        raise InputError.of(where, "name each value once", f"{shorten(repr(value))} more than once")


def _refuse(where: str, must: str, got: str) -> NoReturn:
    raise InputError.of(where, must, shorten(repr(got)))
