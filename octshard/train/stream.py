"""Shards -> batches: the order of `order.py`, read by ranges, verified, cropped and padded, ordered and
bounded.

Every sample is checked against the tables on every read; nothing is skipped, and an error reaches the
consumer with shard, offset and key. The position travels with the batch: it is all that a resume needs.
"""

import hashlib
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from octshard import manifest, shard, store
from octshard.config import TrainConfig
from octshard.errors import OctshardError, UsageError
from octshard.manifest import Row
from octshard.rng import rng_for
from octshard.train.order import Order, StreamPosition, draws, table_draws
from octshard.volume import Shape, product, valid_tokens

Prepared = TypeVar("Prepared")


@dataclass(frozen=True, eq=False)
class Batch:
    """What one reader takes of one batch. voxels_BDHW uint8, padding 0 at the high end; valid_B3 voxels
    along D, H, W.

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


@dataclass(frozen=True)
class Entry:
    """One stored sample and where its shard stands."""

    url: str
    row: Row


@dataclass(frozen=True)
class Table:
    """The samples of one split over all datasets, in table order: dataset, shard, offset."""

    split: str
    entries: tuple[Entry, ...]
    samples_per_shard: tuple[int, ...]
    left_out: tuple[str, ...]  # keys of volumes with fewer valid tokens than the masks need
    refused: int  # input files that never became samples (skipped_files), all splits together

    @property
    def digest(self) -> str:
        """Changes when the samples or their order in the table do, not when a folder moves."""
        text = "\n".join(f"{entry.row.key} {entry.row.sha256}" for entry in self.entries)
        return hashlib.sha256(f"{self.samples_per_shard}\n{text}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Share:
    """Which part of each batch is this process's: `batch` samples over all, reader `reader` of `readers`."""

    batch: int
    reader: int
    readers: int


def open_table(cfg: TrainConfig, split: str, needed_tokens: int) -> Table:
    """The table of `split` over data.shards in config order, without volumes of fewer valid tokens."""
    if not cfg.data.shards:
        raise UsageError(
            "data.shards: empty, want at least one dataset folder, for example data.shards=[SHARDS/DEVICE]"
        )
    entries: list[Entry] = []
    per_shard: list[int] = []
    left_out: list[str] = []
    refused = 0
    for url in cfg.data.shards:
        dataset = manifest.open_dataset(url)
        refused += len(dataset.refused)
        counts: dict[str, int] = {}
        for row in dataset.samples(split):
            if tokens(row, cfg) < needed_tokens:
                left_out.append(row.key)
                continue
            entries.append(Entry(store.join(url, row.shard), row))
            counts[row.shard] = counts.get(row.shard, 0) + 1
        per_shard += counts.values()
    repeated = [key for key, n in Counter(entry.row.key for entry in entries).items() if n > 1]
    if repeated:
        raise UsageError(
            f"data.shards={list(cfg.data.shards)}: {len(repeated)} volumes stand in more than one of them, "
            f"want each once; the first is {repeated[0]}"
        )
    return Table(split, tuple(entries), tuple(per_shard), tuple(left_out), refused)


def want_separate(train: Table, val: Table) -> None:
    """UsageError if a participant stands on both sides, as where folders were built at different times."""
    left, right = ({entry.row.participant for entry in one.entries} for one in (train, val))
    if both := sorted(left & right):
        raise UsageError(
            f"data.shards: {len(both)} participants stand in train and in val, want none; the first is "
            f"{both[0]}; build all folders with the same participants.tsv"
        )


def order_of(table: Table, cfg: TrainConfig) -> Order:
    """What decides the order of `table` under `cfg`."""
    return Order(cfg.run.seed, table.samples_per_shard, cfg.data.lanes, cfg.data.shuffle_window)


def tokens(row: Row, cfg: TrainConfig) -> int:
    """Valid tokens of a stored volume at this model's image_size and patch."""
    shape = _stored_shape(row)
    return product(valid_tokens(shape, _triple(cfg.model.image_size), _triple(cfg.model.patch)))


def training(
    table: Table, cfg: TrainConfig, share: Share, start: StreamPosition, prepare: Callable[[Batch], Prepared]
) -> Generator[Prepared, None, None]:
    """Without end: this process's part of each batch from `start` on, seeded crops, through `prepare`.

    `prepare` runs in the threads; close the iterator to stop them.
    """
    slots = (
        _Job(table, cfg, draw.samples_B, draw.epochs_B, len(draw.samples_B), draw.position, prepare)
        for draw in draws(order_of(table, cfg), start, share.batch, share.reader, share.readers)
    )
    return _run(slots, cfg)


def evaluation(
    table: Table, cfg: TrainConfig, share: Share, limit: int, prepare: Callable[[Batch], Prepared]
) -> Generator[Prepared, None, None]:
    """`limit` samples (0: all), evenly spread over the table, once, in its order; centre crops.

    Every batch is full, and `count` of it real.
    """
    samples = min(limit, len(table.entries)) if limit else len(table.entries)
    taken = np.arange(samples) * len(table.entries) // max(1, samples)  # all datasets have their share
    batch = share.batch // share.readers
    nowhere = StreamPosition(0, 0)
    slots = (
        _Job(table, cfg, taken[numbers_B], np.full(batch, -1), count, nowhere, prepare)
        for numbers_B, count in table_draws(samples, batch, share.reader, share.readers)
    )
    return _run(slots, cfg)


def read_sample(entry: Entry) -> shard.Sample:
    """One sample, verified (size, xxh3, key, frame checksum); BadSample names shard, offset and key."""
    row = entry.row
    if row.offset is None or row.nbytes is None:
        raise OctshardError(f"{row.key}: no offset in samples.parquet, want one; build {entry.url} again")
    where = f"{entry.url} at {row.offset} ({row.key})"
    try:
        data = store.read_range(entry.url, row.offset, row.offset + row.nbytes)
    except store.StoreError as error:
        raise OctshardError(f"{where}: {error}") from error
    except FileNotFoundError:
        raise OctshardError(f"{where}: the shard is missing, want it beside its samples.parquet") from None
    return shard.unpack(data, row.key, row.xxh3, where)


def window(stored: Shape, image_size: Shape, rng: np.random.Generator | None) -> tuple[slice, slice, slice]:
    """The part of a stored volume that is taken: at most image_size, random by `rng` or centred without."""
    spare = [max(0, n - size) for n, size in zip(stored, image_size, strict=True)]
    first = [n // 2 for n in spare] if rng is None else [int(rng.integers(n + 1)) for n in spare]
    d, h, w = (slice(f, f + min(n, size)) for f, n, size in zip(first, stored, image_size, strict=True))
    return d, h, w


class _Job(Generic[Prepared]):
    """One batch in the making: its slots are filled by any threads in any order, the last one prepares it."""

    def __init__(
        self,
        table: Table,
        cfg: TrainConfig,
        samples_B: np.ndarray,
        epochs_B: np.ndarray,
        count: int,
        position: StreamPosition,
        prepare: Callable[[Batch], Prepared],
    ) -> None:
        self._entries = [table.entries[int(sample)] for sample in samples_B]
        self._epochs = [int(epoch) for epoch in epochs_B]
        self._seed, self._image_size = cfg.run.seed, _triple(cfg.model.image_size)
        self._count, self._position, self._prepare = count, position, prepare
        self._missing, self._lock = len(self._entries), threading.Lock()
        self._voxels_BDHW = torch.zeros((len(self._entries), *self._image_size), dtype=torch.uint8)
        self._mean_B, self._std_B = torch.zeros(len(self._entries)), torch.ones(len(self._entries))
        self._valid_B3 = torch.zeros((len(self._entries), 3), dtype=torch.int64)
        self._prepared: Prepared | None = None
        self._fills: list[Future[None]] = []

    def start(self, pool: ThreadPoolExecutor) -> None:
        self._fills = [pool.submit(self._fill, slot) for slot in range(len(self._entries))]

    def result(self) -> Prepared:
        """Waits; raises what any slot raised."""
        for fill in self._fills:
            fill.result()
        return cast(Prepared, self._prepared)

    def _fill(self, slot: int) -> None:
        self._take(slot)
        with self._lock:
            self._missing -= 1
            last = self._missing == 0
        if last:
            self._prepared = self._prepare(self._batch())

    def _take(self, slot: int) -> None:
        entry, epoch = self._entries[slot], self._epochs[slot]
        sample = read_sample(entry)
        if sample.voxels_DHW.dtype != np.uint8 or sample.voxels_DHW.shape != entry.row.shape_out:
            raise OctshardError(
                f"{entry.url} ({sample.key}): {sample.voxels_DHW.dtype}{sample.voxels_DHW.shape}, "
                f"want uint8{entry.row.shape_out} as samples.parquet says"
            )
        rng = rng_for(self._seed, epoch, sample.key, "crop") if epoch >= 0 else None
        part_DHW = sample.voxels_DHW[window(_stored_shape(entry.row), self._image_size, rng)]
        d, h, w = part_DHW.shape
        self._voxels_BDHW[slot].numpy()[:d, :h, :w] = part_DHW
        self._mean_B[slot] = float(sample.meta["mean"])
        self._std_B[slot] = float(sample.meta["std"])
        self._valid_B3[slot] = torch.tensor([d, h, w])

    def _batch(self) -> Batch:
        keys = tuple(entry.row.key for entry in self._entries)
        return Batch(
            self._voxels_BDHW,
            self._mean_B,
            self._std_B,
            self._valid_B3,
            keys,
            tuple(max(0, epoch) for epoch in self._epochs),
            self._count,
            self._position,
        )


def _run(jobs: Iterator["_Job[Prepared]"], cfg: TrainConfig) -> Generator[Prepared, None, None]:
    """Results in order, with data.prefetch_batches of them in the making while the consumer works."""
    pool = ThreadPoolExecutor(cfg.data.threads, "stream")
    try:
        pending = deque(islice(jobs, cfg.data.prefetch_batches + 1))
        for job in pending:
            job.start(pool)
        while pending:
            result = pending.popleft().result()
            for job in islice(jobs, 1):
                job.start(pool)
                pending.append(job)
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _stored_shape(row: Row) -> Shape:
    if row.shape_out is None:
        raise OctshardError(f"{row.key}: no shape_out in samples.parquet, want three numbers; build it again")
    return row.shape_out


def _triple(values: Sequence[int]) -> Shape:
    d, h, w = values
    return d, h, w
