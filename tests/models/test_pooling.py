"""Pooled features against NumPy over the valid tokens alone, in one tile and in several."""

import numpy as np
import pytest
import torch

from octshard.models.pooling import MAX, MEAN, MEAN_STD, POOLINGS, merge, of_tile, summarize

COUNTS = (7, 3, 1)


def tiles(z_BVF: torch.Tensor, counts: tuple[int, ...] = COUNTS):
    padding_BV = torch.arange(z_BVF.shape[1]).expand(z_BVF.shape[:2]) >= torch.tensor(counts)[:, None]
    summary = summarize(z_BVF, padding_BV, POOLINGS)
    return [of_tile(summary, i, count) for i, count in enumerate(counts)]


@pytest.fixture
def z_BVF() -> torch.Tensor:
    return 3 + torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0))


def test_one_tile_is_that_of_its_valid_tokens(z_BVF):
    for tile, z_VF, count in zip(tiles(z_BVF), z_BVF.double().numpy(), COUNTS, strict=True):
        held = z_VF[:count]
        np.testing.assert_allclose(merge(MEAN, [tile]), held.mean(0), atol=1e-6)
        np.testing.assert_allclose(merge(MEAN_STD, [tile]), [*held.mean(0), *held.std(0)], atol=1e-6)
        np.testing.assert_allclose(merge(MAX, [tile]), held.max(0), atol=1e-6)


def test_several_tiles_are_one_set_of_tokens(z_BVF):
    """Far means and few tokens, which a mean over tiles would get wrong."""
    z_BVF[1] += 50
    parts = tiles(z_BVF)
    held = np.concatenate([z[:n] for z, n in zip(z_BVF.double().numpy(), COUNTS, strict=True)])
    np.testing.assert_allclose(merge(MEAN, parts), held.mean(0), rtol=1e-6)
    np.testing.assert_allclose(merge(MEAN_STD, parts), [*held.mean(0), *held.std(0)], rtol=1e-6)
    np.testing.assert_allclose(merge(MAX, parts), held.max(0), rtol=1e-6)
    assert all(merge(name, parts).dtype == np.float32 for name in POOLINGS)


def test_one_tile_is_not_changed_by_merging(z_BVF):
    summary = summarize(z_BVF, None, POOLINGS)
    for i in range(3):
        tile = of_tile(summary, i, 7)
        expected_F = np.concatenate([summary.mean_BF[i], np.sqrt(summary.variance_BF[i].numpy())])
        assert merge(MEAN, [tile]).tobytes() == summary.mean_BF[i].numpy().tobytes()
        assert merge(MEAN_STD, [tile]).tobytes() == expected_F.tobytes()
        assert merge(MAX, [tile]).tobytes() == summary.max_BF[i].numpy().tobytes()


def test_padding_changes_nothing(z_BVF):
    other_BVF = z_BVF.clone()
    for i, count in enumerate(COUNTS):
        other_BVF[i, count:] = 1e6
    for name in POOLINGS:
        for tile, other in zip(tiles(z_BVF), tiles(other_BVF), strict=True):
            np.testing.assert_array_equal(merge(name, [tile]), merge(name, [other]))


def test_half_precision_is_pooled_in_float32():
    z_BVF = torch.full((1, 1000, 2), 100.0, dtype=torch.bfloat16)
    (tile,) = tiles(z_BVF, (1000,))
    assert merge(MEAN_STD, [tile]).tolist() == [100.0, 100.0, 0.0, 0.0]


def test_only_what_is_asked_for_is_made(z_BVF):
    assert summarize(z_BVF, None, (MEAN,))[1:] == (None, None)
    assert summarize(z_BVF, None, ())[1:] == (None, None)
