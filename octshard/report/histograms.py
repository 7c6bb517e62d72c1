"""Small histograms as inline SVG, one row per name over one axis, so that groups can be compared.

Narrow, so that the text is readable at phone width; the aria-label gives the same numbers in words.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from octshard.report.numbers import alike, integer
from octshard.report.page import Html, escaped, figure
from octshard.report.plots import COLOURS, ticks

WIDTH, LEFT, RIGHT = 340, 8, 332  # pixels: width of the drawing, both ends of the axis
TITLE, LABEL, BARS, GAP, AXIS = 20, 18, 26, 6, 22  # pixels: title, a row's text, bars and gap, the axis
BINS, SINGLE_VALUE_BINS = 40, 5  # approximate number; bins around a single value
MAX_NAME = 22  # characters of a name that fit


def histograms(series: Mapping[str, Sequence[float]], title: str) -> Html:
    """Name -> values, each as bars relative to its own fullest bin; values that are not finite are left out.

    A name without values keeps its row and colour, so that plots of the same names match.
    """
    finite = {name: np.array([v for v in values if math.isfinite(v)]) for name, values in series.items()}
    everything = np.concatenate([np.zeros(0), *finite.values()])
    if not len(everything):
        return figure(f"<p>{escaped(title)}: nothing to plot.</p>", "")
    edges = bin_edges(everything)
    parts, top = [f'<text x="{LEFT}" y="13" style="fill:#1c2330">{escaped(title)}</text>'], TITLE
    for i, (name, values) in enumerate(finite.items()):
        parts.append(_row(name, values, edges, top, COLOURS[i % len(COLOURS)]))
        top += LABEL + BARS + GAP
    parts.append(_axis(edges, top))
    words = "; ".join(f"{name}: {len(values)} values, {summary(values)}" for name, values in finite.items())
    label = escaped(f"{title}. {words}")
    start = f'<svg viewBox="0 0 {WIDTH} {top + AXIS}" role="img" aria-label="{label}">'
    return figure(start + "".join(parts) + "</svg>", "")


def bin_edges(values: np.ndarray) -> np.ndarray:
    """Edges of about BINS equal bins of a round width that hold all (finite) values; integers are centred."""
    low, high = float(values.min()), float(values.max())
    whole = bool(np.all(values == np.rint(values)))
    marks = ticks(0.0, high - low, BINS) if high > low else [0.0, 0.0]
    step = marks[1] - marks[0]
    if step <= 0:  # one value, or a range below float precision
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
    return integer(round(value)) if value == round(value) else f"{value:g}".replace("-", "−")


def _row(name: str, values: np.ndarray, edges: np.ndarray, top: int, colour: str) -> str:
    base, shown = top + LABEL + BARS, name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"
    parts = [
        f'<text x="{LEFT}" y="{top + 12}" style="fill:{colour};font-weight:600">{escaped(shown)}</text>'
        f'<text x="{RIGHT}" y="{top + 12}" text-anchor="end" style="font-size:11px">'
        f"{escaped(summary(values))}</text>"
    ]
    counts = np.histogram(values, _covering(edges))[0]
    for i in np.flatnonzero(counts):
        height = max(1.5, BARS * counts[i] / counts.max())  # a single scan among thousands stays visible
        x, end = _x(edges[i], edges), _x(edges[i + 1], edges)
        parts.append(
            f'<rect x="{x:.1f}" y="{base - height:.1f}" width="{max(1.0, end - x - 0.5):.1f}" '
            f'height="{height:.1f}" fill="{colour}"/>'
        )
    return "".join(parts)


def _covering(edges: np.ndarray) -> np.ndarray:
    """The edges for counting: open at both ends, because rounding may put the extremes outside."""
    return np.concatenate([[-np.inf], edges[1:-1], [np.inf]])


def _axis(edges: np.ndarray, top: int) -> str:
    parts = [f'<path d="M{LEFT} {top}H{RIGHT}" stroke="#8a93a3" fill="none"/>']
    for value in ticks(float(edges[0]), float(edges[-1]), 5):
        x = _x(value, edges)
        at = min(max(x, 16), WIDTH - 16)  # so that the outermost label is not cut
        parts.append(f'<path d="M{x:.1f} {top}v4" stroke="#8a93a3" fill="none"/>')
        parts.append(f'<text x="{at:.1f}" y="{top + 16}" text-anchor="middle">{tick_text(value)}</text>')
    return "".join(parts)


def _x(value: float, edges: np.ndarray) -> float:
    return LEFT + float((value - edges[0]) / (edges[-1] - edges[0])) * (RIGHT - LEFT)
