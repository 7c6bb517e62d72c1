"""Small histograms, one row per name over one axis, so that groups can be compared.

Narrow, so that the text is readable at phone width; the label gives the same numbers in words.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from octshard.report.chart import INK, PX, Chart, blank, colour_of, shown_text, style
from octshard.report.numbers import alike, integer

WIDTH, EDGE = 340, 10  # pixels: of the drawing, and left and right of the axis
TITLE, LABEL, BARS, GAP, AXIS_ROOM = 22, 19, 26, 6, 24  # pixels: title, a row's text, bars and gap, the axis
BINS, SINGLE_VALUE_BINS = 40, 5  # approximate number; bins around a single value
LEAST = 0.06  # of the height of a row: a single scan among thousands stays visible
OUTER = 24  # pixels: a tick so near an end has its text on the inner side
MAX_NAME = 22  # characters of a name that fit


def histograms(series: Mapping[str, Sequence[float]], title: str) -> Chart:
    """Name -> values, each as bars relative to its own fullest bin; values that are not finite are left out.

    A name without values keeps its row and colour, so that charts of the same names match.
    """
    finite = {name: np.array([v for v in values if math.isfinite(v)]) for name, values in series.items()}
    everything = np.concatenate([np.zeros(0), *finite.values()])
    if not len(everything):
        return blank(WIDTH, TITLE + LABEL, title, f"{title}: nothing to plot")
    edges = bin_edges(everything)
    counts = {name: np.histogram(values, _covering(edges))[0] for name, values in finite.items()}
    height = TITLE + len(finite) * (LABEL + BARS + GAP) + AXIS_ROOM
    with style():
        sheet = Figure((WIDTH * PX, height * PX))
        sheet.text(EDGE / WIDTH, 1 - 14 / height, shown_text(title), color=INK)
        for i, (name, values) in enumerate(finite.items()):
            top = TITLE + i * (LABEL + BARS + GAP)
            axes = _row(sheet, top, height)
            _draw(axes, counts[name], edges, colour_of(i))
            y = 1 - (top + 13) / height
            sheet.text(EDGE / WIDTH, y, shown_text(_cut(name)), color=colour_of(i), weight="bold")
            sheet.text(1 - EDGE / WIDTH, y, summary(values), ha="right", size=11)
        _draw_axis(axes)
    words = "; ".join(f"{name}: {len(values)} values, {summary(values)}" for name, values in finite.items())
    rows = [
        (name, float(edges[i]), float(edges[i + 1]), int(counts[name][i]))
        for name in finite
        for i in range(len(edges) - 1)
    ]
    return Chart(sheet, f"{title}. {words}", ("name", "from", "to", "count"), tuple(rows))


def bin_edges(values: np.ndarray) -> np.ndarray:
    """Edges of about BINS equal bins of a round width that hold all (finite) values; integers are centred."""
    low, high = float(values.min()), float(values.max())
    whole = bool(np.all(values == np.rint(values)))
    marks = MaxNLocator(BINS, steps=[1, 2, 5, 10]).tick_values(0.0, high - low)
    step = float(marks[1] - marks[0]) if high > low else 0.0
    if step <= 0 or low + step == low:  # one value, or a range below float precision
        width = 1.0 if whole else abs(low) * 0.02 or 1.0
        return low + width * (np.arange(SINGLE_VALUE_BINS + 1) - SINGLE_VALUE_BINS / 2)
    if whole and (step := max(1.0, round(step))):
        low -= 0.5  # so that no integer falls on an edge
    first = math.floor(low / step + 1e-9) * step if not whole else low
    count = max(1, math.ceil((high - first) / step - 1e-9))
    return first + step * np.arange(count + 1)


def summary(values: np.ndarray) -> str:
    """Median and range in words."""
    if not len(values):
        return "none"
    low, middle, high = alike([float(values.min()), float(np.median(values)), float(values.max())])
    return f"all {low}" if low == high else f"median {middle}, {low} to {high}"


def tick_text(value: float) -> str:
    """All digits of a tick, which is a round number."""
    return integer(round(value)) if value == round(value) else f"{value:.10g}".replace("-", "−")


def _row(sheet: Figure, top: float, height: float) -> Axes:
    bottom = 1 - (top + LABEL + BARS) / height
    return sheet.add_axes((EDGE / WIDTH, bottom, 1 - 2 * EDGE / WIDTH, BARS / height))


def _draw(axes: Axes, counts: np.ndarray, edges: np.ndarray, colour: str) -> None:
    heights = np.where(counts > 0, np.maximum(counts / max(1, counts.max()), LEAST), 0.0)
    some = np.flatnonzero(heights)
    axes.bar(edges[some], heights[some], np.diff(edges)[some], align="edge", color=colour,
             edgecolor="white", linewidth=0.3)  # fmt: skip
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1), xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)


def _draw_axis(axes: Axes) -> None:
    """The ticks of all rows, below the last; no text leaves the drawing."""
    low, high = axes.get_xlim()
    at = [float(tick) for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
    axes.set_xticks(at, [tick_text(tick) for tick in at])
    room = OUTER / WIDTH * (high - low)
    for tick, label in zip(at, axes.get_xticklabels(), strict=True):
        label.set_horizontalalignment(
            "left" if tick < low + room else "right" if tick > high - room else "center"
        )


def _covering(edges: np.ndarray) -> np.ndarray:
    """The edges for counting: open at both ends, because rounding may put the extremes outside."""
    return np.concatenate([[-np.inf], edges[1:-1], [np.inf]])


def _cut(name: str) -> str:
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"
