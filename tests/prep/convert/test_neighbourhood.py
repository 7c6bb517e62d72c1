"""Medians of the places beside a place, against plain NumPy."""

import numpy as np
import pytest

from octshard.prep.convert import neighbourhood


@pytest.mark.parametrize("shape", [(5, 7), (4, 30), (1, 1), (2, 3)])
@pytest.mark.parametrize(("planes", "blocks"), [(1, 2), (0, 2), (2, 1)])
def test_neighbours_are_a_window_without_what_is_no_number(
    shape: tuple[int, int], planes: int, blocks: int
) -> None:
    rng = np.random.default_rng(2)
    place_DQ = rng.integers(0, 6, shape).astype(np.float32)  # some are equal
    place_DQ[rng.random(shape) < 0.4] = np.nan
    place_DQ[:2, :3] = np.nan
    median_DQ, share_DQ = neighbourhood.neighbours(place_DQ, planes, blocks)
    for d, q in np.ndindex(shape):
        window = place_DQ[max(0, d - planes) : d + planes + 1, max(0, q - blocks) : q + blocks + 1]
        assert share_DQ[d, q] == pytest.approx(np.isfinite(window).mean())
        known = window[np.isfinite(window)]
        assert median_DQ[d, q] == np.median(known) if known.size else np.isnan(median_DQ[d, q])
