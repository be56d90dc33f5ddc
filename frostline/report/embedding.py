"""Pictures inside the page: as they are, or with points that can be pointed at, tapped and reached by Tab."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure

from frostline.plotting import write_svg
from frostline.report.points import Point, View

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", XLINK)


@dataclass(frozen=True)
class Tip:
    """What a point tells when it is pointed at, in lines, and where it stands, in per cent of the picture."""

    lines: tuple[str, ...]
    x: float
    y: float


@dataclass(frozen=True)
class Tradeoff:
    """A picture of scores over a cost as SVG, and a tip for each point, along the cost."""

    svg: str
    tips: list[Tip]


def embed_picture(picture: Path) -> str:
    """Return the SVG file as a URL that holds it."""
    return "data:image/svg+xml;base64," + base64.b64encode(picture.read_bytes()).decode("ascii")


def embed_tradeoff(figure: Figure, view: View, name: str) -> Tradeoff:
    """Return the picture with each point a thing to focus; the name tells its ids from those of others in the page."""
    points = view.points
    written = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none"}):  # words of a page can be found and copied
        write_svg(figure, written)
    root = ElementTree.fromstring(written.getvalue())  # noqa: S314 (matplotlib wrote it)
    _drop_metadata(root)
    root.attrib.pop("height")
    root.attrib |= {"class": "tradeoff", "role": "group"}
    root.set("aria-label", f"{view.score}, over {view.cost}, of each plan")
    axes = next(element for element in root.iter() if element.get("id") == "axes_1")
    order = sorted(range(len(points)), key=lambda index: points[index].cost)
    groups = [_group_parts(axes, index) for index in order]
    for element in axes:
        element.set("aria-hidden", "true")
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    tips = []
    for place, (index, group) in enumerate(zip(order, groups, strict=True), start=1):
        told = describe_point(points[index])
        group.attrib |= {"class": f"point p{place}", "tabindex": "0", "role": "img", "aria-label": told}
        axes.append(group)
        use = next(group[-1].iter(f"{{{SVG}}}use"))
        x, y = (100 * float(use.attrib[key]) / side for key, side in (("x", width), ("y", height)))
        tips.append(Tip(list_numbers(points[index]), x, y))
    _rename_ids(root, name)
    return Tradeoff(ElementTree.tostring(root, encoding="unicode"), tips)


def _group_parts(axes: ElementTree.Element, index: int) -> ElementTree.Element:
    """Return the parts of the point in a group of their own, its mark last, and take them out of the axes."""
    parts = [element for element in axes if element.get("id", "").startswith(f"point-{index}-")]
    group = ElementTree.Element(f"{{{SVG}}}g")
    for part in parts:
        part.set("class", part.attrib["id"].rpartition("-")[2])
        for element in part.iter():  # the page says when it is seen
            if "style" in element.attrib:
                element.set("style", element.attrib["style"].removesuffix("; stroke-opacity: 0"))
        axes.remove(part)
        group.append(part)
    return group


def _drop_metadata(root: ElementTree.Element) -> None:
    for element in root.findall(f"{{{SVG}}}metadata"):
        root.remove(element)


def _rename_ids(root: ElementTree.Element, name: str) -> None:
    """Let each id, and what refers to it, begin with the name."""
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == f"{{{XLINK}}}href" or value.startswith("url(#"):
                element.set(key, value.replace("#", f"#{name}-", 1))


def describe_point(point: Point) -> str:
    """Return all numbers of a point in one sentence, for those who do not see it."""
    return f"{point.name}{f', {point.mark}' if point.mark else ''}: {'; '.join(point.lines)}."


def list_numbers(point: Point) -> tuple[str, ...]:
    """Return all numbers of a point in lines, for those who point at it."""
    return (point.name, *point.lines, *([point.mark] if point.mark else []))
