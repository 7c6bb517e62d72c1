"""The coarser view of the context, against means taken voxel by voxel in loops."""

import numpy as np
import pytest
import torch

from octshard.models.normalize import normalize
from octshard.train.augment.cross_resolution import coarsen

PATCH = (2, 4, 4)


def by_loops(x_DHW: np.ndarray, extent: list[int], scale: tuple[int, int, int]) -> np.ndarray:
    """float64: the mean of the voxels within `extent` in each box of `scale`; 0 where there are none."""
    coarse = [-(-n // (s * p)) * p for n, s, p in zip(x_DHW.shape, scale, PATCH, strict=True)]
    out = np.zeros(coarse)
    for place in np.ndindex(*coarse):
        low = [i * s for i, s in zip(place, scale, strict=True)]
        high = [min(first + s, n) for first, s, n in zip(low, scale, extent, strict=True)]
        box = x_DHW[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
        if all(a < b for a, b in zip(low, high, strict=True)):
            out[place] = box.astype(np.float64).mean()
    return out


@pytest.mark.parametrize("scale", [(1, 2, 2), (2, 1, 3), (3, 3, 2), (1, 4, 1)])
def test_a_coarse_voxel_is_the_mean_of_the_real_voxels_in_its_box(scale: tuple[int, int, int]) -> None:
    """Extents that end within a box, within a patch, and at the end of the image."""
    extents = [[6, 20, 28], [5, 17, 22], [1, 3, 9]]
    x = torch.from_numpy(np.random.default_rng(0).normal(3, 1, (3, 1, 6, 20, 28)).astype(np.float32))
    for x_CDHW, (d, h, w) in zip(x, extents, strict=True):
        x_CDHW[:, d:] = x_CDHW[:, :, h:] = x_CDHW[..., w:] = 0
    coarse = coarsen(x, torch.tensor(extents), PATCH, scale)
    for x_CDHW, coarse_Cdhw, extent in zip(x, coarse, extents, strict=True):
        np.testing.assert_allclose(coarse_Cdhw[0], by_loops(x_CDHW[0].numpy(), extent, scale), atol=1e-6)


def test_the_border_of_a_volume_is_as_bright_as_the_rest_of_it() -> None:
    grey = torch.full((1, 4, 9, 11), 200, dtype=torch.uint8)
    grey[:, 3:] = grey[:, :, 9:] = grey[..., 9:] = 0
    valid_B3 = torch.tensor([[3, 9, 9]])
    x = normalize(grey, torch.tensor([100.0]), torch.tensor([50.0]), valid_B3)
    x = torch.nn.functional.pad(x, (0, 1, 0, 3))
    coarse = coarsen(x, valid_B3, PATCH, (2, 2, 2))
    assert coarse.shape == (1, 1, 2, 8, 8)
    assert torch.equal(coarse[0, 0, :2, :5, :5], torch.full((2, 5, 5), 2.0))
    assert not coarse[0, 0, :, 5:].any()
    assert not coarse[0, 0, :, :, 5:].any()


def test_a_coarse_voxel_reads_its_own_box_alone() -> None:
    x = torch.randn(1, 1, 4, 8, 12, generator=torch.Generator().manual_seed(0)).requires_grad_()
    coarse = coarsen(x, torch.tensor([[4, 7, 12]]), PATCH, (2, 2, 3))
    (slope,) = torch.autograd.grad(coarse[0, 0, 1, 3, 2], x)
    expected = torch.zeros_like(slope)
    expected[0, 0, 2:4, 6:7, 6:9] = 1 / 6  # row 7 is padding
    torch.testing.assert_close(slope[..., :7, :], expected[..., :7, :])


def test_at_its_own_spacing_a_view_stays_the_same_tensor() -> None:
    x = torch.randn(1, 1, 2, 4, 4)
    assert coarsen(x, torch.tensor([[2, 4, 4]]), PATCH, (1, 1, 1)) is x
