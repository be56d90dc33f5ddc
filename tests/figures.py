"""What a figure shows, as the renderer lays it out: its words and where they lie."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox


def find_text_boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    """Return every text that the figure shows and where it lies, in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    hidden = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        for label in (tick.label1, tick.label2)
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        or not axes.get_visible()
    }
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text not in hidden]
    # An annotation's own extent would hold its leader line too.
    boxes = [(text.get_text(), Text.get_window_extent(text, canvas.get_renderer())) for text in texts]
    return [(text, box) for text, box in boxes if text.strip()]


def find_overlaps(figure: Figure) -> list[tuple[str, str]]:
    boxes = find_text_boxes(figure)
    return [
        (first, second)
        for index, (first, box) in enumerate(boxes)
        for second, other in boxes[index + 1 :]
        if min(box.x1, other.x1) - max(box.x0, other.x0) > 1 and min(box.y1, other.y1) - max(box.y0, other.y0) > 1
    ]
