"""What is read from profiles along depth, against plain NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octshard.imaging.retina_band import BLOCK
from octshard.prep.convert import axial_profiles


def test_blocks_are_those_of_the_band() -> None:
    assert axial_profiles.COLUMNS == BLOCK


@settings(deadline=None)  # the first call compiles
@given(st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 30)), st.integers(1, 6))
def test_profiles_are_means(shape: tuple[int, int, int], rows: int) -> None:
    voxels_DHW = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    profiles_DQN = axial_profiles.average(voxels_DHW, rows)
    for d, q, n in np.ndindex(profiles_DQN.shape):
        block = voxels_DHW[d, n * rows : (n + 1) * rows, q * BLOCK : (q + 1) * BLOCK]
        assert profiles_DQN[d, q, n] == pytest.approx(block.mean(), rel=1e-6)
    assert profiles_DQN.shape == (shape[0], -(-shape[2] // BLOCK), -(-shape[1] // rows))


def test_most_rows_of_white_do_not_overflow() -> None:
    white = np.full((1, 2 * axial_profiles.MOST_ROWS, 9), 255, np.uint8)
    assert np.unique(axial_profiles.average(white, axial_profiles.MOST_ROWS)).tolist() == [255.0]


def likeness(profiles_DQN: np.ndarray, step: int, steepest: int) -> np.ndarray:
    return axial_profiles.likeness(profiles_DQN, axial_profiles.peaks(profiles_DQN)[1], step, steepest)


def test_peaks_are_the_first_of_the_highest() -> None:
    profiles_DQN = np.random.default_rng(2).integers(0, 9, (3, 4, 20)).astype(np.float32)
    level_DQ, place_DQ = axial_profiles.peaks(profiles_DQN)
    np.testing.assert_array_equal(level_DQ, profiles_DQN.max(axis=2))
    np.testing.assert_array_equal(place_DQ, profiles_DQN.argmax(axis=2))


def test_likeness_is_the_correlation_of_steps_with_those_beside() -> None:
    profiles_DQN = np.random.default_rng(1).random((2, 4, 50)).astype(np.float32)
    steps_DQN = profiles_DQN[..., 3:] - profiles_DQN[..., :-3]
    alike_DQ = likeness(profiles_DQN, 3, 0)
    for d in range(2):
        for q, beside in enumerate([[1], [0, 2], [1, 3], [2]]):
            expected = [np.corrcoef(steps_DQN[d, q], steps_DQN[d, other])[0, 1] for other in beside]
            assert alike_DQ[d, q] == pytest.approx(np.mean(expected), abs=1e-5)
    slow = np.linspace(200, 20, 50, dtype=np.float32) + profiles_DQN  # the same for all, and slow
    np.testing.assert_allclose(likeness(slow, 3, 0), alike_DQ, atol=1e-3)
    assert likeness(profiles_DQN[:, :1], 3, 0).tolist() == [[0], [0]]
    assert not likeness(profiles_DQN, 50, 0).any()  # too shallow for such steps


def test_profiles_that_lie_deeper_from_block_to_block_are_alike() -> None:
    bump = np.exp(-((np.arange(60) - 20) ** 2) / 18).astype(np.float32)
    tilted_DQN = np.stack([np.roll(bump, 5 * q) for q in range(4)])[None]
    assert likeness(tilted_DQN, 3, 5).min() > 0.99
    assert likeness(tilted_DQN, 3, 4).max() < 0.8
    assert likeness(tilted_DQN[:, ::-1], 3, 5).min() > 0.99


def test_the_first_rise_stays_and_lies_between_two_samples() -> None:
    profile = np.zeros((1, 1, 12), np.float32)
    profile[0, 0, 2] = 9  # one bright sample is no layer
    profile[0, 0, 5:] = (2, 8, 8, 8, 8, 8, 8)
    level_DQ = np.full((1, 1), 4.0)
    # centres of samples 5 and 6 lie at 5.5 and 6.5; a third of the way from 2 to 8
    assert axial_profiles.tissue_top(profile, level_DQ, 3, 20)[0, 0] == pytest.approx(5.5 + 1 / 3)
    assert axial_profiles.tissue_top(profile[..., 6:], level_DQ, 3, 20)[0, 0] == 0  # cut off at the top
    assert np.isnan(axial_profiles.tissue_top(profile, level_DQ + 5, 3, 20)[0, 0])


def test_the_brightest_sample_from_a_place_on_and_near_one() -> None:
    profile = np.array([[[9, 1, 5, 7, 7, 2, 6, 0]]], np.float32)
    level_DQ = np.full((1, 1), 4.0)
    assert axial_profiles.brightest(profile, np.array([[1]]), level_DQ, 2)[0, 0] == 4  # the last of two
    assert axial_profiles.brightest(profile, np.array([[1]]), level_DQ, 1)[0, 0] == -1  # 1 is less than 2.8
    assert axial_profiles.brightest(profile, np.array([[2]]), level_DQ * 2, 1)[0, 0] == -1
    assert axial_profiles.brightest(profile, np.array([[6]]), level_DQ, 1)[0, 0] == 6
    assert axial_profiles.brightest(profile, np.array([[8]]), level_DQ, 2)[0, 0] == -1
    assert axial_profiles.brightest_near(profile, 0.0, np.array([[5]]), 1)[0, 0] == 4
    assert axial_profiles.brightest_near(profile, 0.0, np.array([[1]]), 2)[0, 0] == 0
    assert axial_profiles.brightest_near(profile, 0.0, np.array([[40]]), 3)[0, 0] == -1


def test_a_parabola_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(3)
    place_DQ, weight_DQ = rng.integers(0, 99, (4, 9)), rng.random((4, 9))
    curve_DQ = axial_profiles.parabola(place_DQ, weight_DQ, (0.0, 0.0, 0.0))
    x = np.linspace(-1, 1, 9)
    for d in range(4):
        expected = np.polyval(np.polyfit(x, place_DQ[d], 2, w=np.sqrt(weight_DQ[d])), x)
        np.testing.assert_allclose(curve_DQ[d], expected, rtol=1e-9)
    level = axial_profiles.parabola(place_DQ, weight_DQ, (0.0, 1e12, 1e12))
    np.testing.assert_allclose(level[:, 0], np.average(place_DQ, axis=1, weights=weight_DQ), rtol=1e-9)
    assert np.isfinite(axial_profiles.parabola(place_DQ, np.zeros((4, 9)), (1e-6, 0.05, 0.5))).all()


def test_of_two_parts_far_apart_the_one_with_more_light_counts() -> None:
    profile = np.zeros((1, 1, 40), np.float32)
    profile[0, 0, 2:6], profile[0, 0, 16:26], profile[0, 0, 36:] = 9, 8, 9
    level_DQ = np.full((1, 1), 4.0)
    assert axial_profiles.tissue_top(profile, level_DQ, 3, 10)[0, 0] == pytest.approx(16)
    assert axial_profiles.tissue_top(profile, level_DQ, 3, 11)[0, 0] == pytest.approx(2, abs=0.1)  # one part
