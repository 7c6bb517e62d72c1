"""The volumes of a step dealt out to its micro-batches by size, so that lists of a few lengths hold them.

A step is the same whatever micro-batch a volume is in, but for rounding. Each rank deals out its own volumes,
so that it reads what it would read anyway. A pure function of the order of samples.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from octshard.stream.batch import RankSlice
from octshard.stream.sampler import BatchSamples


class Grouping(NamedTuple):
    """micro_batches: of a step; tokens_N: valid tokens of each sample of the index; lengths: ascending, of
    lists, the last one holds any. alike: all ranks take the same length, that of the largest volume of any.
    """

    micro_batches: int
    tokens_N: np.ndarray
    lengths: tuple[int, ...]
    alike: bool


class MicroBatch(NamedTuple):
    """Those samples of a step that a rank takes at once, and of which length their lists are."""

    samples_B: np.ndarray
    passes_B: np.ndarray
    length: int


def deal(step: BatchSamples, ranks: RankSlice, grouping: Grouping) -> Iterator[MicroBatch]:
    """The micro-batches of `ranks.rank`: the largest volumes first, but last the one with the last volume of
    the order: statistics of it are then of volumes of any size. step: of all ranks.
    """
    orders = [_order(step, ranks, rank, grouping) for rank in range(ranks.world_size)]
    rank = ranks.world_size - 1 if grouping.alike else ranks.rank
    last = int(np.flatnonzero((orders[rank] == orders[rank].max()).any(1))[0])
    read = orders if grouping.alike else [orders[ranks.rank]]
    for number in [*(n for n in range(grouping.micro_batches) if n != last), last]:
        samples = np.concatenate([step.samples_B[order[number]] for order in read])
        most = int(grouping.tokens_N[samples].max())
        length = next(length for length in grouping.lengths if length >= most)
        places_B = orders[ranks.rank][number]
        yield MicroBatch(step.samples_B[places_B], step.passes_B[places_B], length)


def _order(step: BatchSamples, ranks: RankSlice, rank: int, grouping: Grouping) -> np.ndarray:
    """(micro-batches, B): places in the step of a rank's volumes; each micro-batch in their own order."""
    places = np.arange(rank, len(step.samples_B), ranks.world_size)
    falling = np.argsort(-grouping.tokens_N[step.samples_B[places]], kind="stable")
    return np.sort(places[falling].reshape(grouping.micro_batches, -1), axis=1)
