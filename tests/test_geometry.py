"""Frame locations -> what kind of scan it is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octshard.prep.geometry import classify


def lines(centres: np.ndarray, angles_deg: np.ndarray, length: float) -> list[np.ndarray]:
    """Paths (2, 2) of straight lines: (row, col) = centre -+ length / 2 * (sin, cos)."""
    found = []
    for centre, angle in zip(centres, np.deg2rad(angles_deg), strict=True):
        half = length / 2 * np.array([np.sin(angle), np.cos(angle)])
        found.append(np.stack([centre - half, centre + half]))
    return found


def raster(n: int, step: float, angle: float, length: float = 500.0) -> list[np.ndarray]:
    across = np.array([np.cos(np.deg2rad(angle)), -np.sin(np.deg2rad(angle))])
    return lines(np.array([400.0, 400.0]) + np.arange(n)[:, None] * step * across, np.full(n, angle), length)


def circle(radius: float, points: int = 768) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return 500 + radius * np.stack([np.sin(turn), np.cos(turn)], axis=1)


def radial(n: int) -> list[np.ndarray]:
    return lines(np.full((n, 2), 500.0), np.arange(n) * 180.0 / n, 600.0)


@given(
    n=st.integers(2, 120),
    step=st.floats(0.6, 40).map(lambda v: round(v, 3)),
    angle=st.floats(-180, 180),
    down=st.booleans(),
)
def test_a_raster_is_one_at_any_angle_step_and_order(n: int, step: float, angle: float, down: bool) -> None:
    found = classify(raster(n, -step if down else step, angle), n)
    assert found.kind == "raster"
    assert found.step_px == pytest.approx(step, rel=1e-3)
    assert found.step_mm(5.0) == pytest.approx(step / 500 * 5.0, rel=1e-3)


@given(n=st.integers(3, 60), step=st.floats(1.2, 30))
def test_coordinates_rounded_to_whole_pixels_are_still_even(n: int, step: float) -> None:
    assert classify([np.rint(path) for path in raster(n, step, 0.0)], n).kind == "raster"


@pytest.mark.parametrize("n", [2, 6, 24, 48])
def test_radial(n: int) -> None:
    assert classify(radial(n), n).kind == "radial"


def test_circles_alone_are_circle_and_with_radial_lines_mixed() -> None:
    circles = [circle(200), circle(240), circle(280)]
    assert classify(circles, 3).kind == "circle"
    assert classify(radial(24) + circles, 27).kind == "mixed"  # the Spectralis ONH scan


def test_a_cross_of_two_line_groups_is_mixed() -> None:
    assert classify(raster(5, 30, 0.0) + raster(5, 30, 90.0), 10).kind == "mixed"


def test_repeats_of_one_line_are_a_line_and_so_is_one_frame() -> None:
    assert classify(raster(1, 1, 0.0) * 8, 8).kind == "line"
    assert classify(raster(1, 1, 0.0), 1).kind == "line"
    assert classify([], 1).kind == "line"


def test_a_missing_slice_and_shuffled_frames_are_uneven() -> None:
    even = raster(31, 5.0, 0.0)
    assert classify(even[:12] + even[13:], 30).kind == "uneven"
    assert classify(even[::2] + even[1::2], 31).kind == "uneven"


@pytest.mark.parametrize(
    "points", [np.empty((0, 2)), np.zeros((2, 2)), np.ones((2, 2)), np.full((2, 2), np.nan)]
)
def test_no_or_dummy_coordinates_are_unknown(points: np.ndarray) -> None:
    assert classify([points] * 10, 10).kind == "unknown"
    assert classify([], 10).kind == "unknown"


def test_frames_without_coordinates_are_counted_and_do_not_break_the_step() -> None:
    paths = raster(20, 7.0, 0.0)
    paths[3] = paths[11] = np.empty((0, 2))
    found = classify(paths, 20)
    assert (found.kind, found.missing) == ("raster", 2)
    assert found.step_px == pytest.approx(7.0)
