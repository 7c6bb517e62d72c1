"""The animation: a sweep through the B-scans of a volume, with context and targets drawn in."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from octshard.errors import UsageError
from octshard.pictures import drawing
from octshard.pictures.drawing import GAP_IN, MARGIN_IN, NORMAL, ROOM_IN, TITLE_IN, TOP_IN, Box
from octshard.pictures.figure import rgb_of
from octshard.pictures.model_view import ModelView, planes
from octshard.pictures.palette import in_palette, palette_of
from octshard.pictures.panels import Panel, panels

WIDTH_IN, DPI = 5.6, 125  # 700 pixels
COLUMNS, TALLEST_IN = 2, 1.3
FRAME_MS, LAST_MS = 140, 700
LIMIT_BYTES = 1_500_000
# frames and levels of grey, until it fits
TRIES = ((64, 32), (32, 32), (32, 20), (24, 20), (16, 20), (12, 12), (8, 8), (4, 8), (1, 8))


def check(url: str) -> None:
    """UsageError unless the name ends in .gif."""
    if not url.lower().endswith(".gif"):
        raise UsageError(f"{url}: want a name that ends in .gif")


def render(view: ModelView) -> bytes:
    """The GIF: as many frames and greys as LIMIT_BYTES allows, fewer where speckle takes the room."""
    with drawing.style():
        frames = {plane: rgb_of(_frame(view, plane)) for plane in planes(view, TRIES[0][0])}
    for count, levels in TRIES:
        gif = _encode([frames[plane] for plane in _evenly(list(frames), count)], palette_of(view, levels))
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
    images = [in_palette(frame, palette_P3) for frame in frames]
    out = io.BytesIO()
    durations = [FRAME_MS] * (len(images) - 1) + [LAST_MS]
    images[0].save(out, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    return out.getvalue()
