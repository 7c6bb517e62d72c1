"""Charts of results: lines, intervals over one axis, points in a plane."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from octshard.report.chart import AXIS, INK, PX, Chart, blank, by_column, colour_of, shown_text, style

WIDTH, HEIGHT = 500, 300  # pixels
ROW, ROOM = 30, 70  # pixels: of an interval, and of the axis below them
COLUMNS, LEGEND_ROW = 3, 18  # of a legend: columns at most, pixels of a row
NAME = 40  # letters of a name beside an axis, at most
BESIDE = 1.05  # points of one share: how far apart they stand, as a factor
MARKED = 12  # a line of so few points shows them
Line = tuple[Sequence[float], Sequence[float]]
Interval = tuple[float, float, float]  # value, low, high


@dataclass(frozen=True, eq=False)
class Band:
    """What lies around a line: low and high at each of its points."""

    low: Sequence[float]
    high: Sequence[float]


def line_plot(
    series: Mapping[str, Line],
    x_label: str,
    y_label: str,
    bands: Mapping[str, Band] | None = None,
    *,
    diagonal: bool = False,
) -> Chart:
    """Name -> (xs, ys) as lines with a legend; only finite points are drawn. bands: of some of the names;
    diagonal: y = x, as chance in a ROC curve or a perfect calibration, on axes from 0 to 1.
    """
    lines = {name: _finite(line, (bands or {}).get(name)) for name, line in series.items()}
    if not any(lines.values()):
        return blank(WIDTH, HEIGHT, y_label, "nothing to plot")
    with style():
        sheet, axes = _axes(WIDTH, WIDTH if diagonal else HEIGHT, x_label, y_label)
        if diagonal:
            axes.plot([0, 1], [0, 1], color=AXIS, linestyle="--", linewidth=1)
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        for i, (name, points) in enumerate(lines.items()):
            xs, ys, lows, highs = zip(*points, strict=True) if points else ((), (), (), ())
            marker = "o" if len(points) <= MARKED else None
            axes.plot(xs, ys, color=colour_of(i), marker=marker, markersize=5, label=shown_text(name))
            if bands and name in bands:
                axes.fill_between(xs, lows, highs, color=colour_of(i), alpha=0.18, linewidth=0)
        _legend(axes, len(lines))
    columns = ("series", x_label, y_label, "low", "high")
    return Chart(sheet, f"{y_label} against {x_label}: {', '.join(lines)}", columns, by_column(lines))


def interval_plot(rows: Mapping[str, Interval], x_label: str, mark: float | None) -> Chart:
    """Name -> (value, low, high) as dots with whiskers, a row each, and a dashed line at `mark`."""
    shown = {name: v for name, v in rows.items() if math.isfinite(v[0])}
    if not shown:
        return blank(WIDTH, ROW + ROOM, x_label, "nothing to plot")
    with style():
        sheet, axes = _axes(WIDTH, ROW * len(shown) + ROOM, x_label, "")
        if mark is not None:
            axes.axvline(mark, color=AXIS, linestyle="--", linewidth=1)
        for i, (value, low, high) in enumerate(shown.values()):
            if math.isfinite(low) and math.isfinite(high):
                axes.plot([low, high], [i, i], color=colour_of(i), linewidth=3, solid_capstyle="butt")
            axes.plot([value], [i], color=colour_of(i), marker="o", markersize=9)
        axes.set_yticks(range(len(shown)), [shown_text(name, NAME) for name in shown])
        axes.tick_params("y", length=0, labelcolor=INK)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
    words = "; ".join(f"{name} {v[0]:.3f} [{v[1]:.3f}, {v[2]:.3f}]" for name, v in shown.items())
    return Chart(sheet, f"{x_label}: {words}", ("name", x_label, "low", "high"),
                 tuple((name, *v) for name, v in shown.items()))  # fmt: skip


def share_plot(
    series: Mapping[str, Line], x_label: str, y_label: str, bands: Mapping[str, Band], mark: float
) -> Chart:
    """Name -> (shares, ys) with whiskers, over a logarithmic axis of shares (0.1 is 10 %); a dashed line at
    `mark`. Points of one share stand beside each other, so that all show.
    """
    lines = {name: _finite(line, bands[name]) for name, line in series.items()}
    if not any(lines.values()):
        return blank(WIDTH, HEIGHT, y_label, "nothing to plot")
    with style():
        sheet, axes = _axes(WIDTH, HEIGHT, x_label, y_label)
        axes.axhline(mark, color=AXIS, linestyle="--", linewidth=1)
        for i, (name, points) in enumerate(lines.items()):
            xs, ys, lows, highs = zip(*points, strict=True) if points else ((), (), (), ())
            shift = BESIDE ** (i - (len(lines) - 1) / 2)
            axes.plot([x * shift for x in xs], ys, color=colour_of(i), marker="o", label=shown_text(name))
            axes.vlines([x * shift for x in xs], lows, highs, color=colour_of(i), linewidth=1.2)
        axes.set_xscale("log")
        axes.minorticks_off()
        shares = sorted({point[0] for points in lines.values() for point in points})
        axes.set_xticks(shares, [f"{100 * share:g} %" for share in shares])
        _legend(axes, len(lines))
    columns = ("series", x_label, y_label, "low", "high")
    return Chart(sheet, f"{y_label} against {x_label}: {', '.join(lines)}", columns, by_column(lines))


def scatter_plot(groups: Mapping[str, Line], x_label: str, y_label: str) -> Chart:
    """Name -> (xs, ys) as points, a colour each."""
    points = {name: _finite(line, None) for name, line in groups.items()}
    if not any(points.values()):
        return blank(WIDTH, WIDTH, y_label, "nothing to plot")
    with style():
        sheet, axes = _axes(WIDTH, WIDTH, x_label, y_label)
        for i, (name, pairs) in enumerate(points.items()):
            xs, ys = ([pair[axis] for pair in pairs] for axis in (0, 1))
            axes.scatter(xs, ys, s=14, color=colour_of(i), alpha=0.75, linewidths=0, label=shown_text(name))
        _legend(axes, len(points))
    counts = ", ".join(f"{name} ({len(pairs)})" for name, pairs in points.items())
    rows = by_column({name: [pair[:2] for pair in pairs] for name, pairs in points.items()})
    return Chart(sheet, f"Points by {x_label} and {y_label}: {counts}", ("group", x_label, y_label), rows)


def _axes(width: float, height: float, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    sheet = Figure((width * PX, height * PX), layout="constrained")
    axes = sheet.add_subplot()
    axes.set(xlabel=shown_text(x_label), ylabel=shown_text(y_label))
    return sheet, axes


def _legend(axes: Axes, names: int) -> None:
    """Below the axes, where it hides nothing; in fewer columns if names are long, on a taller sheet."""
    sheet = cast(Figure, axes.figure)
    for columns in range(min(names, COLUMNS), 0, -1):
        legend = sheet.legend(loc="outside lower left", ncols=columns, fontsize=11)
        if columns == 1 or legend.get_window_extent().width <= sheet.bbox.width:
            break
        legend.remove()
    more_rows = -(-names // columns) + names // -COLUMNS
    sheet.set_figheight(sheet.get_figheight() + more_rows * LEGEND_ROW * PX)


def _finite(line: Line, band: Band | None) -> list[tuple[float, float, float, float]]:
    """(x, y, low, high) where x and y are finite; without a band low and high are y."""
    xs, ys = line
    lows, highs = (band.low, band.high) if band else (ys, ys)
    return [
        (float(x), float(y), float(low), float(high))
        for x, y, low, high in zip(xs, ys, lows, highs, strict=True)
        if math.isfinite(x) and math.isfinite(y)
    ]
