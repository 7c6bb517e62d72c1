"""Shards -> batches: samples in the order of `sampler`, read by `read_ahead`, unpacked by `collate`.

Every sample is checked against the tables on every read; nothing is skipped, and an error is raised in place
of its batch. The position comes with the batch: it is all that a resume needs.
"""

import contextlib
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from octshard.config.train import TrainConfig
from octshard.dataset.shard import BadSample
from octshard.imaging.volume import product
from octshard.stream import sampler
from octshard.stream.batch import BatchTransform, RankSlice, T
from octshard.stream.cache import Cache
from octshard.stream.collate import NO_PASS, BatchBuilder, BatchSpec, Collator
from octshard.stream.index import SampleIndex, sampler_config
from octshard.stream.read_ahead import ReadAhead
from octshard.stream.sampler import StreamPosition

MAX_REQUESTED = 4096  # samples; more would only delay the first batch
MAX_BATCHES_AHEAD = 32  # however small they are


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
    batches = sampler.batch_samples(
        sampler_config(index, cfg), start, rank_slice.global_batch, rank_slice.rank, rank_slice.world_size
    )
    specs = (
        BatchSpec(batch.samples_B.tolist(), batch.passes_B.tolist(), len(batch.samples_B), batch.position)
        for batch in batches
    )
    return _run(specs, index, cfg, transform)


def eval_batches(
    index: SampleIndex, cfg: TrainConfig, rank_slice: RankSlice, limit: int, transform: BatchTransform[T]
) -> Generator[T, None, None]:
    """`limit` samples (0: all), evenly spread over the index, once, in its order; centre crops.

    Every batch is full; its first `count` samples are real. A bad sample is always an error.
    """
    return listed_batches(index, cfg, rank_slice, [evenly_spread(len(index.samples), limit)], transform)


def listed_batches(
    index: SampleIndex,
    cfg: TrainConfig,
    rank_slice: RankSlice,
    lists: Sequence[np.ndarray],
    transform: BatchTransform[T],
) -> Generator[T, None, None]:
    """Batches as of `eval_batches`, of the samples with these numbers; of several lists of one length the
    first batch of each, then the second of each, and so on.
    """
    batch_size = rank_slice.global_batch // rank_slice.world_size
    batches = sampler.sequential_batches(len(lists[0]), batch_size, rank_slice.rank, rank_slice.world_size)
    specs = (
        BatchSpec(numbers[places_B].tolist(), [NO_PASS] * batch_size, real_count, StreamPosition(0, 0))
        for places_B, real_count in batches
        for numbers in lists
    )
    return _run(specs, index, cfg, transform)


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


def _run(
    specs: Iterator[BatchSpec], index: SampleIndex, cfg: TrainConfig, transform: BatchTransform[T]
) -> Generator[T, None, None]:
    """Results in order. Meanwhile further batches are built, up to data.prefetch_bytes, and the bytes of
    samples after them are read, up to data.read_ahead_bytes.
    """
    data = cfg.data
    builders: Iterator[BatchBuilder[T]]
    with contextlib.ExitStack() as stack:
        cache = _open_cache(cfg, stack)
        pool = ThreadPoolExecutor(data.threads, "stream")
        read_ahead = ReadAhead(data.connections, cache)
        collator, budget = Collator(index, cfg, read_ahead), _SubstituteBudget(data.max_substitutes)
        stack.callback(pool.shutdown, wait=True)
        stack.callback(read_ahead.close)  # runs first: threads of the pool may be waiting for bytes
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        builders = (BatchBuilder(spec, index, read_ahead) for spec in specs)
        requested, started = deque[BatchBuilder[T]](), deque[BatchBuilder[T]]()
        while True:
            _request(builders, requested, read_ahead, cfg, idle=not started)
            while requested and len(started) < _batches_ahead(requested[0], collator, cfg):
                requested[0].start(pool, collator, transform)
                started.append(requested.popleft())
            if not started:
                return
            builder = started.popleft()
            result = builder.result()
            budget.spend(builder)
            del builder
            yield result
            del result


def _request(
    builders: Iterator[BatchBuilder[T]],
    requested: deque[BatchBuilder[T]],
    read_ahead: ReadAhead,
    cfg: TrainConfig,
    *,
    idle: bool,
) -> None:
    """Requests further samples: as many as may be held, and at least one batch whenever all are idle."""
    limit = max_requested(cfg)
    while (idle and not requested) or (
        read_ahead.held_bytes < cfg.data.read_ahead_bytes
        and sum(len(builder.keys) for builder in requested) < limit
    ):
        builder = next(builders, None)  # making a builder submits its samples
        if builder is None:
            return
        requested.append(builder)


def _batches_ahead(builder: BatchBuilder[T], collator: Collator, cfg: TrainConfig) -> int:
    """Batches that are built at once: the next one, and as many more as data.prefetch_bytes allows."""
    fit = cfg.data.prefetch_bytes // (len(builder.keys) * product(collator.box))
    return 1 + min(MAX_BATCHES_AHEAD, max(1, fit))


def _open_cache(cfg: TrainConfig, stack: contextlib.ExitStack) -> Cache | None:
    if not cfg.data.cache_dir:
        return None
    return stack.enter_context(Cache(cfg.data.cache_dir, cfg.data.cache_bytes))
