"""What a suffix is fed, as pixels or by way of a prefix."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from timm.layers import Conv2dSame
from torch import Tensor, nn

from frostline.backbones.folding import prepare_prefix
from frostline.backbones.inference import (
    SMALLEST_PREFIX_BATCH,
    Images,
    Inputs,
    LiveInputs,
    PrefixedInputs,
    compute_beside,
    size_prefix_batch,
    split_batches,
)
from frostline.backbones.precision import SameConvolution
from frostline.backbones.registry import build_backbone, scale_pixels
from frostline.constants import BACKBONES
from frostline.data.augmentation import Augmenter
from frostline.data.images import Rows
from frostline.errors import InputError
from frostline.networks.catalog import ARCHITECTURES
from frostline.params.schema import Training
from tests.toys import FLIPPED

CPU = torch.device("cpu")
SMALLEST_BATCH = next(rule.ge for rule in Training.model_fields["batch_size"].metadata)
SLOW = ("vit_b_16",)  # sees nothing smaller than 224 px

every_architecture = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in ARCHITECTURES]
)


def photos(count: int, side: int = 32) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def asked(inputs: Inputs, batches: Sequence[Rows], view: int | None) -> list[Tensor]:
    return list(inputs(batches, view))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18", "inception_v3"])
@pytest.mark.parametrize("view", [None, 1])
def test_live_inputs_are_the_scaled_pixels_of_the_rows_augmented_where_a_view_is_asked_for(
    name: str, view: int | None
) -> None:
    images, batches = photos(5), [np.array([4, 0, 2]), np.array([1, 4])]
    augmented = Augmenter.of(["a", "b", "c", "d", "e"], FLIPPED, 3)
    found = asked(LiveInputs(Images.hold(images, CPU), name, augmented), batches, view)
    for rows, pixels in zip(batches, found, strict=True):
        plain = torch.from_numpy(images[rows])
        assert torch.equal(pixels, scale_pixels(name, plain if view is None else augmented(plain, rows, view)))
        assert pixels.is_contiguous(memory_format=torch.channels_last)


class Telling(nn.Module):
    """A prefix that hands on the first pixel of each image, and notes how many it was shown at once."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[int] = []

    def forward(self, pixels: Tensor) -> Tensor:
        """Return N x 1."""
        self.shown.append(len(pixels))
        return pixels[:, 0, 0, :1]


def count_up(batches: Sequence[Rows], view: int | None) -> Iterator[Tensor]:
    """Yield 1 x 1 pictures by which a row can be told: a thousand times the view, plus the row."""
    for rows in batches:
        yield torch.from_numpy(rows).float().view(-1, 1, 1, 1) + 1000.0 * (view or 0)


sizes = {"count": st.integers(1, 600), "batch_size": st.integers(SMALLEST_BATCH, 64)}


@settings(max_examples=100)
@given(image_px=st.sampled_from([32, 96, 224, 448]), view=st.sampled_from([None, 0, 3]), **sizes)
def test_prefixed_inputs_come_batch_by_batch_as_asked_for_however_many_run_through_the_prefix_at_once(
    image_px: int, view: int | None, count: int, batch_size: int
) -> None:
    prefix, batches = Telling(), split_batches(np.random.default_rng(0).permutation(count), batch_size)
    found = asked(PrefixedInputs(prefix, count_up, image_px, "float32", CPU), batches, view)
    assert [batch.flatten().tolist() for batch in found] == [(rows + 1000 * (view or 0)).tolist() for rows in batches]
    assert min(prefix.shown) >= SMALLEST_PREFIX_BATCH
    assert max(prefix.shown) <= max(size_prefix_batch(image_px, CPU), batch_size)
    if SMALLEST_PREFIX_BATCH not in prefix.shown:  # else some may have been filled up to be as many
        assert sum(prefix.shown) == count


def test_a_prefix_is_not_run_before_its_output_is_asked_for() -> None:
    prefix = Telling()
    stream = PrefixedInputs(prefix, count_up, 224, "float32", CPU)(split_batches(np.arange(256), 32), None)
    assert prefix.shown == []
    next(stream)
    assert prefix.shown == [32]


@pytest.mark.parametrize("_threads", [1, 2], indirect=True)
@pytest.mark.usefixtures("_threads")
@given(count=st.integers(1, 600), size=st.integers(1, 100))
def test_inputs_that_are_made_side_by_side_come_in_the_order_asked_for_and_leave_the_threads_as_they_were(
    count: int, size: int
) -> None:
    batches, threads = split_batches(np.random.default_rng(0).permutation(count), size), torch.get_num_threads()
    found = [*compute_beside(count_up, batches, 3, CPU)]
    assert [batch.flatten().tolist() for batch in found] == [(rows + 3000).tolist() for rows in batches]
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("_threads", [2], indirect=True)
@pytest.mark.usefixtures("_threads")
def test_what_is_made_side_by_side_is_made_one_thread_each_and_no_more_than_is_soon_asked_for() -> None:
    seen: list[int] = []

    def noting(batches: Sequence[Rows], view: int | None) -> Iterator[Tensor]:
        seen.append(torch.get_num_threads())
        yield from count_up(batches, view)

    stream = compute_beside(noting, split_batches(np.arange(1600), 16), None, CPU)
    next(stream)
    assert len(seen) <= 4
    rest = [*stream]
    assert (len(rest), set(seen)) == (99, {1})


def test_an_error_in_what_is_made_side_by_side_reaches_who_asked() -> None:
    def broken(batches: Sequence[Rows], _view: int | None) -> Iterator[Tensor]:
        raise InputError.of("data/prepared", "be whole", "half")
        yield from batches

    with pytest.raises(InputError, match="half"):
        list(compute_beside(broken, split_batches(np.arange(200), 16), None, CPU))


same = {"kernel": st.integers(1, 7), "stride": st.integers(1, 3), "sides": st.tuples(*[st.integers(1, 20)] * 2)}


@given(**same, dilation=st.integers(1, 2), groups=st.sampled_from([1, 4]))
def test_same_padding_without_a_padded_copy_is_timms(
    kernel: int, stride: int, sides: tuple[int, int], dilation: int, groups: int
) -> None:
    torch.manual_seed(0)
    conv = Conv2dSame(4, 8, kernel, stride, dilation=dilation, groups=groups).double()
    images = torch.randn(2, 4, *sides).double()
    torch.testing.assert_close(SameConvolution(conv)(images), conv(images))


@every_architecture
def test_a_whole_backbone_folded_for_evaluation_gives_its_own_logits(name: str) -> None:
    backbone, side = stirred(name), max(32, BACKBONES[name][0])
    pixels = scale_pixels(name, torch.from_numpy(photos(4, side)))
    folded = prepare_prefix(backbone, "float32")
    with torch.no_grad():
        torch.testing.assert_close(folded(pixels), backbone(pixels), rtol=1e-3, atol=1e-4)


def test_prefixed_inputs_keep_no_graph() -> None:
    prefix = nn.Conv2d(1, 1, 1)
    (output,) = asked(PrefixedInputs(prefix, count_up, 1, "float32", CPU), [np.arange(20)], 0)
    assert not output.requires_grad


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_a_prefix_computes_in_the_precision_that_is_asked_for(precision: str, dtype: torch.dtype) -> None:
    (output,) = asked(PrefixedInputs(nn.Conv2d(1, 1, 1), count_up, 1, precision, CPU), [np.arange(20)], None)
    assert output.dtype == dtype


def stirred(name: str) -> nn.Sequential:
    """Return an untrained backbone in eval mode in which no statistic, bias or scale is trivial."""
    torch.manual_seed(0)
    backbone = build_backbone(name, "none", 2).to(memory_format=torch.channels_last).eval()
    for key, tensor in backbone.state_dict().items():
        if key.endswith(("running_mean", "bias")):
            tensor.normal_(std=0.1)
        elif key.endswith(("running_var", "layer_scale")):
            tensor.uniform_(0.5, 1.5)
    return backbone


@pytest.mark.parametrize(
    ("precision", "_threads"), [("float32", 1), ("float32", 2), ("bfloat16", 1)], indirect=["_threads"]
)
@pytest.mark.usefixtures("_threads")
@every_architecture
def test_each_block_makes_the_same_of_an_image_bit_for_bit_in_batches_of_16_and_more_in_any_order(
    name: str, precision: str
) -> None:
    side, shuffled = max(32, BACKBONES[name][0]), np.random.default_rng(1).permutation(48)
    held = scale_pixels(name, torch.from_numpy(photos(48, side)))

    def rows_of(batches: Sequence[Rows], _view: int | None) -> Iterator[Tensor]:
        for rows in batches:
            yield held[torch.from_numpy(rows)]

    for part, blocks in list(stirred(name).named_children())[:-1]:
        for place, block in blocks.named_children():
            inputs = PrefixedInputs(block, rows_of, side, precision, CPU)
            (together,) = asked(inputs, [np.arange(48)], None)
            for rows in (shuffled[:17], shuffled[17:33]):
                (apart,) = asked(inputs, [rows], None)
                assert torch.equal(apart, together[torch.from_numpy(rows)]), f"{part}.{place}"
            held = together


@settings(max_examples=200)
@given(**sizes)
def test_batches_hold_every_row_once_and_in_order(count: int, batch_size: int) -> None:
    rows = np.random.default_rng(count).permutation(count)
    assert np.concatenate(split_batches(rows, batch_size)).tolist() == rows.tolist()


@settings(max_examples=200)
@given(**sizes)
def test_batches_are_at_most_the_batch_size_and_nearly_equal(count: int, batch_size: int) -> None:
    lengths = [len(batch) for batch in split_batches(np.arange(count), batch_size)]
    assert max(lengths) <= batch_size
    assert max(lengths) - min(lengths) <= 1


@settings(max_examples=500)
@given(**sizes)
def test_no_batch_size_that_params_allow_leaves_one_image_alone(count: int, batch_size: int) -> None:
    lengths = [len(batch) for batch in split_batches(np.arange(count), batch_size)]
    assert min(lengths) >= 2 or count <= batch_size
