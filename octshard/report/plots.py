"""Plots as inline SVG: lines, and intervals over one axis."""

import math
from collections.abc import Mapping, Sequence

from octshard.report.page import Html, escaped, figure

COLOURS = ("#1f5fa8", "#c2571a", "#2b7a4b", "#8a3f8f", "#7a6a1f", "#3b7f8c")
Line = tuple[Sequence[float], Sequence[float]]


def line_plot(series: Mapping[str, Line], x_label: str, y_label: str, caption: str) -> Html:
    """Name -> (xs, ys) as lines over linear axes, as SVG with a legend; only finite points are drawn."""
    lines = {name: _finite(xs, ys) for name, (xs, ys) in series.items()}
    everything = [point for points in lines.values() for point in points]
    if not everything:
        return Html(f"<p>{escaped(caption or y_label)}: nothing to plot.</p>")
    frame = _Frame(500, 260, (60, 12, 10, 42), [p[0] for p in everything], [p[1] for p in everything])
    body = [frame.axes(x_label, y_label)]
    for i, points in enumerate(lines.values()):
        colour = COLOURS[i % len(COLOURS)]
        places = [(frame.x(x), frame.y(y)) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        if len(places) <= 12:
            body += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
    legend = "".join(
        f'<span><b style="color:{COLOURS[i % len(COLOURS)]}">&#9644;</b> {escaped(name)}</span>'
        for i, name in enumerate(lines)
    )
    return figure(f'{frame.svg(body, y_label)}<div class="legend">{legend}</div>', caption)


def interval_plot(
    rows: Mapping[str, tuple[float, float, float]], x_label: str, mark: float, caption: str
) -> Html:
    """Name -> (value, low, high) as dots with whiskers over one axis, and a dashed line at `mark`."""
    shown = {name: v for name, v in rows.items() if all(map(math.isfinite, v))}
    if not shown:
        return Html(f"<p>{escaped(caption or x_label)}: nothing to plot.</p>")
    step, width = 30, 500
    height = step * len(shown) + 56
    span = [mark, *(bound for v in shown.values() for bound in v)]
    frame = _Frame(width, height, (124, 14, 8, 44), span, [0.0, float(len(shown))])
    body = [frame.axes(x_label, "")]
    at = frame.x(mark)
    bottom = frame.bottom
    body.append(f'<path d="M{at:.1f} 8V{bottom:.1f}" stroke="#8a93a3" stroke-dasharray="4 4" fill="none"/>')
    for i, (name, (value, low, high)) in enumerate(shown.items()):
        y, colour = 8 + step * (i + 0.5), COLOURS[i % len(COLOURS)]
        body.append(
            f'<text x="116" y="{y + 4:.1f}" text-anchor="end">{escaped(name)}</text>'
            f'<path d="M{frame.x(low):.1f} {y:.1f}H{frame.x(high):.1f}" stroke="{colour}" stroke-width="3"/>'
            f'<circle cx="{frame.x(value):.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>'
        )
    return figure(frame.svg(body, x_label), caption)


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` + 1 round numbers (1, 2 or 5 times a power of ten apart) within [low, high]."""
    if not high > low:
        return [low]
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


class _Frame:
    """Maps data to the pixels of a plot of `width` x `height` with margins (left, right, top, bottom)."""

    def __init__(
        self,
        width: int,
        height: int,
        margins: tuple[int, int, int, int],
        xs: Sequence[float],
        ys: Sequence[float],
    ) -> None:
        self.width, self.height = width, height
        self.left, right, self.top, below = margins
        self.right, self.bottom = width - right, height - below
        self.x_range, self.y_range = _widened(min(xs), max(xs)), _widened(min(ys), max(ys))

    def x(self, value: float) -> float:
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)

    def axes(self, x_label: str, y_label: str) -> str:
        """Grid lines, tick labels and names; the y ticks only with a `y_label`."""
        parts = [f'<path d="M{self.left} {self.bottom}H{self.right}" stroke="#8a93a3" fill="none"/>']
        for value in ticks(*self.x_range, 6):
            x = self.x(value)
            parts.append(f'<path d="M{x:.1f} {self.top}V{self.bottom}" stroke="#eceff4" fill="none"/>')
            parts.append(f'<text x="{x:.1f}" y="{self.bottom + 16}" text-anchor="middle">{value:g}</text>')
        for value in ticks(*self.y_range, 7) if y_label else ():
            y = self.y(value)
            parts.append(f'<path d="M{self.left} {y:.1f}H{self.right}" stroke="#eceff4" fill="none"/>')
            parts.append(f'<text x="{self.left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
        middle = (self.left + self.right) / 2
        parts.append(
            f'<text x="{middle:.0f}" y="{self.height - 8}" text-anchor="middle">{escaped(x_label)}</text>'
        )
        if y_label:
            centre = (self.top + self.bottom) / 2
            parts.append(
                f'<text x="14" y="{centre:.0f}" transform="rotate(-90 14 {centre:.0f})" '
                f'text-anchor="middle">{escaped(y_label)}</text>'
            )
        return "".join(parts)

    def svg(self, body: Sequence[str], label: str) -> str:
        return (
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escaped(label)}">'
            + "".join(body)
            + "</svg>"
        )


def _widened(low: float, high: float) -> tuple[float, float]:
    """The range with a margin at both ends, also for a single value."""
    room = (high - low) * 0.03 or abs(low) * 0.05 or 1.0
    return low - room, high + room


def _finite(xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
    pairs = zip(xs, ys, strict=True)
    return [(float(x), float(y)) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]
