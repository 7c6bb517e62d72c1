"""Flip, zoom, shift and tilt against MONAI and against np.interp in float64; borders, exactness, autocast."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import Affine as MonaiAffine
from monai.transforms import Flip

from octshard.train.augment.affine import Affine, apply_affine

SLOT = (6, 14, 11)
EXTENTS = [SLOT, (5, 9, 8), (1, 14, 2)]
TOLERANCE = 255e-4  # 1e-4 of full scale
triples = st.tuples(*(st.integers(1, n) for n in SLOT))
flips = st.tuples(st.booleans(), st.booleans())


def slots(extents: list[tuple[int, int, int]], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(voxels, valid): random inside each extent, and 255 outside, which must not be seen."""
    rng = np.random.default_rng(seed)
    voxels = np.full((len(extents), *SLOT), 255, np.uint8)
    for slot_DHW, extent in zip(voxels, extents, strict=True):
        slot_DHW[inner(extent)] = rng.integers(0, 200, extent)
    return torch.from_numpy(voxels), torch.tensor(extents)


def inner(extent: tuple[int, int, int]) -> tuple[slice, ...]:
    return tuple(slice(n) for n in extent)


def affine(
    size: int,
    zoom: tuple[float, float, float] = (1, 1, 1),
    shift: tuple[float, float, float] = (0, 0, 0),
    tilt: tuple[float, float] = (0, 0),
) -> Affine:
    """The same map for `size` samples."""
    values = (torch.tensor([number] * size, dtype=torch.float32) for number in (zoom, shift, tilt))
    return Affine(*values, max(abs(t) for t in tilt))


def moved(
    voxels: torch.Tensor,
    valid: torch.Tensor,
    how: Affine | None,
    over: tuple[bool, bool] = (False, False),
) -> np.ndarray:
    over_d, over_w = (torch.full((len(voxels),), flip) for flip in over)
    moved_BDHW = apply_affine(voxels, valid, over_d, over_w, how)
    assert moved_BDHW.shape == voxels.shape
    assert moved_BDHW.dtype == torch.float32
    return moved_BDHW.numpy()


def by_monai(volume: np.ndarray, linear: np.ndarray, offset: tuple[float, ...] = (0, 0, 0)) -> np.ndarray:
    """`volume` read at linear @ (place - centre) + offset + centre."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = linear, offset
    transform = MonaiAffine(affine=matrix, mode="bilinear", padding_mode="border", image_only=True)
    transformed = transform(torch.from_numpy(volume.astype(np.float64))[None])
    return np.asarray(transformed)[0]


@pytest.mark.parametrize("over", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("how", [None, affine(3), affine(3)._replace(max_tilt=0.3)])
def test_flips_are_monais_and_exact(over: tuple[bool, bool], how: Affine | None) -> None:
    voxels, valid = slots(EXTENTS)
    result_BDHW = moved(voxels, valid, how, over)
    for i, extent in enumerate(EXTENTS):
        axes = [axis for axis, yes in zip((0, 2), over, strict=True) if yes]
        expected = Flip(spatial_axis=axes)(voxels[i][inner(extent)][None])[0]
        np.testing.assert_array_equal(result_BDHW[i][inner(extent)], np.asarray(expected))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("factor", [0.8, 1.07, 1.5])
def test_zoom_is_monais_affine(axis: int, factor: float) -> None:
    voxels, valid = slots(EXTENTS)
    zoom = [1.0, 1.0, 1.0]
    zoom[axis] = factor
    result_BDHW = moved(voxels, valid, affine(3, zoom=tuple(zoom)))
    for i, extent in enumerate(EXTENTS):
        expected = by_monai(voxels[i][inner(extent)].numpy(), np.diag(1 / np.array(zoom)))
        np.testing.assert_allclose(result_BDHW[i][inner(extent)], expected, atol=TOLERANCE)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("fraction", [-0.31, 0.125])
def test_shift_is_monais_affine(axis: int, fraction: float) -> None:
    voxels, valid = slots(EXTENTS)
    shift = [0.0, 0.0, 0.0]
    shift[axis] = fraction
    result_BDHW = moved(voxels, valid, affine(3, shift=tuple(shift)))
    for i, extent in enumerate(EXTENTS):
        offset = tuple(-np.array(shift) * extent)
        expected = by_monai(voxels[i][inner(extent)].numpy(), np.eye(3), offset)
        np.testing.assert_allclose(result_BDHW[i][inner(extent)], expected, atol=TOLERANCE)


@pytest.mark.parametrize("tilt", [(0.2, 0.0), (0.0, -0.35), (-0.11, 0.27)])
def test_tilt_is_monais_shear(tilt: tuple[float, float]) -> None:
    voxels, valid = slots(EXTENTS)
    result_BDHW = moved(voxels, valid, affine(3, tilt=tilt))
    for i, (d, h, w) in enumerate(EXTENTS):
        shear = np.eye(3)
        shear[1, [0, 2]] = [-t * h / max((n - 1) / 2, 0.5) for t, n in zip(tilt, (d, w), strict=True)]
        expected = by_monai(voxels[i][:d, :h, :w].numpy(), shear)
        np.testing.assert_allclose(result_BDHW[i, :d, :h, :w], expected, atol=TOLERANCE)


def by_interp(volume: np.ndarray, how: Affine, over: tuple[bool, bool]) -> np.ndarray:
    """One voxel after the other, in float64: np.interp along D, W and H, and along H for the tilt."""
    zoom, shift, tilt = (value[0].double().numpy() for value in how[:3])
    centre = (np.array(volume.shape) - 1) / 2
    pace = np.array([-1 if over[0] else 1, 1, -1 if over[1] else 1]) / zoom

    def along(axis: int, places: np.ndarray, x: np.ndarray) -> np.ndarray:
        at = centre[axis] + (places - centre[axis] - shift[axis] * volume.shape[axis]) * pace[axis]
        return np.apply_along_axis(lambda line: np.interp(at, np.arange(len(line)), line), axis, x)

    size_d, size_h, size_w = volume.shape
    x = along(2, np.arange(size_w), along(0, np.arange(size_d), volume.astype(np.float64)))
    result = np.empty(volume.shape)
    for d in range(size_d):
        for w in range(size_w):
            off = [(d - centre[0]) / max(centre[0], 0.5), (w - centre[2]) / max(centre[2], 0.5)]
            read = np.arange(size_h) - size_h * float(np.dot(tilt, off))
            low = np.floor(read)
            column = x[d : d + 1, :, w : w + 1]
            below, above = (along(1, rows, column)[0, :, 0] for rows in (low, low + 1))
            result[d, :, w] = below + (read - low) * (above - below)
    return result


shares = st.floats(-0.4, 0.4)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(triples, min_size=1, max_size=2),
    flips,
    st.tuples(*(st.floats(0.625, 1.5) for _ in range(3))),
    st.tuples(shares, shares, shares),
    st.tuples(shares, shares),
)
def test_all_together_are_interpolations_one_after_the_other(
    extents: list[tuple[int, int, int]],
    over: tuple[bool, bool],
    zoom: tuple[float, float, float],
    shift: tuple[float, float, float],
    tilt: tuple[float, float],
) -> None:
    voxels, valid = slots(extents)
    how = affine(len(extents), zoom, shift, tilt)
    result_BDHW = moved(voxels, valid, how, over)
    for i, extent in enumerate(extents):
        result, volume = result_BDHW[i][inner(extent)], voxels[i][inner(extent)].numpy()
        np.testing.assert_allclose(result, by_interp(volume, how, over), atol=TOLERANCE)
        assert result.min() >= volume.min() - 1e-3
        assert result.max() <= volume.max() + 1e-3


@settings(max_examples=40, deadline=None)
@given(st.lists(triples, min_size=1, max_size=3), st.floats(0, 0.5))
def test_the_identity_is_exact_whatever_tilt_the_config_allows(
    extents: list[tuple[int, int, int]], max_tilt: float
) -> None:
    voxels, valid = slots(extents)
    result_BDHW = moved(voxels, valid, affine(len(extents))._replace(max_tilt=max_tilt))
    for i, extent in enumerate(extents):
        np.testing.assert_array_equal(result_BDHW[i][inner(extent)], voxels[i][inner(extent)].numpy())


def test_each_sample_has_its_own_map() -> None:
    voxels, valid = slots(EXTENTS)
    hows = [affine(1, (1.1, 0.9, 1.2), (0.1, 0, -0.1), (0.1, -0.2)), affine(1), affine(1, tilt=(0.0, 0.2))]
    together = Affine(*(torch.cat(values) for values in zip(*(how[:3] for how in hows), strict=True)), 0.2)
    over_d, over_w = torch.tensor([True, False, True]), torch.tensor([False, True, True])
    result_BDHW = apply_affine(voxels, valid, over_d, over_w, together)
    for i, how in enumerate(hows):
        alone = moved(
            voxels[i : i + 1],
            valid[i : i + 1],
            how._replace(max_tilt=0.2),
            (bool(over_d[i]), bool(over_w[i])),
        )
        np.testing.assert_allclose(result_BDHW[i : i + 1], alone, atol=1e-4)


def test_the_margin_holds_the_largest_tilt() -> None:
    """Both tilts at their most: the corners move by twice `max_tilt` of H, and see the border."""
    voxels, valid = slots([SLOT])
    result_BDHW = moved(voxels, valid, affine(1, tilt=(0.5, 0.5)))
    volume = voxels[0].numpy()
    assert math.ceil(2 * 0.5 * SLOT[1]) == SLOT[1]
    np.testing.assert_array_equal(result_BDHW[0, -1, :, -1], np.full(SLOT[1], volume[-1, 0, -1]))
    np.testing.assert_array_equal(result_BDHW[0, 0, :, 0], np.full(SLOT[1], volume[0, -1, 0]))


def test_autocast_does_not_round() -> None:
    voxels, valid = slots(EXTENTS)
    how = affine(3, (1.1, 0.9, 1.2), (0.1, 0, -0.1), (0.1, -0.2))
    expected = moved(voxels, valid, how)
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_array_equal(moved(voxels, valid, how), expected)
