"""Slots of a batch, filled by threads: bytes verified and unpacked in place, or those of another sample.

Nothing is skipped: a slot ends with voxels that match the tables, or with an error that names shard, offset
and key.
"""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, NamedTuple, cast

import numpy as np
import torch

from octshard.config.train import TrainConfig
from octshard.dataset import shard, stored_band, stored_scale
from octshard.dataset.shard import BadSample
from octshard.imaging import intensity
from octshard.imaging.crop import Window, crop_window, fill_padded
from octshard.imaging.retina_band import NOT_FOUND, RetinaBand, blocks_of
from octshard.imaging.volume import Shape, product
from octshard.rng import rng_for
from octshard.stream import sampler
from octshard.stream.batch import Batch, BatchTransform, T
from octshard.stream.batch_shape import batch_shape
from octshard.stream.index import SampleIndex, sampler_config, valid_tokens_of
from octshard.stream.read import Scratch
from octshard.stream.read_ahead import ReadAhead
from octshard.stream.sampler import StreamPosition

NO_PASS = -1  # of a sample in evaluation


class BatchSpec(NamedTuple):
    """One batch as numbers of samples in the index."""

    samples_B: list[int]
    passes_B: list[int]  # NO_PASS: centre crops
    real_count: int  # the first so many are real, the others repeats
    position: StreamPosition  # after the batch
    length: int | None = None  # of the lists of its valid tokens; None: any volume of the index fits


def window_of(stored: Shape, box: Shape, run_seed: int, pass_index: int, seed: str) -> Window:
    """Which part of a stored volume is used, placed by (run seed, pass, seed); at the centre for NO_PASS."""
    rng = rng_for(run_seed, pass_index, seed, "crop") if pass_index != NO_PASS else None
    return crop_window(stored, box, rng)


class BatchBuilder(Generic[T]):
    """One batch that is being filled: threads fill its slots in any order, the last one prepares it."""

    def __init__(self, spec: BatchSpec, index: SampleIndex, read_ahead: ReadAhead) -> None:
        self.spec = spec
        self.keys = [index.samples[number].row.key for number in spec.samples_B]
        self.seeds = list(self.keys)
        self.requests = [read_ahead.submit(index.samples[number]) for number in spec.samples_B]
        self.substituted: dict[int, str] = {}
        self._missing, self._lock = len(self.keys), threading.Lock()
        self._fills: list[Future[None]] = []
        self._prepared: T | None = None

    def start(self, pool: ThreadPoolExecutor, collator: "Collator", transform: BatchTransform[T]) -> None:
        """Takes memory for the batch and lets the threads fill it."""
        size = len(self.keys)
        self.voxels_BDHW = transform.empty((size, *collator.box), collator.dtype)
        self.mean_B, self.std_B = torch.zeros(size), torch.ones(size)
        self.valid_B3 = torch.zeros((size, 3), dtype=torch.int64)
        self.bands: list[RetinaBand | None] = [None] * size
        self._fills = [pool.submit(self._fill, slot, collator, transform) for slot in range(size)]

    def result(self) -> T:
        """Waits; raises what any slot raised."""
        for fill in self._fills:
            fill.result()
        return cast(T, self._prepared)

    def _fill(self, slot: int, collator: "Collator", transform: BatchTransform[T]) -> None:
        collator.fill(self, slot)
        with self._lock:
            self._missing -= 1
            last = self._missing == 0
        if last:
            self._prepared = transform.prepare(self._batch())

    def _batch(self) -> Batch:
        return Batch(
            self.voxels_BDHW,
            self.mean_B,
            self.std_B,
            self.valid_B3,
            tuple(self.keys),
            tuple(max(0, pass_index) for pass_index in self.spec.passes_B),
            self.spec.real_count,
            self.spec.position,
            tuple(self.substituted[slot] for slot in sorted(self.substituted)),
            tuple(self.seeds),
            self._bands(),
            self.spec.length,
        )

    def _bands(self) -> torch.Tensor | None:
        """`Batch.band_BDQ2`."""
        if all(band is None for band in self.bands):
            return None
        size, depth, _, width = self.voxels_BDHW.shape
        band_BDQ2 = torch.full((size, depth, blocks_of(width), 2), NOT_FOUND, dtype=torch.int16)
        for slot, band in enumerate(self.bands):
            if band is not None:
                rows_DQ2 = torch.from_numpy(band.rows_DQ2)
                band_BDQ2[slot, : rows_DQ2.shape[0], : rows_DQ2.shape[1]] = rows_DQ2
        return band_BDQ2


class _ThreadMemory(threading.local):
    """Memory of one thread: for a slice that is read, and for a volume of which only a crop is used."""

    def __init__(self) -> None:
        self.slice, self.volume = Scratch(), Scratch()


class Collator:
    """Puts samples into the slots of batches, and substitutes where data.on_bad_sample allows them."""

    def __init__(
        self, index: SampleIndex, cfg: TrainConfig, read_ahead: ReadAhead, memory: _ThreadMemory
    ) -> None:
        self.box: Shape = batch_shape(index, cfg).box
        self.dtype = index.voxel_dtype
        self._index, self._cfg, self._read_ahead, self._memory = index, cfg, read_ahead, memory

    def fill(self, builder: BatchBuilder[T], slot: int) -> None:
        """Fills one slot; BadSample if its sample is bad and no substitute is allowed or found."""
        number, request = builder.spec.samples_B[slot], builder.requests[slot]
        try:
            try:
                self._unpack(builder, slot, number, self._read_ahead.result(request, self._memory.slice))
            except BadSample as error:
                # once: the bytes may have been altered on their way
                data = self._read_ahead.reread(request, error, self._memory.slice)
                self._unpack(builder, slot, number, data)
        except BadSample as error:
            self._substitute(builder, slot, error)
        finally:
            self._read_ahead.release(request)

    def _substitute(self, builder: BatchBuilder[T], slot: int, error: BadSample) -> None:
        """Another sample of the lane in this slot, if that is allowed; the loader counts them in order."""
        number, pass_index = builder.spec.samples_B[slot], builder.spec.passes_B[slot]
        if self._cfg.data.on_bad_sample != "substitute" or pass_index == NO_PASS:
            raise error
        bad_key = builder.keys[slot]
        config, tries = sampler_config(self._index, self._cfg), self._cfg.data.max_substitutes
        for attempt in range(tries):
            other = sampler.substitute(config, number, pass_index, attempt, self._fitting(builder.spec))
            sample = self._index.samples[other]
            # with its own seed, a substitute that is also in the pass itself would be an exact copy
            builder.seeds[slot] = f"{sample.row.key} for {bad_key}"
            try:
                self._unpack(builder, slot, other, self._read_ahead.read_now(sample, self._memory.slice))
            except BadSample:
                continue
            builder.substituted[slot] = f"{error}; {builder.keys[slot]} stands in for it"
            return
        raise BadSample(
            f"{error}; and none could stand in for it in data.max_substitutes={tries} tries"
        ) from error

    def _fitting(self, spec: BatchSpec) -> np.ndarray | None:
        """Which samples of the index the lists of a batch hold; None: all."""
        return None if spec.length is None else valid_tokens_of(self._index, self._cfg) <= spec.length

    def _unpack(self, builder: BatchBuilder[T], slot: int, number: int, data: memoryview) -> None:
        """Verifies one slice and unpacks it, or a crop of it, into a slot."""
        sample, pass_index = self._index.samples[number], builder.spec.passes_B[slot]
        packed = shard.open_slice(data, sample.row.key, sample.row.xxh3, sample.location)
        if (packed.dtype, packed.shape) != (sample.row.dtype, sample.shape):
            raise BadSample(
                f"{sample.location}: {packed.dtype}{packed.shape}, want {sample.row.dtype}{sample.shape} as "
                f"samples.parquet says"
            )
        window = window_of(packed.shape, self.box, self._cfg.run.seed, pass_index, builder.seeds[slot])
        self._unpack_grey(packed, builder.voxels_BDHW[slot].numpy(), window, sample.location)
        builder.keys[slot] = packed.key
        builder.mean_B[slot], builder.std_B[slot] = packed.number("mean"), packed.number("std")
        builder.valid_B3[slot] = torch.tensor([part.stop - part.start for part in window])
        band = stored_band.from_json(packed.meta, packed.shape, sample.location)
        builder.bands[slot] = None if band is None else band.crop(window)

    def _unpack_grey(
        self, packed: shard.PackedSample, slot_DHW: np.ndarray, window: Window, location: str
    ) -> None:
        """That part of the volume in the grey of a batch, padded with 0 at the high end."""
        scale = stored_scale.from_json(packed.meta, packed.dtype, location)
        levels_DHW = slot_DHW if slot_DHW.dtype == np.uint8 else slot_DHW.view(np.uint16)
        if (packed.shape, packed.dtype) == (levels_DHW.shape, levels_DHW.dtype):
            packed.unpack_into(levels_DHW)
        else:
            self._unpack_crop(packed, levels_DHW, window)
        if levels_DHW is not slot_DHW:
            intensity.to_grey_steps(levels_DHW, scale)

    def _unpack_crop(self, packed: shard.PackedSample, slot_DHW: np.ndarray, window: Window) -> None:
        buffer = self._memory.volume.view(product(packed.shape) * packed.dtype.itemsize)
        stored_DHW = np.frombuffer(buffer, packed.dtype).reshape(packed.shape)
        packed.unpack_into(stored_DHW)
        fill_padded(slot_DHW, stored_DHW[window])


class Collators:
    """One for each index, with one memory for all."""

    def __init__(self, cfg: TrainConfig, read_ahead: ReadAhead) -> None:
        self._cfg, self._read_ahead, self._memory = cfg, read_ahead, _ThreadMemory()
        self._collators: dict[int, Collator] = {}

    def of(self, index: SampleIndex) -> Collator:
        """That of `index`."""
        if id(index) not in self._collators:
            self._collators[id(index)] = Collator(index, self._cfg, self._read_ahead, self._memory)
        return self._collators[id(index)]
