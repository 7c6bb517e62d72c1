"""Curves with bands for a paper: each a line through its points, its interval shaded.

Nothing here reads a clock or draws at random: the same curves give the same file.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from octshard.pictures import drawing
from octshard.pictures.drawing import INK, SMALL, SOFT
from octshard.pictures.figure import DPI, METADATA

SIZE_IN = (3.5, 2.6)  # one column of a journal
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito
MARKERS = "osD^vP"
LINES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Curve:
    """Points of one name: xs are shares of a whole (0.1 is shown as 10 %), lows and highs the interval."""

    name: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]


@dataclass(frozen=True)
class Axes:
    """The names of both axes, and the height at which nothing is known (0.5 for AUROC)."""

    x_label: str
    y_label: str
    chance: float


def render(curves: Sequence[Curve], axes: Axes, form: str) -> bytes:
    """The figure as a file: png, pdf or svg."""
    out = io.BytesIO()
    with drawing.style():
        draw(curves, axes).savefig(out, format=form, dpi=DPI, metadata=METADATA[form])
    return out.getvalue()


def draw(curves: Sequence[Curve], axes: Axes) -> Figure:
    """The figure: shares on a logarithmic axis; points of one share beside each other, so that all show."""
    figure = Figure(SIZE_IN, facecolor="white", layout="constrained")
    plot = figure.add_subplot()
    plot.axhline(axes.chance, color=SOFT, linewidth=0.6, linestyle=(0, (4, 3)))
    for i, curve in enumerate(curves):
        colour, shift = COLOURS[i % len(COLOURS)], 1.04 ** (i - (len(curves) - 1) / 2)
        xs = [x * shift for x in curve.xs]
        errors = [
            [y - low for y, low in zip(curve.ys, curve.lows, strict=True)],
            [high - y for y, high in zip(curve.ys, curve.highs, strict=True)],
        ]
        plot.errorbar(
            xs, curve.ys, yerr=errors, color=colour, linestyle=LINES[i // len(COLOURS) % len(LINES)],
            linewidth=1.0, elinewidth=0.8, capsize=2, marker=MARKERS[i % len(MARKERS)], markersize=3,
            label=curve.name,
        )  # fmt: skip
    plot.set_xscale("log")
    shares = sorted({x for curve in curves for x in curve.xs})
    plot.minorticks_off()
    plot.set_xticks(shares, [f"{100 * share:g} %" for share in shares])
    plot.set_xlabel(axes.x_label, fontsize=SMALL, color=INK)
    plot.set_ylabel(axes.y_label, fontsize=SMALL, color=INK)
    plot.tick_params(labelsize=SMALL, colors=INK, width=0.6, length=2)
    for side, spine in plot.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_linewidth(0.6)
    if curves:
        plot.legend(fontsize=SMALL, frameon=False)
    return figure
