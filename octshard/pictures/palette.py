"""A palette for pictures of few colours: greys, the targets' colour, that of lines, and those of features.

Pixels become the nearest of them, without dithering, which would take more room than the picture.
"""

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from octshard.pictures import drawing
from octshard.pictures.model_view import ModelView, planes
from octshard.pictures.panels import BAND, CONTEXT, PADDING, TARGET, TINT_FLOOR, panels

LINES = (CONTEXT, PADDING, drawing.CROP, drawing.PLACE, drawing.INK, drawing.SOFT)


def palette_of(view: ModelView, levels: int) -> np.ndarray:
    """(P, 3) uint8: `levels` greys, half as many of the targets' colour, up to twice as many of features.

    256 at most: with features up to 71 levels, else up to 166.
    """
    grey_L3 = np.repeat(np.linspace(0, 1, levels)[:, None], 3, axis=1)
    tint_L3 = np.linspace(TINT_FLOOR, 1, levels // 2)[:, None] * np.array(TARGET)
    lines = LINES if view.band_dhw is None else (*LINES, BAND)
    parts = [grey_L3, tint_L3, np.array([to_rgb(colour) for colour in lines])]
    if view.colours_dhw3 is not None:
        shown = np.concatenate([panels(view)[-1].pixels(plane) for plane in planes(view, 4)])
        pixels = Image.fromarray(np.rint(255 * shown).astype(np.uint8))
        few = pixels.quantize(2 * levels, Image.Quantize.MEDIANCUT).getpalette()
        parts.append(np.array(few).reshape(-1, 3) / 255)
    return np.rint(255 * np.concatenate(parts)).astype(np.uint8)


def in_palette(pixels_HW3: np.ndarray, palette_P3: np.ndarray) -> Image.Image:
    """Each uint8 pixel as its nearest colour, an image of mode P (Pillow's own search is coarser)."""
    packed_HW = pixels_HW3.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    packed_U, place = np.unique(packed_HW, return_inverse=True)
    colours_U3 = np.stack([packed_U >> 16, packed_U >> 8 & 255, packed_U & 255], axis=1)
    squared_UP = ((colours_U3[:, None] - palette_P3.astype(np.int32)) ** 2).sum(axis=2)
    nearest_U = squared_UP.argmin(axis=1).astype(np.uint8)
    image = Image.fromarray(nearest_U[place].reshape(packed_HW.shape))
    image.putpalette(palette_P3.tobytes())
    return image
