"""Small pictures in rows with words below each, as one PNG for a paper or a talk."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from octshard.pictures import drawing
from octshard.pictures.drawing import GAP_IN, MARGIN_IN, NORMAL, SMALL, SOFT, Box

DPI = 160  # of the pictures: 1.9 inches have about 300 pixels
TILE_IN = 1.9  # the width of a tile
LINE_IN, LETTERS_IN_TILE = 0.1, 36  # of the words below it
TITLE_IN, TITLE_LETTERS = 0.13, 27  # a line of a title; its letters over each tile


@dataclass(frozen=True, eq=False)
class Tile:
    """pixels: uint8 (H, W) or (H, W, 3), in the proportions that are shown; words: below, in lines."""

    pixels: np.ndarray
    words: str


@dataclass(frozen=True, eq=False)
class Strip:
    """A row of tiles with a title; it wraps where it is long."""

    title: str
    tiles: tuple[Tile, ...]


def render(strips: Sequence[Strip], columns: int) -> bytes:
    """PNG, `columns` tiles wide."""
    out = io.BytesIO()
    with drawing.style():
        draw(strips, columns).savefig(out, format="png", dpi=DPI, metadata={"Software": None})
    return out.getvalue()


def draw(strips: Sequence[Strip], columns: int) -> Figure:
    """The figure, at 100 dots per inch."""
    rows = [
        (_title(strip, columns) if first == 0 else [], strip.tiles[first : first + columns])
        for strip in strips
        for first in range(0, len(strip.tiles), columns)
    ]
    heights = [_height(title, tiles) for title, tiles in rows]
    wide = 2 * MARGIN_IN + columns * (TILE_IN + GAP_IN) - GAP_IN
    high = 2 * MARGIN_IN + sum(heights)
    sheet, top = Figure((wide, high), facecolor="white"), MARGIN_IN
    axes = drawing.axes_at(sheet, Box(0, 0, wide, high))  # one for all: each takes as long as a picture
    for (title, tiles), height in zip(rows, heights, strict=True):
        for number, line in enumerate(title, start=1):
            drawing.text(sheet, (MARGIN_IN, top + number * TITLE_IN), line, size=NORMAL, weight="bold")
        for column, tile in enumerate(tiles):
            place = MARGIN_IN + column * (TILE_IN + GAP_IN), top + _title_height(title)
            _draw_tile(axes, tile, place)
        top += height
    axes.set(xlim=(0, wide), ylim=(high, 0))
    return sheet


def _draw_tile(axes: Axes, tile: Tile, place: tuple[float, float]) -> None:
    """axes: in inches from the upper left corner."""
    left, top = place
    wide, high = _tile_size(tile)
    axes.imshow(
        tile.pixels, cmap="gray", vmin=0, vmax=255, extent=(left, left + wide, top + high, top), aspect="auto"
    )
    for number, line in enumerate(_lines(tile), start=1):
        below = (left, top + high + number * LINE_IN + 0.02)
        drawing.text(cast(Figure, axes.figure), below, line, size=SMALL, colour=SOFT)


def _title(strip: Strip, columns: int) -> list[str]:
    return textwrap.wrap(strip.title, TITLE_LETTERS * columns)


def _title_height(title: Sequence[str]) -> float:
    return (len(title) + 0.5) * TITLE_IN if title else 0


def _height(title: Sequence[str], tiles: Sequence[Tile]) -> float:
    tallest = max(_tile_size(tile)[1] + len(_lines(tile)) * LINE_IN for tile in tiles)
    return tallest + _title_height(title) + 2 * GAP_IN


def _tile_size(tile: Tile) -> tuple[float, float]:
    """Inches (width, height); a tall one is narrower."""
    high, wide = tile.pixels.shape[:2]
    scale = TILE_IN / max(wide, high)
    return wide * scale, high * scale


def _lines(tile: Tile) -> list[str]:
    return [line for part in tile.words.split("\n") for line in textwrap.wrap(part, LETTERS_IN_TILE)]
