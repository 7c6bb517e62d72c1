"""RankMe and spread against NumPy and the cases whose answer is known."""

import numpy as np
import pytest
import torch

from octshard.train.objectives import collapse


def test_rank_of_orthogonal_rows_is_their_number() -> None:
    assert float(collapse.rankme(torch.eye(12)[:8] * 3)) == pytest.approx(8, rel=1e-3)


def test_rank_of_one_repeated_vector_is_one() -> None:
    assert float(collapse.rankme(torch.randn(16).expand(32, 16))) == pytest.approx(1, abs=1e-3)


def test_rank_is_the_entropy_of_singular_values() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 8)) * np.arange(1, 9)
    values = np.sqrt(np.linalg.eigvalsh(rows.T @ rows))
    p = values / values.sum()
    expected = np.exp(-(p * np.log(p)).sum())
    assert float(collapse.rankme(torch.from_numpy(rows))) == pytest.approx(expected, rel=1e-3)


def test_nothing_at_all_is_finite() -> None:
    assert np.isfinite(float(collapse.rankme(torch.zeros(4, 4))))
    assert float(collapse.feature_std(torch.ones(4, 4))) == 0


def test_spread_is_the_mean_standard_deviation() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 8)) * np.arange(1, 9)
    assert float(collapse.feature_std(torch.from_numpy(rows))) == pytest.approx(rows.std(0).mean(), rel=1e-5)


@pytest.mark.parametrize(("batch", "tokens", "rows"), [(2, 5, 10), (16, 3686, 1024), (3, 700, 3 * 341)])
def test_the_sample_takes_tokens_evenly_from_each_volume(batch: int, tokens: int, rows: int) -> None:
    z_BTF = torch.arange(batch * tokens).reshape(batch, tokens, 1).expand(-1, -1, 4)
    tokens_RF = collapse.subsample_tokens(z_BTF)
    assert tokens_RF.shape == (rows, 4)
    assert tokens_RF.dtype == torch.float32
    assert len(tokens_RF[:, 0].unique()) == rows
    assert (tokens_RF[:, 0] // tokens).unique(return_counts=True)[1].tolist() == [rows // batch] * batch


def test_the_spread_of_volumes_is_that_of_neighbours() -> None:
    pooled_BF = torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 6.0]])
    spread = collapse.add_volumes(collapse.no_spread(2), pooled_BF)
    assert spread.squares_F.tolist() == [4 + 1, 36]
    assert float(spread.pairs) == 2


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_spread_does_not_depend_on_the_batch(batch: int) -> None:
    pooled_BF = torch.from_numpy(np.random.default_rng(3).standard_normal((10, 4)))
    spread = collapse.no_spread(4)
    for part_BF in pooled_BF.split(batch):
        spread = collapse.add_volumes(spread, part_BF)
    assert float(spread.pairs) == 9
    expected = np.square(np.diff(pooled_BF.numpy(), axis=0)).sum(0)
    np.testing.assert_allclose(spread.squares_F.numpy(), expected, rtol=1e-5)


def test_half_the_mean_square_is_the_variance_and_a_slow_drift_is_none() -> None:
    rng = np.random.default_rng(4)
    drift = np.linspace(0, 50, 4000)[:, None]  # far more than the spread of 2
    pooled_BF = torch.from_numpy(2 * rng.standard_normal((4000, 3)) + drift)
    spread = collapse.add_volumes(collapse.no_spread(3), pooled_BF)
    variance_F = spread.squares_F / (2 * spread.pairs)
    np.testing.assert_allclose(variance_F.numpy(), 4, rtol=0.1)
