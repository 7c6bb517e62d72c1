"""Shards -> batches: samples in the order of `sampler`, read by `read_ahead`, unpacked by `collate`.

Every sample is checked against the tables on every read; nothing is skipped, and an error is raised in place
of its batch. The position comes with the batch: it is all that a resume needs.
"""

import contextlib
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, NamedTuple

import numpy as np

from octshard.config.train import TrainConfig
from octshard.dataset.shard import BadSample
from octshard.imaging.volume import product
from octshard.stream import grouping, sampler
from octshard.stream.batch import BatchTransform, RankSlice, T
from octshard.stream.cache import Cache
from octshard.stream.collate import NO_PASS, BatchBuilder, BatchSpec, Collators
from octshard.stream.grouping import Grouping
from octshard.stream.index import SampleIndex, sampler_config
from octshard.stream.read_ahead import ReadAhead
from octshard.stream.sampler import StreamPosition

MAX_REQUESTED = 4096  # samples; more would only delay the first batch
MAX_BATCHES_AHEAD = 32  # however small they are


@dataclass(frozen=True, eq=False)
class Part(Generic[T]):
    """What batches are made of, and how: their samples are those of `index`, by number."""

    index: SampleIndex
    transform: BatchTransform[T]


def train_batches(
    index: SampleIndex,
    cfg: TrainConfig,
    rank_slice: RankSlice,
    start: StreamPosition,
    transform: BatchTransform[T],
) -> Generator[T, None, None]:
    """Without end: this rank's part of each batch from `start` on, seeded crops, through transform.prepare.

    Close the iterator to stop the threads.
    """
    part = Part(index, transform)
    return batches(((spec, part) for spec in train_specs(index, cfg, rank_slice, start)), cfg)


def eval_batches(
    index: SampleIndex, cfg: TrainConfig, rank_slice: RankSlice, limit: int, transform: BatchTransform[T]
) -> Generator[T, None, None]:
    """`limit` samples (0: all), evenly spread over the index, once, in its order; centre crops.

    Every batch is full; its first `count` samples are real. A bad sample is always an error.
    """
    part, lists = Part(index, transform), [evenly_spread(len(index.samples), limit)]
    return batches(((spec, part) for spec in listed_specs(rank_slice, lists)), cfg)


def train_specs(
    index: SampleIndex,
    cfg: TrainConfig,
    rank_slice: RankSlice,
    start: StreamPosition,
    groups: Grouping | None = None,
) -> Iterator[BatchSpec]:
    """Those of `train_batches`; with `groups` of whole steps, whose position all their batches have."""
    config, size = sampler_config(index, cfg), rank_slice.global_batch
    if groups is not None:
        sampler.check(config, size, rank_slice.world_size)
        for step in sampler.batch_samples(config, start, size * groups.micro_batches, 0, 1):
            for micro in grouping.deal(step, rank_slice, groups):
                samples_B, passes_B = micro.samples_B.tolist(), micro.passes_B.tolist()
                yield BatchSpec(samples_B, passes_B, len(samples_B), step.position, micro.length)
    for batch in sampler.batch_samples(config, start, size, rank_slice.rank, rank_slice.world_size):
        samples_B = batch.samples_B.tolist()
        yield BatchSpec(samples_B, batch.passes_B.tolist(), len(samples_B), batch.position)


def listed_specs(rank_slice: RankSlice, lists: Sequence[np.ndarray]) -> Iterator[BatchSpec]:
    """Of batches as of `eval_batches`, of the samples with these numbers; of several lists of one length the
    first batch of each, then the second of each, and so on.
    """
    batch_size = rank_slice.global_batch // rank_slice.world_size
    places = sampler.sequential_batches(len(lists[0]), batch_size, rank_slice.rank, rank_slice.world_size)
    for places_B, real_count in places:
        for numbers in lists:
            samples_B = numbers[places_B].tolist()
            yield BatchSpec(samples_B, [NO_PASS] * batch_size, real_count, StreamPosition(0, 0))


def evenly_spread(samples: int, limit: int) -> np.ndarray:
    """Numbers of `limit` of the samples (0: of all), evenly from all datasets, ascending."""
    count = min(limit, samples) if limit else samples
    return np.arange(count) * samples // max(1, count)


def max_requested(cfg: TrainConfig) -> int:
    """Samples that are requested in advance, whatever their size: at most two blocks of every lane."""
    return min(MAX_REQUESTED, 2 * cfg.data.lanes * cfg.data.shuffle_block_size)


class _SubstituteBudget:
    """Counts the substitutes of each epoch in the order of the stream, so that timing changes nothing."""

    def __init__(self, limit: int) -> None:
        self._limit, self._used = limit, Counter[int]()

    def spend(self, builder: BatchBuilder[T]) -> None:
        """BadSample if a batch takes the epoch in which it ends over the limit."""
        epoch = builder.spec.position.epoch
        self._used[epoch] += len(builder.substituted)
        if self._used[epoch] > self._limit:
            last = builder.substituted[max(builder.substituted)]
            raise BadSample(
                f"{last}; that makes {self._used[epoch]} substitutes in epoch {epoch}, want at most "
                f"data.max_substitutes={self._limit}"
            )


class _Planned(NamedTuple, Generic[T]):
    """A batch whose bytes are asked for."""

    builder: BatchBuilder[T]
    part: Part[T]
    nbytes: int  # of its voxels


def batches(specs: Iterator[tuple[BatchSpec, Part[T]]], cfg: TrainConfig) -> Generator[T, None, None]:
    """Results in order. Meanwhile further batches are built, up to data.prefetch_bytes, and the bytes of
    samples after them are read, up to data.read_ahead_bytes: in all parts together.
    """
    data = cfg.data
    with contextlib.ExitStack() as stack:
        cache = _open_cache(cfg, stack)
        pool = ThreadPoolExecutor(data.threads, "stream")
        read_ahead = ReadAhead(data.connections, cache)
        collators, budget = Collators(cfg, read_ahead), _SubstituteBudget(data.max_substitutes)
        stack.callback(pool.shutdown, wait=True)
        stack.callback(read_ahead.close)  # runs first: threads of the pool may be waiting for bytes
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        planned = (_plan(spec, part, read_ahead, collators) for spec, part in specs)
        requested, started = deque[_Planned[T]](), deque[_Planned[T]]()
        while True:
            _request(planned, requested, read_ahead, cfg, idle=not started)
            while requested and _may_start(requested[0], started, cfg):
                builder, part, _ = requested[0]
                builder.start(pool, collators.of(part.index), part.transform)
                started.append(requested.popleft())
                del builder, part
            if not started:
                return
            builder = started.popleft().builder
            result = builder.result()
            budget.spend(builder)
            del builder
            yield result
            del result


def _plan(spec: BatchSpec, part: Part[T], read_ahead: ReadAhead, collators: Collators) -> _Planned[T]:
    """Asks for the samples of a batch."""
    collator = collators.of(part.index)
    nbytes = len(spec.samples_B) * product(collator.box) * collator.dtype.itemsize
    return _Planned(BatchBuilder(spec, part.index, read_ahead), part, nbytes)


def _request(
    planned: Iterator[_Planned[T]],
    requested: deque[_Planned[T]],
    read_ahead: ReadAhead,
    cfg: TrainConfig,
    *,
    idle: bool,
) -> None:
    """Requests further samples: as many as may be held, and at least one batch whenever all are idle."""
    limit = max_requested(cfg)
    while (idle and not requested) or (
        read_ahead.held_bytes < cfg.data.read_ahead_bytes
        and sum(len(batch.builder.keys) for batch in requested) < limit
    ):
        batch = next(planned, None)
        if batch is None:
            return
        requested.append(batch)


def _may_start(batch: _Planned[T], started: deque[_Planned[T]], cfg: TrainConfig) -> bool:
    """Two batches are built at once, the next one and one more; others as data.prefetch_bytes allows."""
    if len(started) < 2:
        return True
    ahead = sum(each.nbytes for each in started) - started[0].nbytes + batch.nbytes
    return len(started) <= MAX_BATCHES_AHEAD and ahead <= cfg.data.prefetch_bytes


def _open_cache(cfg: TrainConfig, stack: contextlib.ExitStack) -> Cache | None:
    if not cfg.data.cache_dir:
        return None
    return stack.enter_context(Cache(cfg.data.cache_dir, cfg.data.cache_bytes))
