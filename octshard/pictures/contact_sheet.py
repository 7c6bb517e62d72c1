"""Small pictures in rows with words below each, as one PNG for a paper or a talk."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from octshard.pictures import drawing
from octshard.pictures.drawing import GAP_IN, MARGIN_IN, NORMAL, SMALL, SOFT, Box

DPI = 200
TILE_IN = 1.9  # the width of a tile
LINE_IN, LETTERS_IN_TILE = 0.1, 36  # of the words below it
TITLE_IN = 0.24


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
        (strip.title if first == 0 else "", strip.tiles[first : first + columns])
        for strip in strips
        for first in range(0, len(strip.tiles), columns)
    ]
    heights = [_height(title, tiles) for title, tiles in rows]
    wide = 2 * MARGIN_IN + columns * (TILE_IN + GAP_IN) - GAP_IN
    sheet, top = Figure((wide, 2 * MARGIN_IN + sum(heights)), facecolor="white"), MARGIN_IN
    for (title, tiles), height in zip(rows, heights, strict=True):
        if title:
            drawing.text(sheet, (MARGIN_IN, top + 0.15), title, size=NORMAL, weight="bold")
        for column, tile in enumerate(tiles):
            place = MARGIN_IN + column * (TILE_IN + GAP_IN), top + (TITLE_IN if title else 0)
            _draw_tile(sheet, tile, place)
        top += height
    return sheet


def _draw_tile(sheet: Figure, tile: Tile, place: tuple[float, float]) -> None:
    left, top = place
    wide, high = _tile_size(tile)
    axes = drawing.axes_at(sheet, Box(left, top, wide, high))
    axes.imshow(tile.pixels, cmap="gray", vmin=0, vmax=255, aspect="auto")
    for number, line in enumerate(_lines(tile), start=1):
        drawing.text(sheet, (left, top + high + number * LINE_IN + 0.02), line, size=SMALL, colour=SOFT)


def _height(title: str, tiles: Sequence[Tile]) -> float:
    tallest = max(_tile_size(tile)[1] + len(_lines(tile)) * LINE_IN for tile in tiles)
    return tallest + (TITLE_IN if title else 0) + 2 * GAP_IN


def _tile_size(tile: Tile) -> tuple[float, float]:
    """Inches (width, height); a tall one is narrower."""
    high, wide = tile.pixels.shape[:2]
    scale = TILE_IN / max(wide, high)
    return wide * scale, high * scale


def _lines(tile: Tile) -> list[str]:
    return [line for part in tile.words.split("\n") for line in textwrap.wrap(part, LETTERS_IN_TILE)]
