"""What the pictures of a run's inside show, in words: captions, and texts for those who do not see them."""

import numpy as np
from numpy.typing import NDArray

from frostline.constants import PARTS
from frostline.interpret.gradcam import Evidence, PartMaps
from frostline.interpret.inspection import CHANNELS, Inside
from frostline.interpret.weight_changes import Filters, Moved
from frostline.units import format_percent

Words = dict[str, str]
"""A picture's title, its caption, and the text that is told in its place."""


def describe_pictures(inside: Inside) -> dict[str, Words]:
    """Return the words of each picture that there is, in the order in which they are shown."""
    told = {}
    if inside.filters is not None:
        told["filters"] = describe_filters(inside.filters, inside.began)
    if inside.maps:
        told["maps"] = describe_maps(inside)
    return told | {"gradcam": describe_evidence(inside), "moved": describe_movements(inside.moved, inside.began)}


def list_notes(inside: Inside) -> list[str]:
    """Return in sentences what of this network there is no picture of."""
    name, notes = inside.run.backbone, []
    if inside.filters is None:
        notes.append(f"The first layer of {name} does not see colours: it has no filters to show.")
    if not inside.maps:
        notes.append(f"{name} keeps no places, as its parts give one vector: there are no maps of what it finds.")
    if inside.evidence is None:
        notes.append(f"Nothing in {name} tells places apart: Grad-CAM cannot say where its evidence lies.")
    return notes


def describe_filters(found: Filters, began: str) -> Words:
    """Return what the picture of the filters tells."""
    most = float(np.abs(found.after - found.before).max())
    change = f"by at most {most:.2g} a weight" if most else "exactly nothing"
    side = found.before.shape[-1]
    return {
        "title": "What it looks for",
        "caption": "The filters of the first layer, the same for every image: each weight's red, green and blue as a "
        "colour, grey where it is 0. To the right what training changed, on a scale of its own: "
        f"{change}.",
        "told": f"{len(found.indices)} of {found.of} filters, {side} x {side}, as tiles: with {began} weights, after "
        f"training, and the difference: {change}, where the largest weight is {np.abs(found.after).max():.2g}.",
    }


def describe_maps(inside: Inside) -> Words:
    """Return what the picture of the activation maps tells."""
    told = "; ".join(
        f"{maps.part}, {_format_size(maps.after)} places, {_format_difference(maps)}" for maps in inside.maps
    )
    without = [part for part in PARTS if part not in {"head", *(maps.part for maps in inside.maps)}]
    more = f" {', '.join(without)}: one vector, no places." if without else ""
    return {
        "title": "What it finds",
        "caption": f"The responses of {CHANNELS} channels at the end of each part to one image, {inside.mapped.name}, "
        f"with {inside.began} weights and after training: those that then differ the most from place to place. Red is "
        "a positive response, blue a negative one.",
        "told": f"Activation maps of {inside.mapped.name}, before and after training: {told}.{more}",
    }


def _format_difference(maps: PartMaps) -> str:
    return f"which differ by {format_percent(maps.difference)}" if maps.difference else "which are the same"


def _format_size(values: NDArray[np.float32]) -> str:
    return f"{values.shape[-2]} x {values.shape[-1]}"


def describe_evidence(inside: Inside) -> Words:
    """Return what the picture of the cases tells, with Grad-CAM where the network keeps places."""
    evidence, told = inside.evidence, []
    for place, case in enumerate(inside.cases):
        actual = "" if case.actual is None else f"truly {inside.run.classes[case.actual]}, "
        lies = "" if evidence is None else f", {locate_evidence(evidence.heat[place])}"
        predicted = inside.run.classes[case.predicted]
        told.append(f"{case.name}: {actual}taken for {predicted} ({case.confidence:.3f}){lies}")
    return {
        "title": "What it goes by",
        "caption": _explain_evidence(evidence) + _explain_choice(inside),
        "told": f"Images and what they are taken for. {'; '.join(told)}.",
    }


def _explain_evidence(evidence: Evidence | None) -> str:
    if evidence is None:
        return "Images and what they are taken for."
    return (
        "Below or beside each image, the brighter the more, where the network found what speaks for the class that it "
        f"takes it for (Grad-CAM). {evidence.block} tells {_format_size(evidence.heat)} places apart: nothing finer is "
        "known."
    )


def _explain_choice(inside: Inside) -> str:
    if len(inside.groups) < 2 and inside.cases[0].actual is None:
        return ""
    return (
        f" They are the test images of replicate {inside.replicate} of whose class it was surest, wrongly and rightly."
    )


def locate_evidence(heat: NDArray[np.float32]) -> str:
    """Return in which ninth of the image (height x width) the evidence is strongest, in words."""
    if not heat.any():
        return "for which nothing speaks"
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    down = ("upper", "middle", "lower")[int(3 * (row + 0.5) / heat.shape[0])]
    across = ("left", "centre", "right")[int(3 * (column + 0.5) / heat.shape[1])]
    return f"evidence strongest in the {'centre' if (down, across) == ('middle', 'centre') else f'{down} {across}'}"


def describe_movements(moved: list[Moved], began: str) -> Words:
    """Return what the picture of the movement tells."""
    told = "; ".join(f"{part.part} {describe_movement(part)}" for part in moved)
    return {
        "title": "How far it moved",
        "caption": f"The norm of what training changed in each part, as a share of the norm of its {began} weights. "
        "What was frozen stands at exactly 0. The head began new, with its replicate's random weights.",
        "told": f"Relative norm of what changed, by part: {told}.",
    }


def describe_movement(moved: Moved) -> str:
    """Return in words how far a part moved."""
    if moved.relative_norm is None:
        return "no parameters"
    if not moved.trainable:
        return f"{moved.relative_norm:.3g}{'' if moved.relative_norm else ' exactly'}, frozen"
    return f"{moved.relative_norm:.3g}{'' if moved.trainable == moved.parameters else ', some of it learned'}"
