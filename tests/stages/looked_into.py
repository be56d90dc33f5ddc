"""Small networks to look into."""

from collections import OrderedDict

import pandas as pd
import torch
from torch import nn


def in_parts(**parts: nn.Module) -> nn.Sequential:
    """Return a backbone of these parts, each of one block."""
    return nn.Sequential(OrderedDict((name, nn.Sequential(part)) for name, part in parts.items())).eval()


def linear(*rows: list[float]) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    layer.weight = nn.Parameter(torch.tensor(rows))
    return layer


def predictions(*rows: tuple[int, str, int, int, float]) -> pd.DataFrame:
    """Return predictions from rows of replicate, split, image, label and the probability of "bright"."""
    table = pd.DataFrame(rows, columns=["replicate", "split", "image", "label", "probability_bright"])
    return table.assign(probability_dark=1 - table.probability_bright)
