"""Small models to be frozen, trained and audited."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def toy() -> nn.Sequential:
    """Return a frozen stem with BatchNorm that stands still, and a head that learns."""
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("stem", nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).requires_grad_(False).eval())
    model.add_module("head", nn.Sequential(nn.Linear(3, 2)))
    return model


def points() -> Tensor:
    return torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 4.0], [6.0, 8.0]])


def learner(model: nn.Module) -> torch.optim.Optimizer:
    """Return an optimizer as it should be made, which decays the weights that it is given."""
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, shown: Tensor) -> None:
    functional.cross_entropy(model(shown), torch.arange(len(shown)) % 2).backward()
    optimizer.step()


class Scaled(nn.Module):
    """A root module that has a parameter and a buffer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("offset", torch.zeros(2))
        self.head = nn.Linear(2, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits."""
        return self.head(pixels * self.scale + self.offset)
