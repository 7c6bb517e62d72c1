"""The stream without a model: what its order and balance will be, how fast each stage is, which one limits.

The simulation is exact, because the order is a pure function; the rates are of this machine and this moment.
"""

import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

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
from octshard.stream.index import SampleIndex, SampleRef, load_index, sampler_config
from octshard.stream.read import Scratch
from octshard.stream.read_ahead import ReadAhead, Request
from octshard.stream.sampler import StreamPosition
from octshard.stream.simulate import EpochSimulation, simulate
from octshard.train.objectives import masks

HELD = 16  # slices that are unpacked again and again


class Rate(NamedTuple):
    """A stage alone, or all of them together. cpu_ms: of this process, per volume."""

    stage: str
    volumes_per_s: float
    cpu_ms: float


def lines(cfg: TrainConfig, readers: int, devices: int, seconds: float) -> Iterator[str]:
    """What `octshard stream-check` prints. devices: accelerators over all readers; 0: those of this machine
    for each reader. seconds: for each stage; 0: nothing is measured.
    """
    fields.check(cfg)
    with contextlib.closing(select.open_backend(cfg.run)) as backend:
        batch = cfg.run.per_device_batch * (devices or backend.device_count * readers)
        table = load_index(cfg, "train", masks.needed_tokens(cfg))
        if not table.samples:
            raise UsageError(f"data.shards={list(cfg.data.shards)}: 0 usable train samples, want some")
        simulated = simulate(table, cfg, batch, readers)
        yield from _told(simulated, table, cfg, readers)
        if seconds <= 0:
            return
        rates: list[Rate] = []
        megabytes = float(np.mean([entry.stop - entry.start for entry in table.samples])) / 1e6
        for rate in measure(table, cfg, RankSlice(batch, 0, readers), backend, seconds):
            rates.append(rate)
            yield (
                f"{rate.stage:<8}{rate.volumes_per_s:>10.1f} volumes/s"
                f"{rate.volumes_per_s * megabytes:>10.1f} MB/s as stored"
                f"{rate.cpu_ms:>9.1f} ms of CPU per volume"
            )
        slowest = bottleneck(rates)
        yield (
            f"bottleneck of one reader: {slowest.stage}, {slowest.volumes_per_s:.1f} volumes/s; "
            f"{advice(slowest, simulated, table, cfg)}"
        )


def measure(
    table: SampleIndex, cfg: TrainConfig, share: RankSlice, backend: Backend, seconds: float
) -> Iterator[Rate]:
    """The stages one by one, each for about `seconds`, then the whole stream."""
    drawn = sampler.batch_samples(
        sampler_config(table, cfg), StreamPosition(0, 0), share.global_batch, share.rank, share.world_size
    )
    entries = [
        table.samples[sample]
        for one in itertools.islice(drawn, -(-HELD * share.world_size // share.global_batch) + 1)
        for sample in one.samples_B.tolist()
    ]
    yield _reading(table, cfg, share, seconds)
    yield _unpacking(entries[:HELD], cfg, seconds)
    if (sending := _sending(cfg, share, backend, seconds)) is not None:
        yield sending
    way: BatchTransform[Batch] = BatchTransform(backend.pin, backend.empty)
    batches = loader.train_batches(table, cfg, share, StreamPosition(0, 0), way)
    yield _whole(batches, share, backend, seconds)


def bottleneck(rates: Sequence[Rate]) -> Rate:
    """The slowest stage; the last of `rates`, which is all together, does not count."""
    return min(rates[:-1], key=lambda rate: rate.volumes_per_s)


def advice(slowest: Rate, simulated: EpochSimulation, table: SampleIndex, cfg: TrainConfig) -> str:
    """What to change first."""
    remote = any(store.is_remote(entry.shard.url) for entry in table.samples[:1])
    if slowest.stage == "unpack":
        return f"raise data.threads={cfg.data.threads}, up to the cores of a host"
    if slowest.stage == "send":
        return "batches go to the device no faster; larger model.patch or fewer volumes per second will do"
    if remote and simulated.block_bytes > cfg.data.read_ahead_bytes:
        return (
            f"a shuffled block of every lane is {simulated.block_bytes / 1e9:.1f} GB, more than "
            f"data.read_ahead_bytes={cfg.data.read_ahead_bytes / 1e9:.1f} GB: raise it, set data.cache_dir, "
            f"or lower data.shuffle_block_size or data.lanes, so that requests grow to 14-20 MB"
        )
    return f"raise data.connections={cfg.data.connections}" if remote else "use a faster disk"


def _told(found: EpochSimulation, table: SampleIndex, cfg: TrainConfig, readers: int) -> Iterator[str]:
    yield (
        f"{pluralize(len(table.samples), 'volume')} in {pluralize(len(table.samples_per_shard), 'shard')}"
        f"{f', {len(table.left_out)} too small and left out' if table.left_out else ''}; "
        f"{pluralize(found.lanes, 'lane')}; an epoch has {pluralize(found.samples_per_epoch, 'sample')} in "
        f"{pluralize(found.batches, 'whole batch', 'whole batches')}"
    )
    yield f"seen by no reader in the first epoch, others in the next: {found.unseen_samples}"
    yield f"numbers of readers that give this same order: {', '.join(map(str, found.valid_world_sizes))}"
    for part in found.domains:
        yield (
            f"  {part.name}: {part.samples} volumes, {part.draws} of the epoch "
            f"({100 * part.draws / found.samples_per_epoch:.1f} %), {part.passes:.2f} passes"
        )
    yield f"rank correlation with the order of storage: {found.rank_correlation:+.3f} (0: none)"
    if found.device_spread:
        yield f"devices per batch spread {found.device_spread:.2f} times as in a uniform draw"
    yield f"pairs of one participant in a batch: {found.participant_pairs:.2f} times as in a uniform draw"
    held = cfg.data.read_ahead_bytes + cfg.data.prefetch_bytes
    yield (
        f"each of {pluralize(readers, 'reader')} reads {found.bytes_per_rank / 1e9:.1f} GB per epoch and "
        f"holds up to {held / 1e9:.1f} GB; a shuffled block of all its lanes is "
        f"{found.block_bytes / 1e9:.1f} GB"
    )


def _reading(table: SampleIndex, cfg: TrainConfig, share: RankSlice, seconds: float) -> Rate:
    """The bytes alone, in the order, with the read-ahead and on the threads of the stream."""
    most = loader.max_requested(cfg)
    drawn = sampler.batch_samples(
        sampler_config(table, cfg), StreamPosition(0, 0), share.global_batch, share.rank, share.world_size
    )
    entries = (table.samples[sample] for one in drawn for sample in one.samples_B.tolist())
    scratches = [Scratch() for _ in range(cfg.data.threads)]
    asked: deque[Request] = deque()
    with (
        ThreadPoolExecutor(cfg.data.threads) as pool,
        contextlib.closing(ReadAhead(cfg.data.connections, None)) as open_reading,
    ):

        def take(one: Request, scratch: Scratch) -> None:
            open_reading.result(one, scratch)
            open_reading.release(one)

        def act() -> int:
            while len(asked) < len(scratches) or (
                len(asked) < most and open_reading.held_bytes < cfg.data.read_ahead_bytes
            ):
                asked.append(open_reading.submit(next(entries)))
            list(pool.map(take, [asked.popleft() for _ in scratches], scratches))
            return len(scratches)

        return _rate("read", act, seconds)


def _unpacking(entries: Sequence[SampleRef], cfg: TrainConfig, seconds: float) -> Rate:
    """Verification and decompression of slices that are in memory, on all threads."""
    slices = [bytes(read.read_now(entry, Scratch())) for entry in entries]
    turns = itertools.count()

    def unpack(scratch: Scratch) -> int:
        turn = next(turns) % len(entries)
        row, data = entries[turn].row, slices[turn]
        packed = shard.open_slice(data, row.key, row.xxh3, entries[turn].location)
        room = scratch.view(product(packed.shape))
        packed.unpack_into(np.frombuffer(room, np.uint8).reshape(packed.shape))
        return 1

    scratches = [Scratch() for _ in range(cfg.data.threads)]
    with ThreadPoolExecutor(cfg.data.threads) as pool:
        return _rate("unpack", lambda: sum(pool.map(unpack, scratches)), seconds)


def _sending(cfg: TrainConfig, share: RankSlice, backend: Backend, seconds: float) -> Rate | None:
    """Batches to the device; None where the host is the device."""
    if backend.device.type == "cpu":
        return None
    size = share.global_batch // share.world_size
    batch = backend.empty((size, *cfg.model.image_size))

    def act() -> int:
        there = put(backend, batch)
        backend.to_host(there[:, 0, 0, 0])  # waits
        return size

    return _rate("send", act, seconds)


def _whole(batches: Generator[Batch, None, None], share: RankSlice, backend: Backend, seconds: float) -> Rate:
    """The stream as training has it, through the feeder, for a device that takes what it gets."""
    with prefetch.prefetch_to_device(batches, backend) as fed:

        def act() -> int:
            values = next(fed).device.voxels_BDHW
            if values.device.type != "cpu":
                backend.to_host(values[:, 0, 0, 0])  # waits
            return share.global_batch // share.world_size

        return _rate("stream", act, seconds)


def _rate(stage: str, act: Callable[[], int], seconds: float) -> Rate:
    """`act` again and again, at least twice after a first time that does not count; it returns volumes."""
    act()
    acts, done = 0, 0
    wall, cpu = time.perf_counter(), time.process_time()
    while acts < 2 or time.perf_counter() - wall < seconds:
        acts, done = acts + 1, done + act()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Rate(stage, done / wall, cpu / done * 1e3)
