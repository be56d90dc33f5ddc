"""params.yaml, typed and checked: what is unknown, missing, misspelt or out of range is refused by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from frostline.constants import BACKBONES, MOST_PX, PARTS, SELECTORS, WITHOUT_WEIGHTS
from frostline.errors import InputError, explain, join_names, shorten
from frostline.files import read_yaml

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$", max_length=200)]
Text = Annotated[str, Field(min_length=1, max_length=1_000)]
Percent = Annotated[float, Field(gt=0, lt=100)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Count = Annotated[int, Field(ge=1, le=100_000)]
Bytes = Annotated[int, Field(ge=0, le=10**15)]
Rates = Annotated[list[Annotated[float, Field(gt=0, le=100)]], Field(min_length=1, max_length=100)]
LayerDecay = Annotated[float, Field(gt=0, le=1)]
WEIGHTS = "data/weights"
"""Where weights files lie: dvc watches it, so that a run is trained anew when its file changes."""


class Section(BaseModel):
    """A mapping in params.yaml whose names and types are all known."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Hub(Section):
    """A data set of the Hugging Face hub: its columns of images and classes, and what its splits are called there."""

    dataset: Text
    revision: Text
    image: Text
    label: Text
    train: Text
    validation: Text | None
    test: Text | None


class Data(Section):
    """Which images, what their labels mean, and how they are split; `validation_percent` is of what is not tested."""

    source: Literal["package", "folder", "hub"]
    package: Literal["elpv", "digits"]
    folder: Text
    hub: Hub
    elpv_defective: Literal["probability >= 0.5", "probability > 0"]
    image_px: Annotated[int, Field(ge=16, le=MOST_PX)]
    groups: Annotated[str, Field(pattern=r"^(none|blocks|folders|name: .+)$", max_length=1_000)]
    block_files: Annotated[int, Field(ge=2, le=1_000_000)]
    splits: Literal["auto", "folds"]
    folds: Annotated[int, Field(ge=2, le=100)]
    validation_percent: Percent


class Study(Section):
    """Which plans are compared, how often each image is tested, and in which replicates learning rates are tried."""

    plans: Annotated[list[Name], Field(min_length=1, max_length=1_000)]
    repeats: Annotated[int, Field(ge=1, le=1_000)]
    tune: Literal["first", "all"]
    racing: bool
    shifts: Annotated[list[Annotated[int, Field(ge=1, le=MOST_PX)]], Field(max_length=100)]


class Depth(Section):
    """What learns: `from_` names the shallowest part or block, or `train` names each part, block and selector."""

    from_: Annotated[str | None, Field(alias="from", max_length=1_000)] = None
    train: Annotated[list[Text], Field(min_length=1, max_length=1_000)] | None = None

    @property
    def depths(self) -> Sequence["Depth"]:
        """What learns in each phase, of which this is one."""
        return [self]


class Phase(Depth):
    """A stretch of a plan's training: what learns in it, for how many epochs at most, and at which learning rates.

    Each part's rate is `layer_decay` times that of the part after it; the head's is the learning rate itself.
    """

    epochs: Count
    learning_rates: Rates
    layer_decay: LayerDecay = 1.0


class Plan(Depth):
    """A freezing configuration: what learns, from which weights, at which learning rates; or in which phases.

    `views` takes the place of `training.views`. Of each replicate's training images `train_percent` are shown.
    """

    weights: Text
    learning_rates: Rates | None = None
    layer_decay: LayerDecay = 1.0
    phases: Annotated[list[Phase], Field(min_length=1, max_length=100)] | None = None
    views: Count | None = None
    train_percent: Annotated[float, Field(gt=0, le=100)] | None = None

    @property
    def depths(self) -> Sequence[Depth]:
        """What learns in each phase."""
        return self.phases or [self]

    def list_phases(self, epochs: int) -> list[Phase]:
        """Return the plan's phases, of which one that names none has one, of so many epochs."""
        if self.phases is not None:
            return self.phases
        whole = {"from": self.from_, "train": self.train, "epochs": epochs, "learning_rates": self.learning_rates}
        return [Phase.model_validate(whole | {"layer_decay": self.layer_decay})]


class Augmentation(Section):
    """What the views of an image that is trained on may differ in: done in the order crop, flips, policy, colour.

    `crop_padding` is in pixels, `crop_scale` the least share of the area, `colour` the share by which brightness,
    contrast and saturation may change; hue may turn by a quarter of it (1 is the whole circle).
    """

    flips: Literal["none", "horizontal", "vertical", "both"]
    crop: Literal["none", "padding", "resized"]
    crop_padding: Annotated[int, Field(ge=1, le=MOST_PX)]
    crop_scale: Annotated[float, Field(gt=0, le=1)]
    colour: Annotated[float, Field(ge=0, le=1)]
    policy: Literal["none", "randaugment", "trivialaugment"]


class Training(Section):
    """How every plan is trained; `cache_bytes` are of memory for a prefix, `keep_bytes` of disk for finished fits."""

    epochs: Count
    patience: Count
    batch_size: Annotated[int, Field(ge=3, le=100_000)]
    weight_decay: Annotated[float, Field(ge=0, le=1_000)]
    precision: Literal["auto", "float32", "bfloat16"]
    schedule: Literal["constant", "cosine", "plateau"]
    plateau_factor: Annotated[float, Field(gt=0, lt=1)]
    plateau_patience: Annotated[int, Field(ge=0, le=100_000)]
    warmup_epochs: Annotated[int, Field(ge=0, le=100_000)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    augmentation: Augmentation
    views: Count
    cache_bytes: Bytes
    keep_bytes: Bytes
    augmentation_seed: Seed
    tensorboard: bool


class Advice(Section):
    """What the advised plan must cost little of, and how many hundredths of which metric it may give up."""

    metric: Literal["accuracy", "balanced_accuracy", "macro_f1", "nll"]
    cost: Literal["trainable_parameters", "train_flops", "train_seconds", "peak_memory_bytes"]
    margin: Annotated[float, Field(gt=0, lt=100)]


class Params(Section):
    """All of params.yaml."""

    data: Data
    study: Study
    backbones: Annotated[list[Text], Field(min_length=1, max_length=1_000)]
    plans: Annotated[dict[Name, Plan], Field(min_length=1, max_length=1_000)]
    training: Training
    advice: Advice


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
    _check_known("backbones", params.backbones, tuple(BACKBONES))
    for backbone in params.backbones:
        _check_side(backbone, params.data.image_px)
    _check_known("study.plans", params.study.plans, tuple(params.plans))
    for name in params.study.plans:
        _check_published(f"plans.{name}.weights", params.plans[name].weights, params.backbones)
    for name, plan in params.plans.items():
        _check_plan(f"plans.{name}", plan)
        _check_warmup(f"plans.{name}", plan, params.training)
    _check_crop(params.training.augmentation, params.data.image_px)
    _check_shifts(params.study.shifts, params.data.image_px)


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
    for name in ("from_", "train", "learning_rates", "layer_decay"):
        if name in plan.model_fields_set:
            said = name.rstrip("_")
            raise InputError.of(where, f"say {said} in each of its phases", f"{said} beside them")
    for place, phase in enumerate(phases):
        _check_depth(f"{where}.phases.{place}", phase)
        _check_distinct(f"{where}.phases.{place}.learning_rates", phase.learning_rates)


def _check_depth(where: str, depth: Depth) -> None:
    if (depth.from_ is None) == (depth.train is None):
        got = "neither" if depth.from_ is None else "both"
        phases = ", or phases: [...]" if isinstance(depth, Plan) else ""
        raise InputError.of(where, f"say either from: <part> or train: [<part>, ...]{phases}", got)
    if depth.from_ is not None:
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
    sides = BACKBONES[backbone]
    if image_px not in sides:
        must = f"be {sides[0]}" if len(sides) == 1 else f"be {sides[0]} to {sides[-1]}"
        raise InputError.of("data.image_px", f"{must} for {backbone}", str(image_px))


def _check_published(where: str, weights: str, backbones: Sequence[str]) -> None:
    for backbone in (name for name in backbones if weights == "pretrained" and name in WITHOUT_WEIGHTS):
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
