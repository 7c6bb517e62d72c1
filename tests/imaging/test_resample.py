"""Resampling against float64 references by other roads (integrals, interpolation, SimpleITK) and by hand."""

from itertools import pairwise

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 (its own documentation's name)
from hypothesis import given
from hypothesis import strategies as st

from octshard.errors import OctshardError
from octshard.imaging import resample
from octshard.imaging.resample import Regrid, matrix, resample_frames, taps
from octshard.imaging.volume import SampleKey, Shape, Volume

KEY = SampleKey.of("1001", "topcon_triton", "macula_6x6", "L", "1.2.3")
SHAPES = [  # in, out: every axis shrinks, stays and grows at least once, alone and with the others
    ((9, 41, 17), (11, 8, 10)),
    ((9, 41, 17), (4, 8, 30)),
    ((7, 13, 5), (7, 13, 5)),
    ((5, 600, 4), (2, 1, 4)),
    ((1, 1, 1), (3, 4, 5)),
    ((12, 3, 40), (1, 9, 39)),
    ((2, 50, 50), (9, 49, 51)),
]


def noise(shape: Shape, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


def along_axis(voxels: np.ndarray, n_out: int, axis: int) -> np.ndarray:
    """One axis in float64 by another road: differences of the running integral, or np.interp at centres."""
    n_in = voxels.shape[axis]
    columns = np.moveaxis(voxels, axis, -1).astype(np.float64)
    flat = columns.reshape(-1, n_in)
    if n_out <= n_in:
        integral = np.concatenate([np.zeros((len(flat), 1)), np.cumsum(flat, axis=1)], axis=1)
        edges = np.arange(n_out + 1) * n_in / n_out
        at_edges = np.stack([np.interp(edges, np.arange(n_in + 1), line) for line in integral])
        resampled = np.diff(at_edges, axis=1) * n_out / n_in
    else:
        centres = (np.arange(n_out) + 0.5) * n_in / n_out - 0.5
        resampled = np.stack([np.interp(centres, np.arange(n_in), line) for line in flat])
    return np.moveaxis(resampled.reshape(*columns.shape[:-1], n_out), -1, axis)


def reference(voxels: np.ndarray, shape: Shape) -> np.ndarray:
    for axis, n_out in enumerate(shape):
        voxels = along_axis(voxels, n_out, axis)
    return voxels


def psnr(resampled: np.ndarray, exact: np.ndarray, peak: float) -> float:
    return float(10 * np.log10(peak**2 / max(np.mean((resampled - exact) ** 2), 1e-12)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("before", "after"), SHAPES)
def test_at_most_one_level_from_float64(before: Shape, after: Shape, dtype: type) -> None:
    voxels = noise(before, dtype)
    resampled = resample_frames(iter(voxels), Regrid(before, after))
    exact = reference(voxels, after)
    assert resampled.dtype == dtype
    assert resampled.shape == after
    assert np.abs(resampled - exact).max() <= 1.0
    assert before == after or psnr(resampled, exact, np.iinfo(dtype).max) >= 55


@given(st.integers(2, 60), st.data())
def test_a_shrinking_kernel_is_the_exact_area_average(n_in: int, data: st.DataObject) -> None:
    """By brute force: a fine grid that both voxel sizes divide, averaged."""
    n_out = data.draw(st.integers(1, n_in))
    slivers = np.repeat(np.eye(n_in), n_out, axis=0)
    expected = slivers.reshape(n_out, n_in, n_in).mean(axis=1)
    np.testing.assert_allclose(matrix(taps(n_in, n_out), n_in), expected, atol=1e-8)


@given(st.integers(1, 60), st.integers(1, 120))
def test_weights_sum_to_one_and_keep_the_centre(n_in: int, n_out: int) -> None:
    weights = matrix(taps(n_in, n_out), n_in)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-12)
    mirrored = weights[::-1, ::-1]  # mirrored in, mirrored out: the centre stays
    np.testing.assert_allclose(weights, mirrored, atol=1e-8)


def test_growing_interpolates_between_centres() -> None:
    expected = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    np.testing.assert_allclose(matrix(taps(2, 4), 2), expected, atol=1e-12)


@given(st.integers(4, 200), st.integers(1, 3), st.floats(0.3, 1.0))
def test_reduced_samples_stand_where_they_were_taken(n_in: int, level: int, share: float) -> None:
    """A ramp sampled at voxels k * 2^level comes out as the ramp at the output's centres."""
    samples = -(-n_in // 2**level)
    n_out = max(1, round(samples * share))
    ramp = np.arange(samples) * 2.0**level + 0.5  # the edge coordinate of each sample's centre
    kernel = taps(n_in, n_out, level)
    positions = matrix(kernel, samples) @ ramp
    centres = (np.arange(n_out) + 0.5) * n_in / n_out
    half = n_in / n_out / 2
    inside = (centres - half >= ramp[0] - 2**level / 2) & (centres + half <= ramp[-1] + 2**level / 2)
    # an area average of point samples lies within half a sample of the true mean of the interval
    assert np.all(np.abs(positions - centres)[inside] <= 2**level / 2)
    if inside.any():
        assert abs(float(np.mean((positions - centres)[inside]))) <= 2**level / 4 + 1e-9


def test_reversed_order_is_the_mirrored_volume() -> None:
    for before, after in SHAPES:
        voxels = noise(before)
        plain = resample_frames(voxels, Regrid(before, after))
        turned = resample_frames(voxels, Regrid(before, after, reverse=True))
        np.testing.assert_array_equal(turned, plain[::-1])


def test_identity_is_exact() -> None:
    volume = Volume(KEY, noise((5, 6, 7)), (0.06, 0.004, 0.012))
    assert resample.resample(volume, volume.spacing_mm) is volume
    np.testing.assert_array_equal(
        resample_frames(volume.voxels_DHW, Regrid((5, 6, 7), (5, 6, 7))), noise((5, 6, 7))
    )


def test_a_constant_stays_itself_at_both_ends_of_the_range() -> None:
    for level, dtype in ((255, np.uint8), (65535, np.uint16), (0, np.uint8)):
        voxels = np.full((6, 700, 9), level, dtype)
        for after in ((3, 13, 20), (9, 1, 5)):
            assert np.all(resample_frames(voxels, Regrid((6, 700, 9), after)) == level)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((512, 64, 64), (1, 8, 8)),
        ((512, 97, 53), (1, 13, 7)),
        ((512, 31, 17), (1, 40, 60)),
        ((20, 99, 9), (37, 7, 20)),
    ],
)
def test_the_greatest_level_never_wraps_to_black(before: Shape, after: Shape) -> None:
    """Sums in float32 may end above the mean that they are of."""
    white = np.full(before[1:], 65535, np.uint16)
    resampled = resample_frames((white for _ in range(before[0])), Regrid(before, after))
    assert resampled.min() >= 65534


def test_physical_extent_is_kept() -> None:
    volume = Volume(KEY, noise((7, 31, 13)), (0.06, 0.004, 0.012))
    out = resample.resample(volume, (0.05, 0.021, 0.0201))
    before = [n * s for n, s in zip(volume.voxels_DHW.shape, volume.spacing_mm, strict=True)]
    after = [n * s for n, s in zip(out.voxels_DHW.shape, out.spacing_mm, strict=True)]
    np.testing.assert_allclose(before, after)


def test_agrees_with_simpleitk_where_its_kernel_is_the_same() -> None:
    """Whole-number shrinking is its BinShrink (a mean over bins); growing is its linear interpolation."""
    voxels = noise((8, 60, 36))
    binned = sitk.GetArrayFromImage(
        sitk.BinShrink(sitk.GetImageFromArray(voxels.astype(np.float32)), [3, 5, 2])
    )
    resampled = resample_frames(voxels, Regrid((8, 60, 36), (4, 12, 12)))
    assert np.abs(resampled - binned).max() <= 0.5 + 1e-3

    image = sitk.GetImageFromArray(voxels.astype(np.float32))
    grown = (13, 90, 61)
    spacing = [n / m for n, m in zip((36, 60, 8), grown[::-1], strict=True)]
    origin = [(s - 1) / 2 for s in spacing]  # voxel edges coincide
    field = sitk.ResampleImageFilter()
    field.SetSize(grown[::-1])
    field.SetOutputSpacing(spacing)
    field.SetOutputOrigin(origin)
    field.SetInterpolator(sitk.sitkLinear)
    expected = sitk.GetArrayFromImage(field.Execute(image))
    resampled = resample_frames(voxels, Regrid((8, 60, 36), grown))
    inner = tuple(slice(3, -3) for _ in range(3))  # beyond the outer voxel centres SimpleITK has no values
    assert np.abs(resampled[inner] - expected[inner]).max() <= 0.51


def test_wrong_frames_are_an_error() -> None:
    voxels = noise((5, 6, 7))
    for frames, grid in (
        (voxels[:4], Regrid((5, 6, 7), (2, 3, 4))),
        (voxels, Regrid((4, 6, 7), (2, 3, 4))),
        (voxels, Regrid((5, 7, 7), (2, 3, 4))),
        (voxels[:0], Regrid((5, 6, 7), (9, 3, 4))),
    ):
        with pytest.raises(OctshardError, match="want"):
            resample_frames(frames, grid)


def test_input_is_never_held() -> None:
    """Every frame but the one in hand may be overwritten as soon as the next is asked for."""
    voxels = noise((9, 20, 10))
    buffer = np.empty((20, 10), np.uint8)

    def frames() -> object:
        for frame in voxels:
            buffer[:] = frame
            yield buffer
            buffer[:] = 99

    for after in ((4, 7, 12), (20, 7, 12)):
        grid = Regrid((9, 20, 10), after)
        np.testing.assert_array_equal(resample_frames(frames(), grid), resample_frames(voxels, grid))  # type: ignore[arg-type]


def test_kernels_cover_their_axis_without_gaps() -> None:
    kernel = taps(992, 130)
    ends = kernel.start + kernel.reach
    assert kernel.start[0] == 0
    assert ends[-1] == 992
    assert all(start <= end for end, (_, start) in zip(ends, pairwise(kernel.start), strict=False))
