"""Small pictures of B-scans: true proportions inside their box, greys over the whole range, a rim around."""

import numpy as np
import pytest

from octshard.pictures import b_scan


@pytest.mark.parametrize(
    ("size_mm", "shape"), [((2.0, 6.0), (40, 120)), ((6.0, 2.0), (100, 33)), ((1.0, 600.0), (1, 120))]
)
def test_the_picture_has_the_proportions_in_mm_and_fits(size_mm, shape) -> None:
    pixels = np.zeros((50, 50), np.uint8)
    assert b_scan.sized(pixels, size_mm, (120, 100)).shape == shape


def test_greys_go_from_black_to_white_and_a_constant_is_neither() -> None:
    ramp_HW = np.arange(100, 1100, dtype=np.uint16).reshape(10, 100)
    grey_HW = b_scan.grey(ramp_HW)
    assert (grey_HW.min(), grey_HW.max(), grey_HW.dtype) == (0, 255, np.uint8)
    assert (b_scan.grey(np.full((3, 4), 7, np.uint8)) == 128).all()


def test_a_frame_is_around_the_picture_not_over_it() -> None:
    pixels = np.full((10, 20), 9, np.uint8)
    framed = b_scan.framed(pixels, "#ff0000")
    rim = b_scan.RIM_PX
    assert framed.shape == (10 + 2 * rim, 20 + 2 * rim, 3)
    assert (framed[rim:-rim, rim:-rim] == 9).all()
    assert (framed[0] == (255, 0, 0)).all()
