"""Reflectance as grey levels."""

import numpy as np

from octshard.prep.readers.reflectance import ReflectanceLevels, levels_of
from octshard.prep.readers.scan_bytes import ScanBytes


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


def test_kept_levels_are_the_same_grey_in_sixteen_bits() -> None:
    values = np.random.default_rng(0).random((40, 50), dtype=np.float32)
    assert levels_of(ScanBytes(b"")).of(values, 0).dtype == np.uint8
    kept = levels_of(ScanBytes(b"", keep=True))
    levels = kept.of(values, 0)
    assert (levels.dtype, kept.display) == (np.uint16, (0.0, 65535.0))
    assert np.abs(levels / 65535 - values.astype(np.float64) ** 0.25).max() < 1e-5
    assert np.abs(levels / 257 - ReflectanceLevels().of(values, 0)).max() <= 0.51
    assert kept.text == "reflectance 0 to 1 became levels 0 to 65535 by its fourth root"
    edges = np.array([[0, 1, 1.7, np.nan, -1]], np.float32)
    assert kept.of(edges, 0).tolist() == [[0, 65535, 65535, 0, 0]]
