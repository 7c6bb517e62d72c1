"""The animation: a sweep through the B-scans of a volume, with context and targets drawn in."""

import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from octshard.errors import UsageError
from octshard.pictures import drawing
from octshard.pictures.drawing import GAP_IN, MARGIN_IN, NORMAL, ROOM_IN, TITLE_IN, TOP_IN, Box
from octshard.pictures.figure import RC, rgb_of
from octshard.pictures.model_view import ModelView, planes
from octshard.pictures.panels import CONTEXT, PADDING, TARGET, TINT_FLOOR, Panel, panels

WIDTH_IN, DPI = 5.6, 125  # 700 pixels
COLUMNS, TALLEST_IN = 2, 1.3
FRAME_MS, LAST_MS = 140, 700
LIMIT_BYTES = 1_500_000
# frames and levels of grey, until it fits
TRIES = ((64, 32), (32, 32), (32, 20), (24, 20), (16, 20), (12, 12), (8, 8), (4, 8))


def check(url: str) -> None:
    """UsageError unless the name ends in .gif."""
    if not url.lower().endswith(".gif"):
        raise UsageError(f"{url}: want a name that ends in .gif")


def render(view: ModelView) -> bytes:
    """The GIF: as many frames and greys as LIMIT_BYTES allows, fewer where speckle takes the room."""
    with matplotlib.rc_context(RC):
        frames = {plane: rgb_of(_frame(view, plane)) for plane in planes(view, TRIES[0][0])}
    for count, levels in TRIES:
        gif = _encode([frames[plane] for plane in _evenly(list(frames), count)], _palette(levels, view))
        if len(gif) <= LIMIT_BYTES:
            break
    return gif


def _evenly(drawn: list[int], count: int) -> list[int]:
    """`count` of the planes that are drawn, evenly, or all of them."""
    count = min(count, len(drawn))
    return [drawn[int((i + 0.5) * len(drawn) / count)] for i in range(count)]


def _frame(view: ModelView, plane: int) -> Figure:
    kinds = _kinds(view)
    room = (WIDTH_IN - ROOM_IN + GAP_IN) / COLUMNS - GAP_IN
    width, height = drawing.panel_size(view, room, TALLEST_IN)
    figure = drawing.sheet(view, WIDTH_IN, -(-len(kinds) // COLUMNS) * (TITLE_IN + height), [plane])
    figure.set_dpi(DPI)
    for number, kind in enumerate(kinds):
        row, column = divmod(number, COLUMNS)
        left = ROOM_IN - MARGIN_IN + column * (width + GAP_IN)
        top = TOP_IN + row * (TITLE_IN + height) + TITLE_IN
        drawing.text(figure, (left, top - 0.045), kind.short_title, size=NORMAL, weight="bold")
        axes = drawing.axes_at(figure, Box(left, top, width, height))
        drawing.draw_panel(axes, view, kind, plane)
        if number == 0:
            drawing.scale_bar(axes, view)
    return figure


def _kinds(view: ModelView) -> list[Panel]:
    """The volume as stored is left out where there are views of it."""
    kinds = panels(view)
    return kinds if view.is_plain else kinds[1:]


def _encode(frames: Sequence[np.ndarray], palette_P3: np.ndarray) -> bytes:
    """All frames in one palette, without dithering, which would take more room than the pictures."""
    palette = Image.new("P", (1, 1))
    palette.putpalette(palette_P3.tobytes())
    images = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    out = io.BytesIO()
    durations = [FRAME_MS] * (len(images) - 1) + [LAST_MS]
    images[0].save(out, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    return out.getvalue()


def _palette(levels: int, view: ModelView) -> np.ndarray:
    """(P, 3) uint8: `levels` greys, half as many of the targets' colour, those of lines and of features."""
    grey_L3 = np.repeat(np.linspace(0, 1, levels)[:, None], 3, axis=1)
    tint_L3 = np.linspace(TINT_FLOOR, 1, levels // 2)[:, None] * np.array(TARGET)
    own = (CONTEXT, PADDING, drawing.CROP, drawing.PLACE, drawing.INK, drawing.SOFT)
    lines_L3 = np.array([to_rgb(colour) for colour in own])
    parts = [grey_L3, tint_L3, lines_L3]
    if view.colours_dhw3 is not None:
        shown = [panels(view)[-1].pixels(plane) for plane in planes(view, 4)]
        pixels = Image.fromarray(np.rint(255 * np.concatenate(shown)).astype(np.uint8))
        few = pixels.quantize(2 * levels, Image.Quantize.MEDIANCUT).getpalette()
        parts.append(np.array(few).reshape(-1, 3) / 255)
    return np.rint(255 * np.concatenate(parts)).astype(np.uint8)
