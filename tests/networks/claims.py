"""What must hold for every network: its parts are it, nothing is in two of them, and freezing is what it says."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from frostline.backbones.audit import audit, digest_frozen
from frostline.backbones.freezing import apply_plan, count_by_part, cut_at_boundary
from frostline.backbones.registry import build_original_classifier, cut_into_parts, replace_logits
from frostline.constants import PARTS
from frostline.networks.catalog import find_architecture
from frostline.networks.segments import Segment
from frostline.params.schema import Plan

CLASSES = 3


def learn_from(name: str) -> Plan:
    return Plan.model_validate({"from": name, "weights": "none", "learning_rates": [0.001]})


class Cut:
    """A network, and the parts that it was cut into: both hold the same modules."""

    def __init__(self, name: str, px: int | None = None) -> None:
        torch.manual_seed(0)
        self.name, self.px = name, px or find_architecture(name).preprocessing().px
        self.network = build_original_classifier(name, "none", self.px)
        replace_logits(self.network, CLASSES)
        stir(self.network)
        self.twin = copy.deepcopy(self.network)
        self.parts = cut_into_parts(name, self.network, self.px)

    def draw(self, images: int = 2) -> Tensor:
        return torch.randn(images, 3, self.px, self.px, generator=torch.Generator().manual_seed(1))


def stir(model: nn.Module) -> None:
    """Give what begins with zeros or ones other numbers: what is all alike would not tell two layers apart."""
    for name, statistics in model.named_buffers():
        if name.endswith("running_var"):
            statistics.uniform_(0.5, 2.0)
        elif name.endswith("running_mean"):
            statistics.normal_(0.0, 0.1)
    for parameter in model.parameters():
        if parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all()):
            nn.init.normal_(parameter, mean=float(parameter.flatten()[0]), std=0.1)


def assert_parts_are_the_network(cut: Cut) -> None:
    """In eval mode bit for bit, and in train mode too, where both draw the same random numbers."""
    images = cut.draw()
    with torch.no_grad():
        whole = cut.twin.eval()(images)
        assert whole.shape == (2, CLASSES)
        assert torch.equal(cut.parts.eval()(images), whole)
        logits = []
        for model in (cut.twin.train(), cut.parts.train()):
            torch.manual_seed(7)
            logits.append(model(images))
        assert torch.equal(*logits)
    assert not torch.equal(whole[0], whole[1])


def assert_each_tensor_lies_in_one_part(cut: Cut) -> None:
    """And the parameters of the parts sum to those of the network."""
    own = [id(tensor) for tensor in (*cut.network.parameters(), *cut.network.buffers())]
    held = [
        id(tensor)
        for part in cut.parts.children()
        for name, tensor in (*part.named_parameters(), *part.named_buffers())
        if "_tensor_constant" not in name
    ]
    assert tuple(dict(cut.parts.named_children())) == PARTS
    assert sorted(held) == sorted(own)
    counts = count_by_part(cut.parts)
    assert sum(count.parameters for count in counts) == sum(parameter.numel() for parameter in cut.twin.parameters())


def assert_halves_are_the_whole(cut: Cut) -> int:
    """At every block where what crosses can be kept; return how many of them there are."""
    images, parts = cut.draw(), cut.parts.eval()
    apply_plan(parts, learn_from("head"))
    blocks = [block for part in parts.children() for block in part.children()]
    places = [at for at in range(1, len(blocks)) if getattr(blocks[at - 1], "crossing", None) is not None]
    with torch.no_grad():
        expected = parts.eval()(images)
        for at in places:
            prefix, suffix = cut_at_boundary(parts, cut.px, at)
            kept = prefix(images)
            assert all(len(tensor) == 2 for tensor in (kept if isinstance(kept, tuple) else (kept,)))
            assert torch.equal(suffix.eval()(kept), expected), at
    return len(places)


def assert_a_step_moves_what_learns(cut: Cut, first: str) -> None:
    """And the audit finds all else as it was."""
    parts = cut.parts
    parts.zero_grad()
    apply_plan(parts, learn_from(first))
    before, old = digest_frozen(parts), {name: tensor.clone() for name, tensor in parts.state_dict().items()}
    learned = [parameter for parameter in parts.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=0.01)
    torch.manual_seed(0)
    functional.cross_entropy(parts(cut.draw(4)), torch.arange(4) % CLASSES).backward()
    optimizer.step()
    audit(parts, before, optimizer)
    moved = {name for name, tensor in parts.state_dict().items() if not torch.equal(tensor, old[name])}
    assert {name.partition(".")[0] for name in moved} <= set(PARTS[PARTS.index(first) :])
    assert any(name.startswith("head.") for name in moved)
    with_parameters = [part for part in PARTS[PARTS.index(first) :] if [*parts.get_submodule(part).parameters()]]
    assert {name.partition(".")[0] for name in moved} >= set(with_parameters)


def count_crossing(cut: Cut) -> int:
    """Return how many values cross at most from one block to the next."""
    return max(len(block.crossing or ()) for block in cut.parts.modules() if isinstance(block, Segment))
