"""What matplotlib's own boxes say of a drawn figure: texts on each other, outside the sheet, a legend on the data."""

from itertools import combinations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg


def drawn(figure):
    FigureCanvasAgg(figure)
    figure.canvas.draw()
    return figure


def tick_labels(axis):
    if not axis.get_visible() or not axis.axes.axison:
        return
    low, high = sorted(axis.get_view_interval())
    for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
        if low <= tick.get_loc() <= high:
            yield from (label for label in (tick.label1, tick.label2) if label.get_visible())


def texts(figure):
    """Every text that is on the sheet."""
    yield from figure.texts
    for legend in figure.legends:
        yield from legend.get_texts()
    for axes in figure.axes:
        yield from (axes.title, *axes.texts)
        if axes.axison:
            yield from (axes.xaxis.label, axes.yaxis.label)
        yield from tick_labels(axes.xaxis)
        yield from tick_labels(axes.yaxis)
        if axes.get_legend():
            yield from axes.get_legend().get_texts()


def overlap(one, other):
    """Whether two texts lie on each other; of parallel slanted ones the boxes may, the lines may not."""
    angle = one.get_rotation()
    if angle % 90 and angle == other.get_rotation():
        (x, y), radians = one.get_transform().transform(one.get_position()), np.deg2rad(angle)
        (other_x, other_y) = other.get_transform().transform(other.get_position())
        apart = abs((x - other_x) * np.sin(radians) - (y - other_y) * np.cos(radians))
        return apart < one.get_fontsize() * one.figure.dpi / 72
    return one.get_window_extent().padded(-1).overlaps(other.get_window_extent().padded(-1))


def faults(figure):
    """What overlaps or is cut off, in words; nothing for a figure that is as it should be."""
    written = [text for text in texts(drawn(figure)) if text.get_text().strip()]
    told = [f"{a.get_text()!r} on {b.get_text()!r}" for a, b in combinations(written, 2) if overlap(a, b)]
    sheet = figure.bbox.padded(2)
    for text in written:
        box = text.get_window_extent()
        if box.x0 < sheet.x0 or box.y0 < sheet.y0 or box.x1 > sheet.x1 or box.y1 > sheet.y1:
            told.append(f"{text.get_text()!r} outside the sheet")
    for axes in figure.axes:
        legend = axes.get_legend()
        if legend and any(legend.get_window_extent().padded(-1).overlaps(other.bbox) for other in figure.axes):
            told.append("a legend on a panel")
    return told
