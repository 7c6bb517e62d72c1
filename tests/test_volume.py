"""Resampling against float64 references and hand-computed cases; keys; moments."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octshard import volume
from octshard.errors import OctshardError
from octshard.volume import Refused, SampleKey, Volume

KEY = SampleKey.of("1001", "topcon_triton", "macula_6x6", "L", "1.2.3")


def random_volume(shape: tuple[int, int, int], dtype: type = np.uint8) -> Volume:
    rng = np.random.default_rng(0)
    voxels = rng.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)
    return Volume(KEY, voxels, (0.06, 0.004, 0.012))


def dense_reference(n_in: int, n_out: int) -> np.ndarray:
    """The same kernel by brute force: a fine grid that both voxel sizes divide, averaged (shrinking only)."""
    fine = np.repeat(np.eye(n_in), n_out, axis=0)  # each input voxel as n_out slivers
    return fine.reshape(n_out, n_in, n_in).mean(axis=1)


@given(st.integers(2, 40), st.data())
def test_shrinking_is_the_exact_area_average(n_in: int, data: st.DataObject) -> None:
    n_out = data.draw(st.integers(1, n_in - 1))
    weights = volume.axis_weights(n_in, n_out).toarray()
    np.testing.assert_allclose(weights, dense_reference(n_in, n_out), atol=1e-12)


@given(st.integers(1, 40), st.integers(1, 80))
def test_weights_sum_to_one_and_keep_the_centre(n_in: int, n_out: int) -> None:
    weights = volume.axis_weights(n_in, n_out).toarray()
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(
        weights, weights[::-1, ::-1], atol=1e-9
    )  # mirrored in, mirrored out: centre stays


def test_growing_interpolates_between_centres() -> None:
    weights = volume.axis_weights(2, 4).toarray()
    np.testing.assert_allclose(weights, [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]], atol=1e-12)


def test_identity_is_exact() -> None:
    v = random_volume((5, 6, 7))
    assert volume.resample(v, v.spacing_mm) is v


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_resample_is_within_one_level_of_float64(dtype: type) -> None:
    v = random_volume((9, 41, 17), dtype)
    out = volume.resample(v, (0.05, 0.02, 0.02))
    d, h, w = out.voxels_DHW.shape
    assert (d, h, w) == (round(9 * 0.06 / 0.05), round(41 * 0.004 / 0.02), round(17 * 0.012 / 0.02))
    exact = v.voxels_DHW.astype(np.float64)
    for axis, n in enumerate((d, h, w)):
        matrix = volume.axis_weights(exact.shape[axis], n).toarray()
        exact = np.moveaxis(np.tensordot(matrix, exact, (1, axis)), 0, axis)
    assert out.voxels_DHW.dtype == dtype
    assert np.abs(out.voxels_DHW - exact).max() <= 1.0


def test_physical_extent_is_kept() -> None:
    v = random_volume((7, 31, 13))
    out = volume.resample(v, (0.05, 0.021, 0.0201))
    before = [n * s for n, s in zip(v.voxels_DHW.shape, v.spacing_mm, strict=True)]
    after = [n * s for n, s in zip(out.voxels_DHW.shape, out.spacing_mm, strict=True)]
    np.testing.assert_allclose(before, after)


def test_missing_frames_are_an_error() -> None:
    with pytest.raises(OctshardError, match="2 frames came, want 3"):
        volume.resample_frames(iter(np.zeros((2, 4, 4), np.uint8)), (3, 4, 4), (2, 2, 2))


def test_wide_volumes_are_mapped_by_their_percentiles() -> None:
    v = random_volume((8, 16, 16), np.uint16)
    mapped, (low, high) = volume.to_uint8(v)
    assert mapped.voxels_DHW.dtype == np.uint8
    middle = (low + high) / 2
    at = np.abs(v.voxels_DHW.astype(float) - middle).argmin()
    assert abs(int(mapped.voxels_DHW.ravel()[at]) - 127.5) <= 1.5
    assert volume.to_uint8(random_volume((2, 3, 4)))[1] == (0.0, 255.0)


def test_moments_agree_with_numpy() -> None:
    voxels = random_volume((9, 20, 30)).voxels_DHW
    found = volume.moments(voxels)
    np.testing.assert_allclose([found.mean, found.std], [voxels.mean(), voxels.std()], rtol=1e-12)
    expected = np.percentile(voxels, (1, 99), method="inverted_cdf")
    np.testing.assert_array_equal([found.p01, found.p99], expected)


def test_valid_tokens_of_a_padded_volume() -> None:
    # 50x96x286 voxels in 32x192x192: cropped to 32x96x192, so 8 x 6 x 12 = 576 of 1,152 tokens hold a voxel
    assert volume.valid_tokens((50, 96, 286), (32, 192, 192), (4, 16, 16)) == (8, 6, 12)
    assert volume.valid_tokens((1, 17, 1), (32, 192, 192), (4, 16, 16)) == (1, 2, 1)


def test_key_has_no_dot_and_names_the_scan() -> None:
    key = str(SampleKey.of("7001", "topcon_triton", "3d radial.v2", "L", "1.2.3.4"))
    assert "." not in key
    assert key.startswith("7001-topcon_triton-3d_radial_v2-L-")
    assert key != str(SampleKey.of("7001", "topcon_triton", "3d radial.v2", "L", "1.2.3.5"))


def test_volumes_are_checked_and_read_only() -> None:
    with pytest.raises(OctshardError, match="want uint8 or uint16"):
        Volume(KEY, np.zeros((2, 2, 2), np.float32), (1, 1, 1))
    with pytest.raises(OctshardError, match="want all three > 0"):
        Volume(KEY, np.zeros((2, 2, 2), np.uint8), (0, 1, 1))
    assert not random_volume((2, 2, 2)).voxels_DHW.flags.writeable


def test_refusals_come_from_the_closed_list() -> None:
    assert Refused("truncated", "x").reason == "truncated"
    with pytest.raises(ValueError, match="not one of"):
        Refused("bad_luck", "x")
