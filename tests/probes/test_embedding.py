"""Pooled features against NumPy over the valid tokens alone."""

import numpy as np
import torch

from octshard.probes.embedding import mean_std


def test_mean_and_std_are_those_of_the_valid_tokens() -> None:
    z_BVF = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0))
    padding_BV = torch.arange(7).expand(3, 7) >= torch.tensor([[7], [3], [1]])
    pooled_BF = mean_std(z_BVF, padding_BV)
    for pooled, z_VF, count in zip(pooled_BF.numpy(), z_BVF.double().numpy(), (7, 3, 1), strict=True):
        by_hand = np.concatenate([z_VF[:count].mean(0), z_VF[:count].std(0)])
        np.testing.assert_allclose(pooled, by_hand, atol=1e-6)


def test_padding_changes_nothing_and_a_volume_without_tokens_is_zero() -> None:
    z_BVF = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    padding_BV = torch.tensor([[False, False, True, True], [True, True, True, True]])
    other_BVF = torch.where(padding_BV.unsqueeze(-1), torch.full_like(z_BVF, 1e6), z_BVF)
    assert torch.equal(mean_std(z_BVF, padding_BV), mean_std(other_BVF, padding_BV))
    assert torch.equal(mean_std(z_BVF, padding_BV)[1], torch.zeros(6))


def test_half_precision_is_pooled_in_float32() -> None:
    z_BVF = torch.full((1, 1000, 2), 100.0, dtype=torch.bfloat16)
    pooled_BF = mean_std(z_BVF, torch.zeros(1, 1000, dtype=torch.bool))
    assert pooled_BF.dtype == torch.float32
    assert pooled_BF.tolist() == [[100.0, 100.0, 0.0, 0.0]]
