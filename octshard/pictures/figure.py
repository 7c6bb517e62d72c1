"""The figure of what the model sees of a volume: rows of B-scans in true proportions beside an en face view.

Nothing here reads a clock or draws at random: the same volume gives the same file.
"""

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from octshard.errors import UsageError
from octshard.pictures import drawing
from octshard.pictures.drawing import GAP_IN, LETTERS, MARGIN_IN, NORMAL, ROOM_IN, TITLE_IN, TOP_IN, Box
from octshard.pictures.model_view import ModelView, planes
from octshard.pictures.panels import panels

FORMATS = ("png", "pdf", "svg")
DPI = 300
PANEL_DPI = 150  # of a panel by itself, on a page
WIDTH_IN = 7.2  # two columns of a journal
TALLEST_IN = 1.5  # a B-scan
METADATA = {  # without a date
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    "svg": {"Date": None, "Creator": None},
}


def format_of(url: str) -> str:
    """png, pdf or svg, by the suffix; UsageError for another."""
    suffix = url.rpartition(".")[2].lower()
    if suffix not in FORMATS:
        *others, last = FORMATS
        raise UsageError(f"{url}: want a name that ends in .{', .'.join(others)} or .{last}")
    return suffix


def render(view: ModelView, form: str, columns: int, dpi: int = DPI) -> bytes:
    """The figure with `columns` B-scans as a file of one of FORMATS."""
    out = io.BytesIO()
    with drawing.style():
        draw(view, columns).savefig(out, format=form, dpi=dpi, metadata=METADATA[form])
    return out.getvalue()


def rgb_of(figure: Figure) -> np.ndarray:
    """uint8 (H, W, 3) of a figure at its own resolution."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def draw(view: ModelView, columns: int) -> Figure:
    """The figure, `columns` B-scans wide."""
    shown, kinds = planes(view, columns), panels(view)
    room = (WIDTH_IN - ROOM_IN + GAP_IN) / max(len(shown), 2) - GAP_IN
    width, height = drawing.panel_size(view, room, TALLEST_IN)
    figure = drawing.sheet(view, WIDTH_IN, len(kinds) * (TITLE_IN + height), shown)
    for row, kind in enumerate(kinds):
        left, top = ROOM_IN - MARGIN_IN, TOP_IN + row * (TITLE_IN + height) + TITLE_IN
        drawing.text(figure, (left, top - 0.045), kind.title, size=NORMAL, weight="bold")
        for column, plane in enumerate(shown):
            axes = drawing.axes_at(figure, Box(left + column * (width + GAP_IN), top, width, height))
            drawing.draw_panel(axes, view, kind, plane)
            if row == 0:
                drawing.letter(axes, LETTERS[column])
            if row == column == 0:
                drawing.scale_bar(axes, view)
    return figure


def panel_images(view: ModelView, plane: int, width_in: float = 4.0) -> list[tuple[str, np.ndarray]]:
    """(title, uint8 (H, W, 3)) of each kind of panel of one B-scan, for a page that sets them itself."""
    width, height = drawing.panel_size(view, width_in, TALLEST_IN * 2)
    images = []
    with drawing.style():
        for number, kind in enumerate(panels(view)):
            figure = Figure((width, height), dpi=PANEL_DPI)
            axes = drawing.axes_at(figure, Box(0, 0, width, height))
            drawing.draw_panel(axes, view, kind, plane)
            if number == 0:
                drawing.scale_bar(axes, view)
            images.append((kind.title, rgb_of(figure)))
    return images
