"""Shards -> batches: the order of `order`, the bytes of `reading`, put into batches by `filling`, in order.

Every sample is checked against the tables on every read; nothing is skipped, and an error reaches the
consumer at its turn. The position travels with the batch: it is all that a resume needs.
"""

import contextlib
from collections import Counter, deque
from collections.abc import Generator, Iterator
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

MOST_ASKED = 4096  # more would only delay the first batch
MOST_AHEAD = 32  # batches held ready, however small they are


def train_batches(
    table: SampleIndex, cfg: TrainConfig, share: RankSlice, start: StreamPosition, way: BatchTransform[T]
) -> Generator[T, None, None]:
    """Without end: this process's part of each batch from `start` on, seeded crops, through way.prepare.

    Close the iterator to stop the threads.
    """
    drawn = sampler.batch_samples(
        sampler_config(table, cfg), start, share.global_batch, share.rank, share.world_size
    )
    wanted = (
        BatchSpec(draw.samples_B.tolist(), draw.passes_B.tolist(), len(draw.samples_B), draw.position)
        for draw in drawn
    )
    return _run(wanted, table, cfg, way)


def eval_batches(
    table: SampleIndex, cfg: TrainConfig, share: RankSlice, limit: int, way: BatchTransform[T]
) -> Generator[T, None, None]:
    """`limit` samples (0: all), evenly spread over the table, once, in its order; centre crops.

    Every batch is full, and `count` of it real. A bad sample is always an error.
    """
    samples = min(limit, len(table.samples)) if limit else len(table.samples)
    taken = np.arange(samples) * len(table.samples) // max(1, samples)  # all datasets have their share
    batch = share.global_batch // share.world_size
    wanted = (
        BatchSpec(taken[numbers_B].tolist(), [NO_PASS] * batch, real, StreamPosition(0, 0))
        for numbers_B, real in sampler.sequential_batches(samples, batch, share.rank, share.world_size)
    )
    return _run(wanted, table, cfg, way)


def max_requested(cfg: TrainConfig) -> int:
    """Samples that are asked for in advance, whatever their size: at most two blocks of every lane."""
    return min(MOST_ASKED, 2 * cfg.data.lanes * cfg.data.shuffle_block_size)


class _Budget:
    """Counts the substitutes of each epoch in the order of the stream, so that timing changes nothing."""

    def __init__(self, most: int) -> None:
        self._most, self._used = most, Counter[int]()

    def spend(self, job: BatchBuilder[T]) -> None:
        """BadSample if a batch takes its epoch, that in which it ends, over the budget."""
        epoch = job.spec.position.epoch
        self._used[epoch] += len(job.substituted)
        if self._used[epoch] > self._most:
            last = job.substituted[max(job.substituted)]
            raise BadSample(
                f"{last}; that makes {self._used[epoch]} substitutes in epoch {epoch}, want at most "
                f"data.max_substitutes={self._most}"
            )


def _run(
    wanted: Iterator[BatchSpec], table: SampleIndex, cfg: TrainConfig, way: BatchTransform[T]
) -> Generator[T, None, None]:
    """Results in order; meanwhile batches are filled up to data.prefetch_bytes, and bytes of samples further
    on are read up to data.read_ahead_bytes.
    """
    data = cfg.data
    jobs: Iterator[BatchBuilder[T]]
    with contextlib.ExitStack() as stack:
        cache = _open_cache(cfg, stack)
        pool = ThreadPoolExecutor(data.threads, "stream")
        reading_ = ReadAhead(data.connections, cache)
        filler, budget = Collator(table, cfg, reading_), _Budget(data.max_substitutes)
        stack.callback(pool.shutdown, wait=True)
        stack.callback(reading_.close)  # before it: threads of the pool may be waiting for bytes
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        jobs = (BatchBuilder(one, table, reading_) for one in wanted)
        planned, pending = deque[BatchBuilder[T]](), deque[BatchBuilder[T]]()
        while True:
            _plan(jobs, planned, reading_, cfg, idle=not pending)
            while planned and len(pending) < _batches_ahead(planned[0], cfg):
                planned[0].start(pool, filler, way)
                pending.append(planned.popleft())
            if not pending:
                return
            job = pending.popleft()
            result = job.result()
            budget.spend(job)
            del job
            yield result
            del result


def _plan(
    jobs: Iterator[BatchBuilder[T]],
    planned: deque[BatchBuilder[T]],
    reading_: ReadAhead,
    cfg: TrainConfig,
    *,
    idle: bool,
) -> None:
    """Asks for samples further on: for as many as may be held, and for one batch whenever all are idle."""
    most = max_requested(cfg)
    while (idle and not planned) or (
        reading_.held_bytes < cfg.data.read_ahead_bytes and sum(len(job.keys) for job in planned) < most
    ):
        job = next(jobs, None)
        if job is None:
            return
        planned.append(job)


def _batches_ahead(job: BatchBuilder[T], cfg: TrainConfig) -> int:
    """Batches that are filled at once: the one that is waited for, and what data.prefetch_bytes allows."""
    fit = cfg.data.prefetch_bytes // (len(job.keys) * product(cfg.model.image_size))
    return 1 + min(MOST_AHEAD, max(1, fit))


def _open_cache(cfg: TrainConfig, stack: contextlib.ExitStack) -> Cache | None:
    if not cfg.data.cache_dir:
        return None
    return stack.enter_context(Cache(cfg.data.cache_dir, cfg.data.cache_bytes))
