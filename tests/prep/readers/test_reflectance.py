"""Reflectance as grey levels."""

import numpy as np

from octshard.prep.readers.reflectance import ReflectanceLevels


def test_levels_are_the_rounded_fourth_root() -> None:
    """Against float64 and a power; no value lies so near a half that the two could differ."""
    values = np.random.default_rng(0).random((40, 50), dtype=np.float32)
    exact = 255 * values.astype(np.float64) ** 0.25
    sure = np.abs(exact % 1 - 0.5) > 1e-4
    levels = ReflectanceLevels().of(values, 0)
    np.testing.assert_array_equal(levels[sure], np.rint(exact[sure]).astype(np.uint8))
    assert sure.mean() > 0.99


def test_every_level_comes_back() -> None:
    stored = ((np.arange(256) / 255) ** 4).astype(np.float32)[None]
    assert ReflectanceLevels().of(stored, 0).tolist() == [list(range(256))]


def test_pixels_without_a_value_are_counted_once_however_often_a_frame_is_read() -> None:
    levels = ReflectanceLevels()
    frame = np.array([[np.finfo(np.float32).max, np.nan, -1, 0.5]], np.float32)
    assert "without" not in levels.text
    for index in (0, 1, 0):
        assert levels.of(frame, index).tolist() == [[0, 0, 0, 214]]
    assert levels.text.endswith("; 6 pixels without a value became 0")
