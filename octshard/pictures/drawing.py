"""The pieces of pictures: a B-scan with lines around its tokens, the en face view, scale bars, the legend."""

import bisect
import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.textpath import TextPath

from octshard.pictures.model_view import ModelView, token_grid
from octshard.pictures.panels import BAND, CONTEXT, OTHER, PADDING, TARGET, Outline, Panel, whole_tokens

INK, SOFT, RIM = "#1c2330", "#5b6577", "#a9b2c0"
CROP, PLACE = "#56b4e9", "#f0e442"  # of Okabe and Ito's palette, as those of the panels
SMALL, NORMAL, LARGE = 6.0, 7.0, 8.5  # points
FAMILY = "DejaVu Sans"  # comes with matplotlib
RC: dict[Any, Any] = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "octshard"}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
BARS_MM = (5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
LEFT_IN, MARGIN_IN, GAP_IN = 1.6, 0.1, 0.08  # inches: the column of the en face view, and around it
TOP_IN, TITLE_IN, LEGEND_IN = 0.42, 0.19, 0.75  # the head of a sheet, the title of a panel, the legend
ROOM_IN = LEFT_IN + 3 * MARGIN_IN  # of the width, everything beside the panels


@contextmanager
def style() -> Iterator[None]:
    """What a matplotlibrc of the user says changes no picture; text of vector files stays text."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        yield


@dataclass(frozen=True)
class Box:
    """A place on the figure, inches from its upper left corner."""

    left: float
    top: float
    width: float
    height: float


def sheet(view: ModelView, width: float, rows_in: float, shown: Sequence[int]) -> Figure:
    """A figure `width` inches wide with its head, the en face view and the legend, and room for panels."""
    en_face = _en_face_box(view, max(rows_in - TITLE_IN - LEGEND_IN, 1.0))
    high = max(rows_in, TITLE_IN + en_face.height + LEGEND_IN)
    figure = Figure((width, TOP_IN + high + MARGIN_IN), facecolor="white")
    room = width - 2 * MARGIN_IN
    text(figure, (MARGIN_IN, 0.17), _cut(view.title, room, LARGE, "bold"), size=LARGE, weight="bold")
    text(figure, (MARGIN_IN, 0.32), _cut(view.detail, room, SMALL, "normal"), size=SMALL, colour=SOFT)
    text(figure, (MARGIN_IN, en_face.top - 0.045), "En face: mean over depth", size=NORMAL, weight="bold")
    _draw_en_face(axes_at(figure, en_face), view, shown)
    _legend(figure, view, en_face.top + en_face.height + 0.1)
    return figure


def axes_at(figure: Figure, box: Box) -> Axes:
    """Axes without ticks or a frame."""
    wide, high = figure.get_size_inches()
    bottom = 1 - (box.top + box.height) / high
    axes = figure.add_axes((box.left / wide, bottom, box.width / wide, box.height / high))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes


def extent_mm(view: ModelView) -> tuple[float, float, float]:
    """Of the valid tokens, whole ones, along D, H, W."""
    size = whole_tokens(token_grid(view.shape, view.patch), view.patch)
    d, h, w = (n * step for n, step in zip(size, view.step_mm, strict=True))
    return d, h, w


def panel_size(view: ModelView, widest: float, tallest: float) -> tuple[float, float]:
    """Inches (width, height) of a B-scan in true proportions."""
    _, high, wide = extent_mm(view)
    scale = min(widest / wide, tallest / high)
    return wide * scale, high * scale


def _en_face_box(view: ModelView, tallest: float) -> Box:
    """The place of the en face view in true proportions."""
    d, w = view.en_face.picture_DW.shape
    high, wide = d * view.step_mm[0], w * view.step_mm[2]
    scale = min(LEFT_IN / wide, tallest / high)
    return Box(MARGIN_IN, TOP_IN + TITLE_IN, wide * scale, high * scale)


def draw_panel(axes: Axes, view: ModelView, kind: Panel, plane: int) -> None:
    """One B-scan in mm, with the lines around its tokens."""
    _, high, wide = extent_mm(view)
    axes.imshow(kind.pixels(plane), extent=(0, wide, high, 0), aspect="auto")
    for outline in kind.outlines(plane):
        axes.add_collection(_lines(view, outline))
    axes.set(xlim=(0, wide), ylim=(high, 0))


def _draw_en_face(axes: Axes, view: ModelView, shown: Sequence[int]) -> None:
    """The stored volume from the front, what the crop takes of it, and where the B-scans lie."""
    step_d, _, step_w = view.step_mm
    picture_DW, (d, w) = view.en_face.picture_DW, view.en_face.picture_DW.shape
    low, high = np.percentile(picture_DW, (1, 99))
    axes.imshow(
        picture_DW, cmap="gray", vmin=low, vmax=max(high, low + 1e-6),
        extent=(0, w * step_w, d * step_d, 0), aspect="auto",
    )  # fmt: skip
    left, width = view.en_face.first_W * step_w, view.shape[2] * step_w
    top, tall = view.en_face.first_D * step_d, view.shape[0] * step_d
    axes.add_patch(Rectangle((left, top), width, tall, fill=False, edgecolor=CROP, linewidth=1.5))
    for number, plane in enumerate(shown):
        y = top + (view.source_D[plane] + 0.5) * step_d
        axes.plot([left, left + width], [y, y], color=PLACE, linewidth=0.9)
        if len(shown) > 1:
            _label(axes, left + 0.02 * w * step_w, y, LETTERS[number])
    axes.set(xlim=(0, w * step_w), ylim=(d * step_d, 0))
    _scale_bar(axes, view, (w * step_w, d * step_d))


def scale_bar(axes: Axes, view: ModelView) -> None:
    """The bar of a B-scan."""
    _, high, wide = (n * step for n, step in zip(view.shape, view.step_mm, strict=True))
    _scale_bar(axes, view, (wide, high))


def _scale_bar(axes: Axes, view: ModelView, size_mm: tuple[float, float]) -> None:
    """A bar in the lower left corner of (width, height) mm; none where the spacing is not known."""
    width, height = size_mm
    length = next((mm for mm in BARS_MM if mm <= width / 3), None)
    if view.spacing_mm is None or length is None:
        return
    x, y = 0.04 * width, height - 0.1 * axes.get_ylim()[0]
    axes.plot(
        [x, x + length], [y, y], color="white", linewidth=1.8, solid_capstyle="butt",
        path_effects=[withStroke(linewidth=3, foreground="black")],
    )  # fmt: skip
    axes.text(
        x + length + 0.02 * width, y, f"{length:g} mm", va="center_baseline",
        path_effects=[withStroke(linewidth=1.5, foreground="black")], **_font(SMALL, color="white"),
    )  # fmt: skip


def _legend(figure: Figure, view: ModelView, top: float) -> None:
    """What the colours mean, below the en face view."""
    wide, high = figure.get_size_inches()
    handles = [
        Patch(facecolor="none", edgecolor=CROP, linewidth=1.5, label="crop"),
        Patch(facecolor="none", edgecolor=CONTEXT, linewidth=1.5, label="context tokens"),
        Patch(facecolor=TARGET, label="target tokens"),
        Patch(facecolor=OTHER, edgecolor=RIM, linewidth=0.5, label="other tokens"),
    ]
    if view.band_dhw is not None:
        handles.append(Patch(facecolor="none", edgecolor=BAND, linewidth=1.5, label="retinal band"))
    if whole_tokens(token_grid(view.shape, view.patch), view.patch)[1:] != view.shape[1:]:
        handles.append(Patch(facecolor=PADDING, edgecolor=RIM, linewidth=0.5, label="padding"))
    figure.legend(
        handles=handles, loc="upper left", frameon=False, borderaxespad=0, borderpad=0, handlelength=1.6,
        labelspacing=0.5, bbox_to_anchor=(MARGIN_IN / wide, 1 - top / high),
        prop={"family": FAMILY, "size": SMALL}, labelcolor=INK,
    )  # fmt: skip


def letter(axes: Axes, name: str) -> None:
    """The B-scan's letter in the upper left corner."""
    right, bottom = axes.get_xlim()[1], axes.get_ylim()[0]
    _label(axes, 0.03 * right, 0.16 * bottom, name)


def text(
    figure: Figure,
    place: tuple[float, float],
    words: str,
    *,
    size: float,
    weight: str = "normal",
    colour: str = INK,
) -> None:
    """place: left end and baseline, inches from the upper left corner."""
    wide, high = figure.get_size_inches()
    figure.text(place[0] / wide, 1 - place[1] / high, words, parse_math=False, **_font(size, weight, colour))


@functools.lru_cache(maxsize=16)
def _cut(words: str, room: float, size: float, weight: str) -> str:
    """`words`, or as much of their beginning as is `room` inches wide."""
    font = FontProperties(family=FAMILY, weight=weight)

    def width(part: str) -> float:
        part = part.replace("$", "0")  # as wide, and no beginning of a formula
        return float(TextPath((0, 0), part, size=size, prop=font, usetex=False).get_extents().width) / 72

    if width(words) <= room:
        return words
    lengths = range(1, len(words) + 1)
    count = bisect.bisect_right(lengths, room, key=lambda n: width(words[:n] + "…"))
    return words[:count] + "…"


def _font(size: float, weight: str = "normal", color: str = INK) -> dict[str, Any]:
    return {"fontfamily": FAMILY, "fontsize": size, "fontweight": weight, "color": color}


def _label(axes: Axes, x: float, y: float, name: str) -> None:
    axes.text(
        x, y, name, va="center_baseline", path_effects=[withStroke(linewidth=1.5, foreground="black")],
        **_font(NORMAL, "bold", PLACE),
    )  # fmt: skip


def _lines(view: ModelView, outline: Outline) -> LineCollection:
    """Lines between flagged tokens and others, in mm."""
    _, tall, wide = (size * step for size, step in zip(view.patch, view.step_mm, strict=True))
    flags_hw = np.pad(outline.flags_hw, 1)
    rows, columns = np.nonzero(flags_hw[1:, 1:-1] != flags_hw[:-1, 1:-1])
    across = [[(x * wide, y * tall), ((x + 1) * wide, y * tall)] for y, x in zip(rows, columns, strict=True)]
    rows, columns = np.nonzero(flags_hw[1:-1, 1:] != flags_hw[1:-1, :-1])
    down = [[(x * wide, y * tall), (x * wide, (y + 1) * tall)] for y, x in zip(rows, columns, strict=True)]
    return LineCollection(across + down, colors=[outline.colour], linewidths=0.6, capstyle="projecting")
