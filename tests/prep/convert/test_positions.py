"""Places along a stack by ImagePositionPatient: what is a stack, its step, and what is a dummy."""

from typing import Any

import numpy as np
import pytest

from octshard.prep.convert.positions import Positions, positions_of
from octshard.prep.scan_facts import Placement

NAN = float("nan")
STEPS = np.arange(8)[:, None] * 0.05


def positions(position_F3: Any, normal: Any = None, frames: int | None = None) -> Positions | None:
    position_F3 = np.asarray(position_F3, np.float64)
    silent = np.full((len(position_F3), 1), NAN)
    normal_3 = None if normal is None else np.asarray(normal, np.float64)
    placement = Placement(silent[:, 0], silent, position_F3, normal_3, (), (), (), ())
    return positions_of(placement, len(position_F3) if frames is None else frames)


@pytest.mark.parametrize("direction", [(0, 1, 0), (0, 0, -1), (0.6, 0, 0.8)])
@pytest.mark.parametrize("normal", [None, "along", (1, 0, 0)])
def test_the_step_is_the_way_from_frame_to_frame(direction: Any, normal: Any) -> None:
    """A normal that the way does not follow is a dummy, as converters write it."""
    if normal == (1, 0, 0) and direction[0]:
        pytest.skip("that way follows this normal in part")
    stack = positions(STEPS * np.array(direction) + 100, direction if normal == "along" else normal)
    assert stack is not None
    assert stack.is_even
    assert stack.step_mm == pytest.approx(0.05)


def test_only_the_way_along_the_normal_counts_in_an_oblique_raster() -> None:
    """Corners that are also shifted by 0.03 or 0.1 mm along the frames: the planes are 0.05 apart."""
    for shift in (0.6, 2.0):
        stack = positions(STEPS * np.array([shift, 0, 1.0]), (0, 0, 1))
        assert stack is not None
        assert stack.step_mm == pytest.approx(0.05)


@pytest.mark.parametrize(
    "position_F3",
    [
        np.zeros((8, 3)),
        np.full((8, 3), 12.5),
        np.full((8, 3), NAN),
        np.r_[np.zeros((1, 3)), np.full((7, 3), NAN)],
        np.outer(np.arange(8), [1e307, 0, 1e307]),  # no places
        np.stack([np.cos(np.arange(8)), np.sin(np.arange(8)), np.zeros(8)], axis=1),  # round a circle
    ],
)
def test_dummies_and_circles_are_no_stack(position_F3: np.ndarray) -> None:
    assert positions(position_F3) is None


def test_missing_frames_and_missing_items() -> None:
    way = np.array([0, 0, 1.0])
    gaps = STEPS * way
    gaps[[2, 5]] = NAN
    stack = positions(gaps)
    assert stack is not None
    assert (stack.step_mm, stack.is_even) == (pytest.approx(0.05), True)
    few = positions(STEPS[:3] * way, frames=8)
    assert few is not None
    assert few.step_mm is None


@pytest.mark.parametrize(
    ("place_F", "even"),
    [
        ([0, 0.05, 0.1, 0.15], True),
        ([0, 0.05, 0.1, 0.20], False),  # a frame was lost
        ([0, 0, 0.05, 0.05, 0.1, 0.1], False),  # each place twice
        ([0, 0.01, 0.02, 0.04, 0.05, 0.06, 0.07, 0.08], True),  # 0.0117 apart, rounded to two decimals
    ],
)
def test_evenness_allows_for_rounding(place_F: list[float], even: bool) -> None:
    stack = positions(np.outer(place_F, [0, 0, 1]))
    assert stack is not None
    assert stack.is_even == even
