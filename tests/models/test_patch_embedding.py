"""A patch embedding for another number of channels and another patch, against shares counted by hand."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from octshard.models import patch_embedding


def test_the_shares_of_old_voxels_in_new_ones() -> None:
    assert patch_embedding.shares_of(2, 2).tolist() == [[1, 0], [0, 1]]
    assert patch_embedding.shares_of(1, 4).tolist() == [[0.25], [0.25], [0.25], [0.25]]
    assert patch_embedding.shares_of(2, 4).tolist() == [[0.5, 0], [0.5, 0], [0, 0.5], [0, 0.5]]
    assert patch_embedding.shares_of(4, 2).tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]
    halves = patch_embedding.shares_of(2, 3)  # thirds of two voxels: 2/3, then half of each third
    np.testing.assert_allclose(halves, [[2 / 3, 0], [1 / 3, 1 / 3], [0, 2 / 3]], rtol=1e-12)


def test_one_channel_and_the_same_patch_stay_bit_for_bit() -> None:
    kernel = torch.randn(5, 1, 2, 3, 4)
    assert torch.equal(patch_embedding.refit(kernel, (2, 3, 4)), kernel.reshape(5, 24))


@pytest.mark.parametrize("patch", [(2, 4, 4), (4, 4, 4), (1, 4, 4), (3, 4, 4), (6, 8, 2)])
def test_a_volume_that_is_even_within_old_voxels_keeps_its_features(patch: tuple[int, int, int]) -> None:
    """Grey in three channels; even along each axis whose patch changes."""
    torch.manual_seed(0)
    kernel = torch.randn(5, 3, 2, 4, 4)
    sizes = [1 if new != old else old for new, old in zip(patch, (2, 4, 4), strict=True)]
    grey = torch.randn(1, 1, *sizes)
    old = functional.conv3d(grey.expand(1, 3, 2, 4, 4), kernel).flatten()
    ours = patch_embedding.refit(kernel, patch) @ grey.expand(1, 1, *patch).flatten()
    torch.testing.assert_close(ours, old, rtol=1e-5, atol=1e-5)


def test_an_image_kernel_is_repeated_and_divided() -> None:
    kernel = torch.randn(5, 3, 1, 4, 4)
    inflated = patch_embedding.refit(kernel, (4, 4, 4)).reshape(5, 4, 4, 4)
    for d in range(4):
        torch.testing.assert_close(inflated[:, d], kernel[:, :, 0].sum(1) / 4)
