"""Shards -> batches: the order of `order`, the bytes of `reading`, verified, unpacked straight into batches.

Every sample is checked against the tables on every read; nothing is skipped, and an error reaches the
consumer with shard, offset and key. The position travels with the batch: it is all that a resume needs.
"""

import contextlib
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from octshard import shard
from octshard.config import TrainConfig
from octshard.errors import UsageError
from octshard.rng import rng_for
from octshard.shard import BadSample
from octshard.train import order, reading
from octshard.train.cache import Cache
from octshard.train.order import StreamPosition
from octshard.train.reading import Reading, Scratch
from octshard.train.table import Table, order_of
from octshard.volume import Shape, product

MOST_ASKED = 4096  # more would only delay the first batch
MOST_AHEAD = 32  # batches held ready, however small they are
NO_PASS = -1  # of a sample in evaluation
Prepared = TypeVar("Prepared")
Say = Callable[[str], None]
Empty = Callable[[Sequence[int]], Tensor]  # a uint8 tensor of that shape for a batch, of whatever is in it


@dataclass(frozen=True, eq=False)
class Batch:
    """What one reader takes of one batch. voxels_BDHW uint8, padding 0 at the high end; valid_B3 voxels
    along D, H, W. pass_B: which pass over its domain each sample belongs to; without mixing, the epoch.

    The first `count` samples are real; only evaluation's last batch has repeats behind them.
    """

    voxels_BDHW: Tensor
    mean_B: Tensor
    std_B: Tensor
    valid_B3: Tensor
    keys: tuple[str, ...]
    epoch_B: tuple[int, ...]
    count: int
    position: StreamPosition
    substituted: tuple[str, ...]  # what was wrong with each sample that another stands in for
    seeds: tuple[str, ...]  # what randomness hangs on: the key; of a stand-in also the missing one's


@dataclass(frozen=True)
class Share:
    """Which part of each batch is this process's: `batch` samples over all, reader `reader` of `readers`."""

    batch: int
    reader: int
    readers: int


@dataclass(frozen=True)
class Way(Generic[Prepared]):
    """How batches reach their consumer; all three are called in the stream's threads."""

    prepare: Callable[[Batch], Prepared]
    empty: Empty
    say: Say  # gets a line where the cache has trouble


def training(
    table: Table, cfg: TrainConfig, share: Share, start: StreamPosition, way: Way[Prepared]
) -> Generator[Prepared, None, None]:
    """Without end: this process's part of each batch from `start` on, seeded crops, through way.prepare.

    Close the iterator to stop the threads.
    """
    drawn = order.draws(order_of(table, cfg), start, share.batch, share.reader, share.readers)
    wanted = (
        _Wanted(draw.samples_B.tolist(), draw.passes_B.tolist(), len(draw.samples_B), draw.position)
        for draw in drawn
    )
    return _run(wanted, table, cfg, way)


def evaluation(
    table: Table, cfg: TrainConfig, share: Share, limit: int, way: Way[Prepared]
) -> Generator[Prepared, None, None]:
    """`limit` samples (0: all), evenly spread over the table, once, in its order; centre crops.

    Every batch is full, and `count` of it real. A bad sample is always an error.
    """
    samples = min(limit, len(table.entries)) if limit else len(table.entries)
    taken = np.arange(samples) * len(table.entries) // max(1, samples)  # all datasets have their share
    batch = share.batch // share.readers
    wanted = (
        _Wanted(taken[numbers_B].tolist(), [NO_PASS] * batch, real, StreamPosition(0, 0))
        for numbers_B, real in order.table_draws(samples, batch, share.reader, share.readers)
    )
    return _run(wanted, table, cfg, way)


def check(cfg: TrainConfig) -> None:
    """UsageError for a word that the stream does not know."""
    if cfg.data.on_bad_sample not in ("raise", "substitute"):
        raise UsageError(f"data.on_bad_sample={cfg.data.on_bad_sample}: unknown, want raise or substitute")


def most_planned(cfg: TrainConfig) -> int:
    """Samples that are asked for in advance, whatever their size: at most two blocks of every lane."""
    return min(MOST_ASKED, 2 * cfg.data.lanes * cfg.data.shuffle_window)


def window(stored: Shape, image_size: Shape, rng: np.random.Generator | None) -> tuple[slice, slice, slice]:
    """The part of a stored volume that is taken: at most image_size, random by `rng` or centred without."""
    spare = [max(0, n - size) for n, size in zip(stored, image_size, strict=True)]
    first = [n // 2 for n in spare] if rng is None else [int(rng.integers(n + 1)) for n in spare]
    d, h, w = (slice(f, f + min(n, size)) for f, n, size in zip(first, stored, image_size, strict=True))
    return d, h, w


class _Wanted(NamedTuple):
    """One batch as numbers of samples in the table."""

    samples_B: list[int]
    passes_B: list[int]  # NO_PASS: centre crops
    real: int
    position: StreamPosition


class _Job(Generic[Prepared]):
    """One batch in the making: its slots are filled by any threads in any order, the last one prepares it."""

    def __init__(self, wanted: _Wanted, table: Table, reading_: Reading) -> None:
        self.wanted = wanted
        self.keys = [table.entries[sample].row.key for sample in wanted.samples_B]
        self.seeds = list(self.keys)
        self.asked = [reading_.ask(table.entries[sample]) for sample in wanted.samples_B]
        self.substituted: dict[int, str] = {}
        self._missing, self._lock = len(self.keys), threading.Lock()
        self._fills: list[Future[None]] = []
        self._prepared: Prepared | None = None

    def start(self, pool: ThreadPoolExecutor, filler: "_Filler", way: Way[Prepared]) -> None:
        """Takes memory for the batch and lets the threads fill it."""
        size = len(self.keys)
        self.voxels_BDHW = way.empty((size, *filler.image_size))
        self.mean_B, self.std_B = torch.zeros(size), torch.ones(size)
        self.valid_B3 = torch.zeros((size, 3), dtype=torch.int64)
        self._fills = [pool.submit(self._fill, slot, filler, way) for slot in range(size)]

    def result(self) -> Prepared:
        """Waits; raises what any slot raised."""
        for fill in self._fills:
            fill.result()
        return cast(Prepared, self._prepared)

    def _fill(self, slot: int, filler: "_Filler", way: Way[Prepared]) -> None:
        filler.fill(self, slot)
        with self._lock:
            self._missing -= 1
            last = self._missing == 0
        if last:
            self._prepared = way.prepare(self._batch())

    def _batch(self) -> Batch:
        return Batch(
            self.voxels_BDHW,
            self.mean_B,
            self.std_B,
            self.valid_B3,
            tuple(self.keys),
            tuple(max(0, which) for which in self.wanted.passes_B),
            self.wanted.real,
            self.wanted.position,
            tuple(self.substituted[slot] for slot in sorted(self.substituted)),
            tuple(self.seeds),
        )


class _Own(threading.local):
    """A thread's own memory: for a slice that is read, and for a volume of which only a part is taken."""

    def __init__(self) -> None:
        self.slice, self.volume = Scratch(), Scratch()


class _Filler:
    """Puts samples into the slots of batches, and others in their place where that is allowed."""

    def __init__(self, table: Table, cfg: TrainConfig, reading_: Reading) -> None:
        d, h, w = cfg.model.image_size
        self.image_size: Shape = (d, h, w)
        self._table, self._cfg, self._reading = table, cfg, reading_
        self._own = _Own()

    def fill(self, job: _Job[Prepared], slot: int) -> None:
        """Fills one slot; BadSample if its sample is bad and none may stand in."""
        sample, asked = job.wanted.samples_B[slot], job.asked[slot]
        try:
            try:
                self._put(job, slot, sample, self._reading.take(asked, self._own.slice))
            except BadSample as error:
                self._put(job, slot, sample, self._reading.take_again(asked, error))
        except BadSample as error:
            self._substitute(job, slot, error)
        finally:
            self._reading.done(asked)

    def _substitute(self, job: _Job[Prepared], slot: int, error: BadSample) -> None:
        """Another of the lane in its place, if that is allowed; `_Budget` counts them in order."""
        sample, which = job.wanted.samples_B[slot], job.wanted.passes_B[slot]
        if self._cfg.data.on_bad_sample != "substitute" or which == NO_PASS:
            raise error
        missing = job.keys[slot]
        for attempt in range(self._cfg.data.max_substitutes):
            other = order.substitute(order_of(self._table, self._cfg), sample, which, attempt)
            # else a stand-in that is also there itself would be an exact copy
            job.seeds[slot] = f"{self._table.entries[other].row.key} for {missing}"
            try:
                self._put(job, slot, other, reading.read_now(self._table.entries[other], self._own.slice))
            except BadSample:
                continue
            job.substituted[slot] = f"{error}; {job.keys[slot]} stands in for it"
            return
        most = self._cfg.data.max_substitutes
        raise BadSample(
            f"{error}; and none could stand in for it in data.max_substitutes={most} tries"
        ) from error

    def _put(self, job: _Job[Prepared], slot: int, sample: int, data: memoryview) -> None:
        """Verifies one slice and unpacks it, or the part of it that is taken, into a slot."""
        entry, which = self._table.entries[sample], job.wanted.passes_B[slot]
        packed = shard.open_slice(data, entry.row.key, entry.row.xxh3, entry.where)
        if (packed.dtype, packed.shape) != (np.uint8, entry.shape):
            raise BadSample(
                f"{entry.where}: {packed.dtype}{packed.shape}, want uint8{entry.shape} as samples.parquet "
                f"says"
            )
        slot_DHW = job.voxels_BDHW[slot].numpy()
        if packed.shape == self.image_size:
            packed.unpack_into(slot_DHW)
            part = packed.shape
        else:
            part = self._put_part(packed, slot_DHW, which, job.seeds[slot])
        job.keys[slot] = packed.key
        job.mean_B[slot], job.std_B[slot] = float(packed.meta["mean"]), float(packed.meta["std"])
        job.valid_B3[slot] = torch.tensor(part)

    def _put_part(self, packed: shard.Packed, slot_DHW: np.ndarray, which: int, seed: str) -> Shape:
        """The part that is taken, seeded by (run, pass, seed), padded with 0 at the high end; its shape."""
        rng = rng_for(self._cfg.run.seed, which, seed, "crop") if which != NO_PASS else None
        room = self._own.volume.room(product(packed.shape))
        whole_DHW = np.frombuffer(room, np.uint8).reshape(packed.shape)
        packed.unpack_into(whole_DHW)
        part_DHW = whole_DHW[window(packed.shape, self.image_size, rng)]
        d, h, w = part_DHW.shape
        if (d, h, w) != self.image_size:
            slot_DHW.fill(0)
        slot_DHW[:d, :h, :w] = part_DHW
        return d, h, w


class _Budget:
    """Counts the substitutes of each epoch in the order of the stream, so that timing changes nothing."""

    def __init__(self, most: int) -> None:
        self._most, self._used = most, Counter[int]()

    def spend(self, job: _Job[Prepared]) -> None:
        """BadSample if a batch takes its epoch, that in which it ends, over the budget."""
        epoch = job.wanted.position.epoch
        self._used[epoch] += len(job.substituted)
        if self._used[epoch] > self._most:
            last = job.substituted[max(job.substituted)]
            raise BadSample(
                f"{last}; that makes {self._used[epoch]} substitutes in epoch {epoch}, want at most "
                f"data.max_substitutes={self._most}"
            )


def _run(
    wanted: Iterator[_Wanted], table: Table, cfg: TrainConfig, way: Way[Prepared]
) -> Generator[Prepared, None, None]:
    """Results in order; meanwhile batches are filled up to data.prefetch_bytes, and bytes of samples further
    on are read up to data.read_ahead_bytes.
    """
    check(cfg)
    data = cfg.data
    jobs: Iterator[_Job[Prepared]]
    with contextlib.ExitStack() as stack:
        cache = _cache_of(cfg, way, stack)
        pool = ThreadPoolExecutor(data.threads, "stream")
        reading_ = Reading(data.connections, cache)
        filler, budget = _Filler(table, cfg, reading_), _Budget(data.max_substitutes)
        stack.callback(pool.shutdown, wait=True)
        stack.callback(reading_.close)  # before it: threads of the pool may be waiting for bytes
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        jobs = (_Job(one, table, reading_) for one in wanted)
        planned, pending = deque[_Job[Prepared]](), deque[_Job[Prepared]]()
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
    jobs: Iterator[_Job[Prepared]],
    planned: deque[_Job[Prepared]],
    reading_: Reading,
    cfg: TrainConfig,
    *,
    idle: bool,
) -> None:
    """Asks for samples further on: for as many as may be held, and for one batch whenever all are idle."""
    most = most_planned(cfg)
    while (idle and not planned) or (
        reading_.held < cfg.data.read_ahead_bytes and sum(len(job.keys) for job in planned) < most
    ):
        job = next(jobs, None)
        if job is None:
            return
        planned.append(job)


def _batches_ahead(job: _Job[Prepared], cfg: TrainConfig) -> int:
    """Batches that are filled at once: the one that is waited for, and what data.prefetch_bytes allows."""
    fit = cfg.data.prefetch_bytes // (len(job.keys) * product(cfg.model.image_size))
    return 1 + min(MOST_AHEAD, max(1, fit))


def _cache_of(cfg: TrainConfig, way: Way[Prepared], stack: contextlib.ExitStack) -> Cache | None:
    if not cfg.data.cache_dir:
        return None
    return stack.enter_context(Cache(cfg.data.cache_dir, cfg.data.cache_bytes, way.say))
