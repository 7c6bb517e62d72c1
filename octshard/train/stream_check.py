"""The stream without a model: its order and balance, how fast each stage is, and which stage limits it.

The simulation is exact, because the order is a pure function; the rates are those of this machine, now.
"""

import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from torch import Tensor

from octshard.config import fields
from octshard.config.train import TrainConfig
from octshard.dataset import shard
from octshard.devices import prefetch, select
from octshard.devices.backend import Backend, put
from octshard.errors import UsageError
from octshard.imaging.volume import product
from octshard.report.numbers import pluralize
from octshard.storage import store
from octshard.stream import loader, read, sampler
from octshard.stream.batch import Batch, BatchTransform, RankSlice
from octshard.stream.batch_shape import batch_shape
from octshard.stream.index import SampleIndex, SampleRef, load_index, sampler_config
from octshard.stream.read import Scratch
from octshard.stream.read_ahead import ReadAhead, Request
from octshard.stream.sampler import StreamPosition
from octshard.stream.simulate import EpochSimulation, simulate
from octshard.train import mask_report
from octshard.train.objectives import token_counts

MOST_S = 86_400.0  # for a stage
SLICES = 16  # kept in memory and unpacked again and again


class Rate(NamedTuple):
    """How fast one stage is alone, or all of them together. cpu_ms: of this process, per volume."""

    stage: str
    volumes_per_s: float
    cpu_ms: float


def lines(cfg: TrainConfig, readers: int, devices: int, seconds: float) -> Iterator[str]:
    """What `octshard stream-check` prints. devices: accelerators of all readers together; 0: for each reader
    those of this machine. seconds: for each stage; 0: nothing is measured.
    """
    fields.check(cfg)
    if not 0 <= seconds < MOST_S:
        raise UsageError(f"seconds={seconds}: want 0 to {MOST_S:g}")
    with contextlib.closing(select.open_backend(cfg.run)) as backend:
        batch = cfg.run.per_device_batch * (devices or backend.device_count * readers)
        index = load_index(cfg, "train", token_counts.needed_tokens(cfg))
        if not index.samples:
            raise UsageError(f"data.shards={list(cfg.data.shards)}: 0 usable train samples, want some")
        simulation = simulate(index, cfg, batch, readers)
        yield from _simulation_lines(simulation, index, cfg, readers)
        yield from mask_report.misfits(cfg, index)
        if seconds <= 0:
            return
        yield from mask_report.coverage_lines(cfg, index)
        rates: list[Rate] = []
        megabytes = float(np.mean([sample.stop - sample.start for sample in index.samples])) / 1e6
        for rate in measure(index, cfg, RankSlice(batch, 0, readers), backend, seconds):
            rates.append(rate)
            yield (
                f"{rate.stage:<8}{rate.volumes_per_s:>10.1f} volumes/s"
                f"{rate.volumes_per_s * megabytes:>10.1f} MB/s as stored"
                f"{rate.cpu_ms:>9.1f} ms of CPU per volume"
            )
        slowest = bottleneck(rates)
        yield (
            f"bottleneck of one reader: {slowest.stage}, {slowest.volumes_per_s:.1f} volumes/s; "
            f"{advice(slowest, simulation, index, cfg)}"
        )


def measure(
    index: SampleIndex, cfg: TrainConfig, rank_slice: RankSlice, backend: Backend, seconds: float
) -> Iterator[Rate]:
    """The stages one by one, each for about `seconds`, then the whole stream."""
    samples = list(itertools.islice(_samples(index, cfg, rank_slice), SLICES))
    yield _read_rate(index, cfg, rank_slice, seconds)
    yield _unpack_rate(samples, cfg, seconds)
    size = rank_slice.global_batch // rank_slice.world_size
    batch = backend.empty((size, *batch_shape(index, cfg).box), index.voxel_dtype)
    if (send_rate := _send_rate(batch, backend, seconds)) is not None:
        yield send_rate
    transform: BatchTransform[Batch] = BatchTransform(backend.pin, backend.empty)
    batches = loader.train_batches(index, cfg, rank_slice, StreamPosition(0, 0), transform)
    yield _stream_rate(batches, rank_slice, backend, seconds)


def bottleneck(rates: Sequence[Rate]) -> Rate:
    """The slowest stage; the last of `rates`, that of the whole stream, does not count."""
    return min(rates[:-1], key=lambda rate: rate.volumes_per_s)


def advice(slowest: Rate, simulation: EpochSimulation, index: SampleIndex, cfg: TrainConfig) -> str:
    """What to change first."""
    remote = any(store.is_remote(sample.shard.url) for sample in index.samples[:1])
    if slowest.stage == "unpack":
        return f"raise data.threads={cfg.data.threads}, up to the cores of a host"
    if slowest.stage == "send":
        return "batches go to the device no faster; larger model.patch or fewer volumes per second will do"
    if remote and simulation.block_bytes > cfg.data.read_ahead_bytes:
        return (
            f"a shuffled block of every lane is {simulation.block_bytes / 1e9:.1f} GB, more than "
            f"data.read_ahead_bytes={cfg.data.read_ahead_bytes / 1e9:.1f} GB: raise it, set data.cache_dir, "
            f"or lower data.shuffle_block_size or data.lanes, so that requests grow to 14-20 MB"
        )
    return f"raise data.connections={cfg.data.connections}" if remote else "use a faster disk"


def _simulation_lines(
    simulation: EpochSimulation, index: SampleIndex, cfg: TrainConfig, readers: int
) -> Iterator[str]:
    yield (
        f"{pluralize(len(index.samples), 'volume')} in {pluralize(len(index.samples_per_shard), 'shard')}"
        f"{f', {len(index.left_out)} too small and left out' if index.left_out else ''}; "
        f"{pluralize(simulation.lanes, 'lane')}; an epoch has "
        f"{pluralize(simulation.samples_per_epoch, 'sample')} in "
        f"{pluralize(simulation.batches, 'whole batch', 'whole batches')}"
    )
    yield f"seen by no reader in the first epoch, others in the next: {simulation.unseen_samples}"
    yield f"numbers of readers that give this same order: {', '.join(map(str, simulation.valid_world_sizes))}"
    for domain in simulation.domains:
        yield (
            f"  {domain.name}: {domain.samples} volumes, {domain.draws} of the epoch "
            f"({100 * domain.draws / simulation.samples_per_epoch:.1f} %), {domain.passes:.2f} passes"
        )
    yield f"rank correlation with the order of storage: {simulation.rank_correlation:+.3f} (0: none)"
    if simulation.device_spread:
        yield f"devices per batch spread {simulation.device_spread:.2f} times as in a uniform draw"
    pairs = simulation.participant_pairs
    yield f"pairs of one participant in a batch: {pairs:.2f} times as in a uniform draw"
    memory_bytes = cfg.data.read_ahead_bytes + cfg.data.prefetch_bytes
    yield (
        f"each of {pluralize(readers, 'reader')} reads {simulation.bytes_per_rank / 1e9:.1f} GB per epoch "
        f"and holds up to {memory_bytes / 1e9:.1f} GB; a shuffled block of all its lanes is "
        f"{simulation.block_bytes / 1e9:.1f} GB"
    )


def _samples(index: SampleIndex, cfg: TrainConfig, rank_slice: RankSlice) -> Iterator[SampleRef]:
    """Without end: the samples that a rank reads, in order, from the first epoch on."""
    batches = sampler.batch_samples(
        sampler_config(index, cfg),
        StreamPosition(0, 0),
        rank_slice.global_batch,
        rank_slice.rank,
        rank_slice.world_size,
    )
    return (index.samples[number] for batch in batches for number in batch.samples_B.tolist())


def _read_rate(index: SampleIndex, cfg: TrainConfig, rank_slice: RankSlice, seconds: float) -> Rate:
    """The bytes alone, in the order, with the read-ahead and on the threads of the stream."""
    limit = loader.max_requested(cfg)
    samples = _samples(index, cfg, rank_slice)
    scratches = [Scratch() for _ in range(cfg.data.threads)]
    requests: deque[Request] = deque()
    with (
        ThreadPoolExecutor(cfg.data.threads) as pool,
        contextlib.closing(ReadAhead(cfg.data.connections, None)) as read_ahead,
    ):

        def read_one(request: Request, scratch: Scratch) -> None:
            read_ahead.result(request, scratch)
            read_ahead.release(request)

        def read_some() -> int:
            while len(requests) < len(scratches) or (
                len(requests) < limit and read_ahead.held_bytes < cfg.data.read_ahead_bytes
            ):
                requests.append(read_ahead.submit(next(samples)))
            list(pool.map(read_one, [requests.popleft() for _ in scratches], scratches))
            return len(scratches)

        return _measure_rate("read", read_some, seconds)


def _unpack_rate(samples: Sequence[SampleRef], cfg: TrainConfig, seconds: float) -> Rate:
    """Verification and decompression of slices that are in memory, on all threads."""
    slices = [bytes(read.read_now(sample, Scratch())) for sample in samples]
    calls = itertools.count()

    def unpack(scratch: Scratch) -> int:
        number = next(calls) % len(samples)
        sample, data = samples[number], slices[number]
        packed = shard.open_slice(data, sample.row.key, sample.row.xxh3, sample.location)
        buffer = scratch.view(product(packed.shape) * packed.dtype.itemsize)
        packed.unpack_into(np.frombuffer(buffer, packed.dtype).reshape(packed.shape))
        return 1

    scratches = [Scratch() for _ in range(cfg.data.threads)]
    with ThreadPoolExecutor(cfg.data.threads) as pool:
        return _measure_rate("unpack", lambda: sum(pool.map(unpack, scratches)), seconds)


def _send_rate(voxels_BDHW: Tensor, backend: Backend, seconds: float) -> Rate | None:
    """Such batches to the device; None where the host is the device."""
    if backend.device.type == "cpu":
        return None

    def send() -> int:
        on_device = put(backend, voxels_BDHW)
        backend.to_host(on_device[:, 0, 0, 0])  # waits
        return len(voxels_BDHW)

    return _measure_rate("send", send, seconds)


def _stream_rate(
    batches: Generator[Batch, None, None], rank_slice: RankSlice, backend: Backend, seconds: float
) -> Rate:
    """The stream as training has it, through the prefetch, for a device that does nothing else."""
    with prefetch.prefetch_to_device(batches, backend) as device_batches:

        def take_batch() -> int:
            voxels_BDHW = next(device_batches).device.voxels_BDHW
            if voxels_BDHW.device.type != "cpu":
                backend.to_host(voxels_BDHW[:, 0, 0, 0])  # waits
            return rank_slice.global_batch // rank_slice.world_size

        return _measure_rate("stream", take_batch, seconds)


def _measure_rate(stage: str, run_once: Callable[[], int], seconds: float) -> Rate:
    """Calls `run_once`, which returns a number of volumes, once uncounted and then at least twice."""
    run_once()
    runs, volumes = 0, 0
    wall, cpu = time.perf_counter(), time.process_time()
    while runs < 2 or time.perf_counter() - wall < seconds:
        runs, volumes = runs + 1, volumes + run_once()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Rate(stage, volumes / wall, cpu / volumes * 1e3)
