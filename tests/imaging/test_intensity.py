"""Histograms, moments and the way to 8 bits, against NumPy."""

import numpy as np
import pytest

from octshard.imaging.intensity import (
    EIGHT_BITS,
    GreyScale,
    batch_voxels,
    grey_scale,
    grey_steps,
    grey_uint8,
    histogram,
    moments,
    nearest_grey,
    to_grey_steps,
    to_uint8,
)
from octshard.imaging.volume import SampleKey, Volume

KEY = SampleKey.of("1001", "topcon_triton", "macula_6x6", "L", "1.2.3")


def noise(shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (9, 20, 30)])
def test_histogram_is_bincount(shape: tuple[int, ...], dtype: type) -> None:
    voxels = noise(shape, dtype)
    np.testing.assert_array_equal(
        histogram(voxels), np.bincount(voxels.ravel(), minlength=np.iinfo(dtype).max + 1)
    )


def test_histogram_takes_read_only_and_strided_voxels() -> None:
    voxels = noise((4, 6, 8))
    voxels.flags.writeable = False
    np.testing.assert_array_equal(histogram(voxels[::2, 1:, ::3]), histogram(voxels[::2, 1:, ::3].copy()))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_moments_agree_with_numpy(dtype: type) -> None:
    voxels = noise((9, 20, 30), dtype)
    measured = moments(histogram(voxels))
    np.testing.assert_allclose([measured.mean, measured.std], [voxels.mean(), voxels.std()], rtol=1e-12)
    expected = np.percentile(voxels, (1, 99), method="inverted_cdf")
    np.testing.assert_array_equal([measured.p01, measured.p99], expected)


def test_wide_volumes_are_mapped_by_their_percentiles() -> None:
    v = Volume(KEY, noise((8, 16, 16), np.uint16), (1.0, 1.0, 1.0))
    mapped, (low, high) = to_uint8(v)
    assert [low, high] == list(np.percentile(v.voxels_DHW, (0.1, 99.9), method="inverted_cdf"))
    exact = np.clip((v.voxels_DHW.astype(float) - low) / (high - low) * 255, 0, 255)
    assert mapped.voxels_DHW.dtype == np.uint8
    assert np.abs(mapped.voxels_DHW - exact).max() <= 0.5


def test_eight_bits_pass_unchanged() -> None:
    v = Volume(KEY, noise((2, 3, 4)), (1.0, 1.0, 1.0))
    assert to_uint8(v) == (v, (0.0, 255.0))


def test_grey_of_sixteen_bits_is_that_of_eight_but_for_rounding() -> None:
    """Steps are of 1/128 grey; np.interp is the second method, which also ends at both ends."""
    voxels = noise((8, 16, 16), np.uint16)
    scale = grey_scale(histogram(voxels))
    exact = np.interp(voxels, [scale.black, scale.white], [0, 255])
    steps = voxels.copy()
    to_grey_steps(steps, scale)
    error, from_half = np.abs(steps / 128 - exact), np.abs(exact % 1 - 0.5)
    assert error[from_half > 1 / 128].max() <= 1 / 256
    assert error.max() <= 1 / 128
    assert np.abs(steps / 128 - to_uint8(Volume(KEY, voxels, (1.0, 1.0, 1.0)))[0].voxels_DHW).max() <= 0.5
    measured = moments(histogram(voxels), scale)
    np.testing.assert_allclose([measured.mean, measured.std], [exact.mean(), exact.std()], rtol=1e-9)
    expected = np.percentile(exact, (1, 99), method="inverted_cdf")
    np.testing.assert_allclose([measured.p01, measured.p99], expected, rtol=1e-12)


def test_whole_grey_levels_are_whole_in_steps_and_zero_stays_zero() -> None:
    levels = np.arange(256, dtype=np.uint16).reshape(2, 8, 16)
    to_grey_steps(levels, EIGHT_BITS)
    np.testing.assert_array_equal(levels.ravel(), 128 * np.arange(256))
    padding = np.zeros((1, 2, 3), np.uint16)
    to_grey_steps(padding, GreyScale(0.0, 1.0))
    to_grey_steps(padding, GreyScale(40.0, 3000.0))
    assert not padding.any()


@pytest.mark.parametrize("level", [0, 7, 65535])
def test_a_constant_volume_of_sixteen_bits_is_black(level: int) -> None:
    wide = np.full((2, 3, 4), level, np.uint16)
    mapped, scale = to_uint8(Volume(KEY, wide, (1.0, 1.0, 1.0)))
    assert scale == (level, level)
    assert not mapped.voxels_DHW.any()
    assert moments(histogram(wide), scale) == (0.0, 0.0, 0.0, 0.0)


def test_voxels_of_a_batch_are_rounded_to_whole_grey() -> None:
    steps = np.array([[[0, 63, 64, 191, 192, 32639, 32640]]], np.int16)
    np.testing.assert_array_equal(nearest_grey(steps), [[[0, 0, 1, 1, 2, 255, 255]]])
    eight = noise((2, 3, 4))
    assert nearest_grey(eight) is eight


@pytest.mark.parametrize("scale", [(0, 255 * 7), (200, 4095), (0, 65535), (13, 1000), (5, 515), (3, 3)])
def test_grey_is_rounded_by_one_rule(scale: tuple[int, int]) -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(16, 64, 64)
    steps = grey_steps(levels, GreyScale(*scale))
    np.testing.assert_array_equal(nearest_grey(steps), grey_uint8(levels, GreyScale(*scale)))
    exact = GreyScale(*scale).greys(65536).reshape(levels.shape)
    assert np.abs(steps / 128 - exact).max() <= 1 / 128
    whole = exact == np.rint(exact)
    np.testing.assert_array_equal(steps[whole], 128 * exact[whole])


def test_a_volume_is_read_as_its_shard_would_be() -> None:
    voxels = noise((4, 5, 6), np.uint16)
    volume = Volume(KEY, voxels, (1.0, 1.0, 1.0))
    steps, kept = batch_voxels(volume, keep=True)
    eight, rounded = batch_voxels(volume, keep=False)
    scale = grey_scale(histogram(voxels))
    assert (steps.dtype, eight.dtype) == (np.int16, np.uint8)
    np.testing.assert_array_equal(steps, grey_steps(voxels, scale))
    np.testing.assert_array_equal(eight, to_uint8(volume)[0].voxels_DHW)
    assert kept == moments(histogram(voxels), scale)
    assert rounded == moments(histogram(eight))
    assert np.abs(np.subtract(kept, rounded)).max() <= 0.5
