"""Words in pictures are as wide as they are drawn, and stay within their room; numbers are told as people do."""

from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from PIL import ImageFont

from frostline.plotting import measure_width, shorten_text
from frostline.units import format_cost, typeset_points


@pytest.mark.parametrize("text", ["head  0.816", "on front 97 %, advised", "stage4_last_block", "WWWW MMMM", "illicit"])
def test_words_are_measured_as_wide_as_they_are_drawn(text: str) -> None:
    folder = Path(plt.matplotlib.get_data_path()) / "fonts" / "ttf"
    for file, bold in (("DejaVuSans.ttf", False), ("DejaVuSans-Bold.ttf", True)):
        width = ImageFont.truetype(str(folder / file), 100).getlength(text)
        assert measure_width(text, 100, bold=bold) == pytest.approx(width, rel=0.02)


def test_a_name_too_long_keeps_its_beginning_and_its_end() -> None:
    short = shorten_text("efficientnet_lite0 stage4", 100, 10)
    assert short.startswith("eff")
    assert short.endswith("stage4")
    assert measure_width(short, 10, bold=True) <= 100


def test_costs_are_told_in_units_that_people_use() -> None:
    told = [
        (2_562, "trainable_parameters", "2.56 k"), (999_999, "trainable_parameters", "1 M"),
        (1.31e14, "train_flops", "131 TFLOP"), (0.342, "train_seconds", "0.342 s"),
        (9_999, "train_seconds", "9,999 s"), (1_292_689_408, "peak_memory_bytes", "1.29 GB"),
        (float("nan"), "peak_memory_bytes", "\N{EN DASH}"),
    ]  # fmt: skip
    assert [format_cost(value, cost) for value, cost, _ in told] == [words for *_, words in told]
    assert typeset_points(-0.0123) == "\N{MINUS SIGN}1.2"
