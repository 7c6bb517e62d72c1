"""A sheet of small pictures: every tile in its proportions, words inside the sheet, the same bytes twice."""

import io

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from octshard.pictures import contact_sheet, drawing
from octshard.pictures.contact_sheet import Strip, Tile


def strips() -> list[Strip]:
    words = "Wrong: truly $\\frac healthy, predicted what is long enough for lines\n1-key_" + "x" * 60
    wide, tall = np.zeros((20, 60), np.uint8), np.full((80, 40, 3), 200, np.uint8)
    tiles = tuple(Tile(pixels, words) for pixels in (wide, tall, wide, wide, tall))
    long = (
        "oral medication and or non insulin injectable medication controlled: topcon triton, 1001-" + "x" * 90
    )
    return [Strip("Nearest to 1001", tiles), Strip(long, tiles[:1])]


def test_the_same_tiles_give_the_same_bytes() -> None:
    data = contact_sheet.render(strips(), 3)
    assert data == contact_sheet.render(strips(), 3)
    with Image.open(io.BytesIO(data)) as image:
        inches = 2 * 0.1 + 3 * contact_sheet.TILE_IN + 2 * 0.08
        assert image.width == pytest.approx(contact_sheet.DPI * inches, abs=1)


def test_nothing_leaves_the_sheet_and_no_tile_lies_on_another_or_on_words() -> None:
    with drawing.style():
        sheet = contact_sheet.draw(strips(), 3)
        canvas = FigureCanvasAgg(sheet)
        canvas.draw()
    (axes,) = sheet.axes
    boxes = [image.get_window_extent() for image in axes.images]
    words = [text.get_window_extent(canvas.get_renderer()) for text in sheet.texts]
    assert [round(box.width / box.height, 1) for box in boxes] == [3, 0.5, 3, 3, 0.5, 3]
    for box in (*boxes, *words):
        assert sheet.bbox.x0 <= box.x0 < box.x1 <= sheet.bbox.x1
        assert sheet.bbox.y0 <= box.y0 < box.y1 <= sheet.bbox.y1
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in (*boxes[:i], *words))
