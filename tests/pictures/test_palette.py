"""Few colours, the nearest ones."""

import numpy as np

from octshard.pictures.palette import in_palette, palette_of
from tests.support.model_views import made_up


def test_each_pixel_becomes_the_nearest_colour() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)
    palette = rng.integers(0, 256, (17, 3)).astype(np.uint8)
    shown = np.asarray(in_palette(pixels, palette).convert("RGB")).reshape(-1, 3).astype(float)
    for before, after in zip(pixels.reshape(-1, 3).astype(float), shown, strict=True):
        least = np.linalg.norm(palette - before, axis=1).min()
        assert np.linalg.norm(after - before) == least


def test_white_stays_white_and_a_palette_fits_a_gif() -> None:
    view = made_up(colours_dhw3=np.random.default_rng(0).random((3, 3, 3, 3)))
    palette = palette_of(view, 71)
    assert len(palette) <= 256
    assert len(palette_of(made_up(), 166)) <= 256
    white = np.full((2, 2, 3), 255, np.uint8)
    assert (np.asarray(in_palette(white, palette).convert("RGB")) == 255).all()
