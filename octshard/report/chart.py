"""A chart for a page and for a paper, drawn by matplotlib: inline SVG, and PNG, SVG and CSV beside it.

Sizes are CSS pixels: a point of matplotlib is one unit of the SVG's viewBox.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.figure import Figure

from octshard.pictures import drawing
from octshard.report.page import Html, escaped, figure

COLOURS = ("#1f5fa8", "#c2571a", "#2b7a4b", "#8a3f8f", "#7a6a1f", "#3b7f8c")
INK, SOFT, GRID, AXIS = "#1c2330", "#5b6577", "#eceff4", "#8a93a3"
PX = 1 / 72  # inches
PRINT_DPI = 300
LONG = 72  # letters of a name in a legend, at most
RC: dict[Any, Any] = {
    "font.size": 12,
    "axes.edgecolor": AXIS,
    "axes.labelcolor": SOFT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=COLOURS),
    "grid.color": GRID,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "text.color": SOFT,
    "xtick.color": AXIS,
    "ytick.color": AXIS,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
}
Number = float | int | str


@dataclass(frozen=True, eq=False)
class Chart:
    """A figure and the numbers behind it. label: the same in words, for who cannot see it."""

    figure: Figure
    label: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Number, ...], ...]

    def html(self, caption: str = "") -> Html:
        """Inline SVG that fills the width it is given; `caption` may be empty."""
        svg = self._saved("svg").decode()
        width, height = self.figure.get_size_inches() / PX
        start = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escaped(self.label)}">'
        body = svg[svg.index(">", svg.index("<svg")) + 1 :]
        return figure(start + _without_idle_ids(_without_metadata(body)).strip(), caption)

    def files(self, stem: str) -> Mapping[str, bytes]:
        """Name -> content: STEM.svg and STEM.png for a paper, STEM.csv with the numbers."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.columns, *self.rows])
        return {
            f"{stem}.svg": self._saved("svg"),
            f"{stem}.png": self._saved("png"),
            f"{stem}.csv": text.getvalue().encode(),
        }

    def _saved(self, form: str) -> bytes:
        out = io.BytesIO()
        metadata = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}[form]
        with style():
            self.figure.savefig(out, format=form, dpi=PRINT_DPI, metadata=metadata)
        return out.getvalue()


@contextmanager
def style() -> Iterator[None]:
    """The look of all charts, whatever a matplotlibrc says."""
    with drawing.style():
        matplotlib.rcParams.update(RC)
        yield


def blank(width: float, height: float, label: str, message: str) -> Chart:
    """A chart of that many pixels that says why it is empty."""
    with style():
        sheet = Figure((width * PX, height * PX))
        sheet.text(0.5, 0.5, message, ha="center", va="center")
    return Chart(sheet, f"{label}: {message}", (), ())


def shown_text(text: str, most: int = LONG) -> str:
    """A name as text of a figure: `$` would begin a formula, and so many letters at most leave room for axes.

    What is longer is cut in its middle.
    """
    if len(text) > most:
        text = f"{text[: most // 2]}…{text[len(text) - most // 2 + 1 :]}"
    return text.replace("$", r"\$")


def colour_of(i: int) -> str:
    """The colour of the i-th series; they repeat."""
    return COLOURS[i % len(COLOURS)]


def by_column(series: Mapping[str, Sequence[tuple[float, ...]]]) -> tuple[tuple[Number, ...], ...]:
    """Rows of a CSV whose first column is the name of a series."""
    return tuple((name, *values) for name, points in series.items() for values in points)


def _without_metadata(svg: str) -> str:
    return re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)


def _without_idle_ids(svg: str) -> str:
    """The ids to which nothing refers are the same in every figure, and an id is unique on a page."""
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg))
    return re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used else "", svg)
