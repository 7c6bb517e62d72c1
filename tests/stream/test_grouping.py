"""Volumes of a step dealt out by size: each once, alike for all who must be, no worse than any other way."""

from collections.abc import Iterator

import numpy as np
import pytest

from octshard.stream import grouping
from octshard.stream.batch import RankSlice
from octshard.stream.grouping import Grouping
from octshard.stream.sampler import BatchSamples, StreamPosition

SIZES = np.array([12, 18, 30, 44])
LENGTHS = (18, 30, 44)


@pytest.fixture(params=range(6))
def step(request: pytest.FixtureRequest) -> BatchSamples:
    """Sixteen of a hundred samples, some in two passes."""
    rng = np.random.default_rng(request.param)
    return BatchSamples(rng.choice(100, 16, replace=False), rng.integers(0, 2, 16), StreamPosition(0, 16))


@pytest.fixture(params=range(3))
def tokens_N(request: pytest.FixtureRequest) -> np.ndarray:
    return np.random.default_rng(9 + request.param).choice(SIZES, 100)


def parts(step: BatchSamples, ranks: int, groups: Grouping) -> Iterator[list[grouping.MicroBatch]]:
    """Of each rank."""
    for rank in range(ranks):
        yield list(grouping.deal(step, RankSlice(4, rank, ranks), groups))


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_each_rank_takes_its_own_volumes_once_in_lists_that_hold_them(
    step: BatchSamples, tokens_N: np.ndarray, ranks: int, alike: bool
) -> None:
    groups = Grouping(4, tokens_N, LENGTHS, alike)
    pairs = set(zip(step.samples_B.tolist(), step.passes_B.tolist(), strict=True))
    all_pairs: list[tuple[int, int]] = []
    lengths = []
    for rank, micro_batches in enumerate(parts(step, ranks, groups)):
        samples = np.concatenate([micro.samples_B for micro in micro_batches])
        assert sorted(samples) == sorted(step.samples_B[rank::ranks])
        for micro in micro_batches:
            assert len(micro.samples_B) == 4 // ranks
            assert tokens_N[micro.samples_B].max() <= micro.length
            all_pairs += zip(micro.samples_B.tolist(), micro.passes_B.tolist(), strict=True)
        lengths.append([micro.length for micro in micro_batches])
    assert set(all_pairs) == pairs
    if alike:
        assert all(each == lengths[0] for each in lengths)


def test_no_other_way_to_deal_them_out_has_shorter_lists(step: BatchSamples, tokens_N: np.ndarray) -> None:
    (micro_batches,) = parts(step, 1, Grouping(4, tokens_N, tuple(SIZES), False))
    total, rng = sum(micro.length for micro in micro_batches), np.random.default_rng(0)
    for _ in range(200):
        others = rng.permutation(tokens_N[step.samples_B]).reshape(4, 4)
        assert others.max(1).sum() >= total


def test_the_largest_come_first_and_last_the_part_with_the_last_volume(
    step: BatchSamples, tokens_N: np.ndarray
) -> None:
    for micro_batches in parts(step, 2, Grouping(4, tokens_N, LENGTHS, False)):
        *others, last = micro_batches
        assert [micro.length for micro in others] == sorted((m.length for m in others), reverse=True)
        assert {step.samples_B[-1], step.samples_B[-2]} & set(last.samples_B.tolist())


def test_volumes_of_one_size_stay_in_their_order(step: BatchSamples) -> None:
    groups = Grouping(4, np.full(100, 18), (18,), False)
    (micro_batches,) = parts(step, 1, groups)
    assert np.concatenate([micro.samples_B for micro in micro_batches]).tolist() == step.samples_B.tolist()
