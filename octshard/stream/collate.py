"""Slots of a batch, filled by threads: bytes verified and unpacked in place, or another sample's.

Nothing is skipped: a slot ends with voxels that the table knows, or with an error that names shard, offset
and key.
"""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, NamedTuple, cast

import numpy as np
import torch

from octshard.config.train import TrainConfig
from octshard.dataset import shard
from octshard.dataset.shard import BadSample
from octshard.imaging.volume import Shape, product
from octshard.rng import rng_for
from octshard.stream import read, sampler
from octshard.stream.batch import Batch, BatchTransform, T
from octshard.stream.index import SampleIndex, sampler_config
from octshard.stream.read import Scratch
from octshard.stream.read_ahead import ReadAhead
from octshard.stream.sampler import StreamPosition

NO_PASS = -1  # of a sample in evaluation


class BatchSpec(NamedTuple):
    """One batch as numbers of samples in the table."""

    samples_B: list[int]
    passes_B: list[int]  # NO_PASS: centre crops
    real: int
    position: StreamPosition


class BatchBuilder(Generic[T]):
    """One batch in the making: its slots are filled by any threads in any order, the last one prepares it."""

    def __init__(self, wanted: BatchSpec, table: SampleIndex, reading_: ReadAhead) -> None:
        self.wanted = wanted
        self.keys = [table.entries[sample].row.key for sample in wanted.samples_B]
        self.seeds = list(self.keys)
        self.asked = [reading_.submit(table.entries[sample]) for sample in wanted.samples_B]
        self.substituted: dict[int, str] = {}
        self._missing, self._lock = len(self.keys), threading.Lock()
        self._fills: list[Future[None]] = []
        self._prepared: T | None = None

    def start(self, pool: ThreadPoolExecutor, filler: "Collator", way: BatchTransform[T]) -> None:
        """Takes memory for the batch and lets the threads fill it."""
        size = len(self.keys)
        self.voxels_BDHW = way.empty((size, *filler.image_size))
        self.mean_B, self.std_B = torch.zeros(size), torch.ones(size)
        self.valid_B3 = torch.zeros((size, 3), dtype=torch.int64)
        self._fills = [pool.submit(self._fill, slot, filler, way) for slot in range(size)]

    def result(self) -> T:
        """Waits; raises what any slot raised."""
        for fill in self._fills:
            fill.result()
        return cast(T, self._prepared)

    def _fill(self, slot: int, filler: "Collator", way: BatchTransform[T]) -> None:
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


class Collator:
    """Puts samples into the slots of batches, and others in their place where that is allowed."""

    def __init__(self, table: SampleIndex, cfg: TrainConfig, reading_: ReadAhead) -> None:
        d, h, w = cfg.model.image_size
        self.image_size: Shape = (d, h, w)
        self._table, self._cfg, self._reading = table, cfg, reading_
        self._own = _Own()

    def fill(self, job: BatchBuilder[T], slot: int) -> None:
        """Fills one slot; BadSample if its sample is bad and none may stand in."""
        sample, asked = job.wanted.samples_B[slot], job.asked[slot]
        try:
            try:
                self._put(job, slot, sample, self._reading.result(asked, self._own.slice))
            except BadSample as error:
                self._put(job, slot, sample, self._reading.reread(asked, error))
        except BadSample as error:
            self._substitute(job, slot, error)
        finally:
            self._reading.release(asked)

    def _substitute(self, job: BatchBuilder[T], slot: int, error: BadSample) -> None:
        """Another of the lane in its place, if that is allowed; the stream counts them in order."""
        sample, which = job.wanted.samples_B[slot], job.wanted.passes_B[slot]
        if self._cfg.data.on_bad_sample != "substitute" or which == NO_PASS:
            raise error
        missing = job.keys[slot]
        for attempt in range(self._cfg.data.max_substitutes):
            other = sampler.substitute(sampler_config(self._table, self._cfg), sample, which, attempt)
            # else a stand-in that is also there itself would be an exact copy
            job.seeds[slot] = f"{self._table.entries[other].row.key} for {missing}"
            try:
                self._put(job, slot, other, read.read_now(self._table.entries[other], self._own.slice))
            except BadSample:
                continue
            job.substituted[slot] = f"{error}; {job.keys[slot]} stands in for it"
            return
        most = self._cfg.data.max_substitutes
        raise BadSample(
            f"{error}; and none could stand in for it in data.max_substitutes={most} tries"
        ) from error

    def _put(self, job: BatchBuilder[T], slot: int, sample: int, data: memoryview) -> None:
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
        room = self._own.volume.view(product(packed.shape))
        whole_DHW = np.frombuffer(room, np.uint8).reshape(packed.shape)
        packed.unpack_into(whole_DHW)
        part_DHW = whole_DHW[crop_window(packed.shape, self.image_size, rng)]
        d, h, w = part_DHW.shape
        if (d, h, w) != self.image_size:
            slot_DHW.fill(0)
        slot_DHW[:d, :h, :w] = part_DHW
        return d, h, w


def crop_window(
    stored: Shape, image_size: Shape, rng: np.random.Generator | None
) -> tuple[slice, slice, slice]:
    """The part of a stored volume that is taken: at most image_size, random by `rng` or centred without."""
    spare = [max(0, n - size) for n, size in zip(stored, image_size, strict=True)]
    first = [n // 2 for n in spare] if rng is None else [int(rng.integers(n + 1)) for n in spare]
    d, h, w = (slice(f, f + min(n, size)) for f, n, size in zip(first, stored, image_size, strict=True))
    return d, h, w
