"""Histograms, moments and the way to 8 bits, against NumPy."""

import numpy as np
import pytest

from octshard.imaging.intensity import histogram, moments, to_uint8
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
