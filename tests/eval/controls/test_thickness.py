"""Hand-made features: micrometres and grey levels by a second, slower way; what is missing stays missing."""

import dataclasses

import numpy as np
import pytest
import torch

from octshard.dataset.tables import SampleRow
from octshard.eval.controls import thickness
from octshard.eval.controls.thickness import ScanGeometry
from octshard.imaging.retina_band import BLOCK, NOT_FOUND
from octshard.rng import rng_for
from octshard.stream.batch import Batch
from octshard.stream.sampler import StreamPosition

SHAPE = (24, 96, 384)  # D, H, W: 48 blocks
SPACING = (0.25, 0.005, 0.0156)  # 6 x 0.48 x 6 mm
RIGHT = ScanGeometry(SPACING, "R", True)
CELLS, SUMMARY = 64, 7


def band(top: int, bottom: np.ndarray | int) -> np.ndarray:
    rows = np.empty((SHAPE[0], SHAPE[2] // BLOCK, 2), np.int16)
    rows[..., 0], rows[..., 1] = top, bottom
    return rows


def noise() -> np.ndarray:
    return rng_for("thickness").integers(1, 255, SHAPE).astype(np.uint8)


def pit(d: int, q: int) -> np.ndarray:
    """A band that is thinnest at one place, by 12 rows within about 0.5 mm."""
    y, x = (np.arange(SHAPE[0]) - d) * 0.25, (np.arange(48) - q) * 0.0156 * 8
    return band(20, 80 - np.rint(12 * np.exp(-(np.hypot(y[:, None], x) ** 2) / 0.5)).astype(int))


def test_a_flat_band_is_as_thick_everywhere_and_its_parts_are_means_of_voxels():
    voxels = noise()
    values = thickness.thickness_features(voxels, band(20, 84), RIGHT)
    np.testing.assert_allclose(values[:CELLS], 64 * 5)
    np.testing.assert_allclose(values[CELLS : CELLS + SUMMARY], [320, 0, *[320] * 5], atol=1e-9)
    retina = voxels[:, 20:84].astype(float)
    at = CELLS + SUMMARY
    enface = retina.mean(axis=1).reshape(8, 3, 8, 48).mean(axis=(1, 3)) / retina.mean()
    np.testing.assert_allclose(values[at : at + CELLS].reshape(8, 8), enface, rtol=1e-5)
    at += CELLS
    assert values[at] == pytest.approx(retina.mean())
    at += 1 + SUMMARY
    blocks = retina.mean(axis=1).reshape(24, 48, 8).mean(axis=2) / retina.mean()
    steps = np.abs(np.diff(blocks, axis=0)) / 0.25
    np.testing.assert_allclose(values[at : at + 2], [steps.mean(), np.percentile(steps, 95)], rtol=1e-5)
    at += 4
    parts = retina.reshape(24, 8, 8, 384).mean(axis=(0, 2, 3)) / retina.mean()
    np.testing.assert_allclose(values[at : at + 8], parts, rtol=1e-5)


def test_a_band_that_ends_within_a_part_of_a_row_is_weighed_by_area():
    """Five rows in eight parts: part k covers rows 5 k / 8 to 5 (k + 1) / 8."""
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[:, 30:35] = np.array([10, 20, 30, 40, 50])[None, :, None]
    values = thickness.thickness_features(voxels, band(30, 35), RIGHT)
    at = CELLS + SUMMARY + CELLS + 1 + SUMMARY + 4
    fine = np.repeat([10, 20, 30, 40, 50], 8).reshape(8, 5).mean(axis=1)
    np.testing.assert_allclose(values[at : at + 8], fine / 30)


def test_rings_lie_around_the_fovea_wherever_it_is():
    rows = pit(10, 27)
    values = thickness.thickness_features(noise(), rows, RIGHT)
    y, x = (np.arange(24) - 10) * 0.25, (np.arange(48) - 27) * 0.0156 * 8
    radius = np.hypot(y[:, None], x)
    um = (rows[..., 1] - rows[..., 0]) * 5.0
    expected = [um[(radius >= a) & (radius < b)].mean() for a, b in ((0, 0.5), (0.5, 1.5), (1.5, 3))]
    at = CELLS + SUMMARY + CELLS + 1 + SUMMARY + 4 + 8 + 1 + 6
    central, quadrants = SUMMARY + 2 + 8, 4
    places = [at, at + central, at + 2 * central + quadrants]
    assert [values[i] for i in places] == pytest.approx(expected)
    angle = np.degrees(np.arctan2(y[:, None], x * np.ones((24, 1))))
    right = um[(radius >= 0.5) & (radius < 1.5) & (abs(angle) < 45)].mean()
    assert values[at + central + SUMMARY] == pytest.approx(right, abs=0.5)
    assert len(values) == at + 3 * central + 2 * quadrants


def test_dark_places_within_the_band_are_counted():
    """A black cyst of 8 of 64 rows in one of eight columns of cells."""
    voxels = np.full(SHAPE, 200, np.uint8)
    voxels[:, 40:48, :48] = 0
    values = thickness.thickness_features(voxels, band(20, 84), RIGHT)
    at = CELLS + SUMMARY + CELLS + 1 + SUMMARY + 4 + 8
    assert values[at] == pytest.approx(8 / 64 / 8)


def test_a_bump_of_the_lower_edge_is_rough_and_a_slope_is_not():
    at = CELLS + SUMMARY + CELLS + 1 + SUMMARY + 4 + 8 + 1
    slope = np.arange(48)[None] // 4 + 60
    drusen = slope + 6 * (np.arange(48) % 12 == 6)
    values = [thickness.thickness_features(noise(), band(20, bottom), RIGHT) for bottom in (slope, drusen)]
    inner, outer = slice(at, at + 3), slice(at + 3, at + 6)
    np.testing.assert_allclose(values[1][inner], 0, atol=1e-9)
    assert values[1][outer][2] > 4 * 5 > values[0][outer][2]


def test_a_left_eye_is_the_mirror_of_a_right_one():
    voxels, rows = noise(), pit(10, 27)
    left = thickness.thickness_features(voxels[..., ::-1], rows[:, ::-1], dataclasses.replace(RIGHT, eye="L"))
    np.testing.assert_allclose(left, thickness.thickness_features(voxels, rows, RIGHT))


def test_what_has_no_band_no_spacing_or_no_axis_in_space_is_missing():
    voxels, rows = noise(), band(20, 84)
    nothing = np.full_like(rows, NOT_FOUND)
    assert not np.isfinite(thickness.thickness_features(voxels, nothing, RIGHT)).any()
    for told in ({}, {"spacing_out": (1.0, 1.0, 1.0), "assumed_spacing": 1, "geometry": "raster"}):
        no_spacing = ScanGeometry.of(SampleRow("k", "1", "d", "", "", "", "", "R", "test", "", **told))
        assert not np.isfinite(thickness.thickness_features(voxels, rows, no_spacing)).any()
    whole = thickness.thickness_features(voxels, rows, RIGHT)
    radial = thickness.thickness_features(voxels, rows, dataclasses.replace(RIGHT, raster=False))
    rings = 3 * (SUMMARY + 2 + 8) + 2 * 4
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(np.isfinite(radial), np.arange(len(whole)) < len(whole) - rings)
    half = rows.copy()
    half[:, 24:] = NOT_FOUND
    cells = thickness.thickness_features(voxels, half, RIGHT)[:CELLS].reshape(8, 8)
    assert np.isfinite(cells[:, :4]).all()
    assert not np.isfinite(cells[:, 4:]).any()


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 28, 20), (1, 40, 384)])
def test_no_shape_and_no_grey_level_is_an_error(shape):
    rows = np.zeros((shape[0], -(-shape[2] // BLOCK), 2), np.int16)
    rows[..., 1] = shape[1]
    for grey in (0, 255):
        for mm in (1e-9, 0.01, 1e6):
            geometry = ScanGeometry((mm, mm, mm), "L", True)
            values = thickness.thickness_features(np.full(shape, grey, np.uint8), rows, geometry)
            assert values.shape == (221,)
            assert not np.isinf(values).any()


def test_missing_values_become_the_mean_of_train_and_nothing_of_test():
    values = np.array([[1, np.nan, 5], [3, np.nan, np.nan], [np.nan, 9, 100]])
    rows = np.stack([thickness.values_and_presence(row) for row in values])
    np.testing.assert_array_equal(thickness.filled(rows, np.array([0, 1])), [[1, 5], [3, 5], [2, 100]])
    assert thickness.measured(rows).tolist() == [True] * 3
    assert thickness.measured(np.zeros((2, 6))).tolist() == [False] * 2


def test_the_source_reads_each_scan_within_its_valid_extent():
    voxels, rows = noise(), pit(10, 27)
    padded = torch.zeros((2, 30, 100, 400), dtype=torch.uint8)
    padded[0, :24, :96, :384] = torch.from_numpy(voxels)
    bands = torch.full((2, 30, 50, 2), NOT_FOUND, dtype=torch.int16)
    bands[0, :24, :48] = torch.from_numpy(rows)
    ones = torch.ones(2)
    valid = torch.tensor([SHAPE, (3, 9, 17)])
    batch = Batch(padded, ones, ones, valid, ("a", "b"), (0, 0), 2, StreamPosition(0, 0), (), (), bands)
    table = [
        SampleRow(key, "1", "d", "", "", "", "", "R", "test", "", spacing_out=SPACING, geometry="raster")
        for key in "ab"
    ]
    source = thickness.thickness_source("thickness", table, "whole")
    values = source.values_of(batch)
    expected = thickness.values_and_presence(thickness.thickness_features(voxels, rows, RIGHT))
    np.testing.assert_array_equal(values[0], expected)
    assert thickness.measured(values).tolist() == [True, False]
    steps = dataclasses.replace(
        batch, voxels_BDHW=padded.to(torch.int16) * 128 + 3
    )  # of 12 bits: grey + 3/128
    np.testing.assert_array_equal(source.values_of(steps), values)
    without = source.values_of(dataclasses.replace(batch, band_BDQ2=None))
    assert not thickness.measured(without).any()


def test_slices_that_are_no_stack_have_no_steps_between_them_and_no_rings():
    row = SampleRow("k", "1", "d", "", "", "", "", "R", "test", "", geometry="radial", slice_axis="degrees")
    geometry = ScanGeometry.of(dataclasses.replace(row, spacing_out=(1.0, 0.004, 0.012)))
    assert np.isnan(geometry.spacing_mm[0])
    assert geometry.spacing_mm[1:] == (0.004, 0.012)
    assert not geometry.raster
