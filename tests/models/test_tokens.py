"""The list of tokens of a volume: those that hold a voxel, filled up; and what becomes of their features."""

import numpy as np
import pytest
import torch

from octshard.models import tokens

GRID, PATCH = (2, 3, 4), (2, 4, 4)


@pytest.mark.parametrize("extent", [(4, 12, 16), (3, 5, 16), (1, 1, 1), (2, 4, 8), (9, 99, 99)])
def test_a_token_is_listed_if_it_holds_a_voxel(extent: tuple[int, int, int]) -> None:
    volume_DHW = np.zeros((4, 12, 16), bool)
    volume_DHW[: extent[0], : extent[1], : extent[2]] = True
    holds_DHW = volume_DHW.reshape(2, 2, 3, 4, 4, 4).any((1, 3, 5))
    assert tokens.valid_ids(GRID, PATCH, extent).tolist() == np.flatnonzero(holds_DHW).tolist()


def test_shorter_lists_are_filled_up() -> None:
    index_BV, padding_BV, _ = tokens.as_tokens([np.array([0, 2, 5]), np.array([1])], 3)
    assert index_BV.tolist() == [[0, 2, 5], [1, 0, 0]]
    assert padding_BV is not None
    assert padding_BV.tolist() == [[False] * 3, [False, True, True]]
    assert tokens.as_tokens([np.array([3, 4])], 2, padded=False).padding_BV is None


def test_pooling_and_the_grid_leave_out_what_only_fills() -> None:
    z_BVF = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 5)))
    lists = tokens.as_tokens([np.array([0, 2, 5]), np.array([1])], 3)
    pooled = tokens.pool(z_BVF, lists.padding_BV)
    np.testing.assert_allclose(pooled[0], z_BVF[0].mean(0), atol=1e-6)
    np.testing.assert_allclose(pooled[1], z_BVF[1, 0], atol=1e-6)
    torch.testing.assert_close(tokens.pool(z_BVF, None), z_BVF.mean(1).float())
    expected = torch.zeros(2, 24, 5, dtype=torch.float64)
    expected[0, [0, 2, 5]] = z_BVF[0]
    expected[1, 1] = z_BVF[1, 0]
    assert torch.equal(tokens.to_grid(z_BVF, lists, 24), expected)
