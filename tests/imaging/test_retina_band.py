"""The band of a crop is that of its voxels, and its tokens are those that hold one of its voxels."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from octshard.imaging.crop import crop_window
from octshard.imaging.retina_band import BLOCK, NOT_FOUND, RetinaBand, blocks_of, not_found, token_flags

sizes = st.tuples(st.integers(1, 6), st.integers(4, 40), st.integers(1, 50))


def made_up(shape: tuple[int, int, int], seed: int) -> RetinaBand:
    """Any band: rows within the volume, a quarter of the blocks without."""
    depth, height, width = shape
    rng = np.random.default_rng(seed)
    top_DQ = rng.integers(0, height, (depth, blocks_of(width)))
    rows_DQ2 = np.stack([top_DQ, rng.integers(top_DQ + 1, height + 1)], axis=2)
    rows_DQ2[rng.random(top_DQ.shape) < 0.25] = NOT_FOUND
    return RetinaBand(rows_DQ2.astype(np.int16))


def painted(band: RetinaBand, shape: tuple[int, int, int]) -> np.ndarray:
    """bool (D, H, W): which voxels lie in the band, voxel by voxel."""
    inside_DHW = np.zeros(shape, bool)
    for d in range(shape[0]):
        for w in range(shape[2]):
            top, bottom = band.rows_DQ2[d, w // BLOCK]
            inside_DHW[d, max(top, 0) : max(bottom, 0), w] = True
    return inside_DHW


def test_share_and_size() -> None:
    band = not_found(3, 17)
    assert band.rows_DQ2.shape == (3, 3, 2)
    assert (band.share, band.found_DQ.any()) == (0.0, False)
    rows_DQ2 = band.rows_DQ2.copy()
    rows_DQ2[1, 2] = (4, 9)
    assert RetinaBand(rows_DQ2).share == 1 / 9


@given(sizes, sizes, st.integers(0, 99))
def test_the_band_of_a_crop_is_that_of_its_voxels(
    stored: tuple[int, int, int], image: tuple[int, int, int], seed: int
) -> None:
    band, window = made_up(stored, seed), crop_window(stored, image, np.random.default_rng(seed))
    crop = band.crop(window)
    inside_DHW = painted(band, stored)[window]
    assert crop.rows_DQ2.shape == (inside_DHW.shape[0], blocks_of(inside_DHW.shape[2]), 2)
    assert crop.rows_DQ2.dtype == np.int16
    for q in range(crop.rows_DQ2.shape[1]):
        middle = min(q * BLOCK + BLOCK // 2, inside_DHW.shape[2] - 1)
        np.testing.assert_array_equal(painted(crop, inside_DHW.shape)[:, :, middle], inside_DHW[:, :, middle])


def test_a_crop_of_everything_is_the_band_itself() -> None:
    band = made_up((4, 30, 43), 1)
    whole = band.crop((slice(0, 4), slice(0, 30), slice(0, 43)))
    np.testing.assert_array_equal(whole.rows_DQ2, band.rows_DQ2)


@given(sizes, st.tuples(*[st.integers(1, 20)] * 3), st.integers(0, 99))
def test_the_tokens_of_a_band_hold_one_of_its_voxels(
    shape: tuple[int, int, int], patch: tuple[int, int, int], seed: int
) -> None:
    band = made_up(shape, seed)
    grid = tuple(-(-n // p) for n, p in zip(shape, patch, strict=True))
    blocks = blocks_of(shape[2]) * BLOCK  # the last block counts as whole: what is beyond it is padding
    inside_DHW = painted(band, (*shape[:2], blocks))
    flags_dhw = token_flags(band.rows_DQ2, grid, patch)  # type: ignore[arg-type]
    for place in np.ndindex(*grid):
        voxels = tuple(slice(i * p, (i + 1) * p) for i, p in zip(place, patch, strict=True))
        assert flags_dhw[place] == inside_DHW[voxels].any(), place


def test_a_grid_larger_than_the_band_has_no_tokens_there() -> None:
    rows_DQ2 = np.full((2, 1, 2), (0, 8), np.int16)
    assert np.argwhere(token_flags(rows_DQ2, (3, 2, 4), (2, 8, 8))).tolist() == [[0, 0, 0]]
