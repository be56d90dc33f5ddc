"""The sections of params.yaml: names, types and bounds."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from frostline.constants import MOST_PX

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


class Table(Section):
    """A CSV or Parquet file in data.folder, or a pattern for several, its columns, and where their paths start."""

    file: Text
    images: Text
    image: Text
    label: Text
    group: Text | None
    split: Text | None


class Data(Section):
    """Which images, what their labels mean, and how they are split; `validation_percent` is of what is not tested."""

    source: Literal["package", "folder", "table", "hub"]
    package: Literal["elpv", "digits"]
    folder: Text
    table: Table
    hub: Hub
    elpv_defective: Literal["probability >= 0.5", "probability > 0"]
    image_px: Annotated[int, Field(ge=16, le=MOST_PX)]
    groups: Annotated[str, Field(pattern=r"^(none|blocks|folders|column|name: .+)$", max_length=1_000)]
    block_files: Annotated[int, Field(ge=2, le=1_000_000)]
    duplicates: Literal["refuse", "group", "drop"]
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


class Adapt(Section):
    """Low-rank matrices that learn beside the frozen layers of some parts or blocks, and their rank (LoRA)."""

    lora: Annotated[int, Field(ge=1, le=1_024)]
    parts: Annotated[list[Text], Field(min_length=1, max_length=1_000)]


class Depth(Section):
    """What learns: `from_` names the shallowest part or block, or `train` names each part, block and selector.

    Or `adapt` says what low-rank matrices are learned, and the head.
    """

    from_: Annotated[str | None, Field(alias="from", max_length=1_000)] = None
    train: Annotated[list[Text], Field(min_length=1, max_length=1_000)] | None = None
    adapt: Adapt | None = None

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

    `views` takes the place of `training.views`. Of each replicate's training images `train_percent` are shown. With
    `head_after` the head is on what that part makes, and nothing after it is there.
    """

    weights: Text
    learning_rates: Rates | None = None
    layer_decay: LayerDecay = 1.0
    phases: Annotated[list[Phase], Field(min_length=1, max_length=100)] | None = None
    views: Count | None = None
    train_percent: Annotated[float, Field(gt=0, le=100)] | None = None
    head_after: Literal["stage1", "stage2", "stage3", "stage4"] | None = None

    @property
    def depths(self) -> Sequence[Depth]:
        """What learns in each phase."""
        return self.phases or [self]

    def list_phases(self, epochs: int) -> list[Phase]:
        """Return the plan's phases, of which one that names none has one, of so many epochs."""
        if self.phases is not None:
            return self.phases
        whole = {
            "from": self.from_,
            "train": self.train,
            "adapt": self.adapt,
            "epochs": epochs,
            "learning_rates": self.learning_rates,
        }
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
    """How every plan is trained, and by whom: `workers` are processes of this machine, or the nodes of a cluster.

    Each fit is trained by `devices_per_fit` processes together, each with a GPU or a share of the cores and of every
    batch. `cache_bytes` are of memory for a prefix, `keep_bytes` of disk for finished fits.
    """

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
    class_weights: Literal["none", "balanced"]
    augmentation: Augmentation
    views: Count
    workers: Literal["local", "ray"]
    devices_per_fit: Annotated[int, Field(ge=1, le=1_000)]
    cache_bytes: Bytes
    keep_bytes: Bytes
    augmentation_seed: Seed


class Logging(Section):
    """What is written for TensorBoard. It changes no result, so no stage depends on it."""

    tensorboard: bool
    log_every: Annotated[int, Field(ge=0, le=10**9)]


class Advice(Section):
    """What the advised plan must cost little of, and how many hundredths of which metric it may give up."""

    metric: Literal["accuracy", "balanced_accuracy", "macro_f1", "nll"]
    cost: Literal["trainable_parameters", "train_flops", "train_seconds", "peak_memory_bytes"]
    margin: Annotated[float, Field(gt=0, lt=100)]


ADVISED = "advised"


class Finish(Section):
    """Which plan is trained once more, on all images, on which backbone: the advised ones, or others by their names."""

    plan: Name
    backbone: Text


def _read_finish(value: object) -> object:
    return None if value is False else value


class Params(Section):
    """All of params.yaml. Without `finish`, the study ends without a model."""

    data: Data
    study: Study
    backbones: Annotated[list[Text], Field(min_length=1, max_length=1_000)]
    plans: Annotated[dict[Name, Plan], Field(min_length=1, max_length=1_000)]
    training: Training
    advice: Advice
    finish: Annotated[Finish | None, BeforeValidator(_read_finish)]
    logging: Logging
