"""Tiles hold every voxel once, begin at whole patches, and are as equal as patches allow."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octshard.imaging.crop import crop_window
from octshard.imaging.tiles import CENTRE, WHOLE, View, shape_of
from octshard.imaging.volume import product, valid_tokens

AXIS = st.tuples(
    st.integers(1, 9), st.integers(1, 5), st.integers(1, 4)
)  # voxels, tokens of the image, patch


@settings(deadline=None)
@given(st.tuples(AXIS, AXIS, AXIS))
def test_every_voxel_is_in_one_tile_and_every_token_too(axes) -> None:
    extent, grid, patch = zip(*axes, strict=True)
    image_size = tuple(n * p for n, p in zip(grid, patch, strict=True))
    windows = View(WHOLE, image_size, patch).windows(extent)
    seen = np.zeros(extent, int)
    for window in windows:
        seen[window] += 1
        assert all(part.start % p == 0 for part, p in zip(window, patch, strict=True))
        assert all(0 < n <= size for n, size in zip(shape_of(window), image_size, strict=True))
    assert (seen == 1).all()
    tokens = sum(product(valid_tokens(shape_of(window), image_size, patch)) for window in windows)
    along = [math.ceil(n / p) for n, p in zip(extent, patch, strict=True)]
    assert tokens == product(along)
    assert len(windows) == product(math.ceil(n / most) for n, most in zip(along, grid, strict=True))
    for axis in range(3):
        counts = {-(-(w[axis].stop - w[axis].start) // patch[axis]) for w in windows}
        assert max(counts) - min(counts) <= 1


def test_a_scan_of_six_millimetres_is_read_whole() -> None:
    """120 B-scans at 64 of an image: two halves, where one crop leaves out 56."""
    view = View(WHOLE, (64, 496, 512), (4, 16, 16))
    starts = [(window[0].start, window[0].stop) for window in view.windows((120, 496, 512))]
    assert starts == [(0, 60), (60, 120)]
    assert view.windows((65, 496, 512))[1][0] == slice(36, 65)  # no rest of one B-scan


@pytest.mark.parametrize("extent", [(3, 20, 9), (8, 32, 16), (9, 33, 50)])
def test_the_centre_is_that_of_a_centre_crop(extent) -> None:
    view = View(CENTRE, (8, 32, 16), (2, 8, 8))
    assert view.windows(extent) == [crop_window(extent, (8, 32, 16), None)]
    assert str(view) == "centre crop, at most 8x32x16"
