"""What a run of prep shard would do, before it does: its shards, bytes in and out, room, time and cost.

Sizes and times are measured on a seeded draw of the device's own files, on this machine; nothing is written.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from octshard import pool
from octshard.config.prep import PrepConfig
from octshard.dataset.tables import SampleRow
from octshard.prep.build import inputs, shard_writer
from octshard.prep.convert.sample import ConvertTask
from octshard.prep.convert.worker import WorkerJob
from octshard.prep.convert.worker_pool import WorkerPool
from octshard.prep.plan import ShardPlan, expected_bytes
from octshard.prep.release.aireadi import read_release
from octshard.prep.release.source import Source
from octshard.progress import OnProgress, no_progress
from octshard.rng import seed_for
from octshard.storage import store

TRIED = 5  # files of each device that are really made, one after another
ASKED = 4  # times as many may be asked for, because some are missing


@dataclass(frozen=True)
class Estimate:
    """One device. Bytes and seconds are of the whole device, scaled up from the files that were tried."""

    device: str
    files: int
    shards: int
    bytes_in: float
    bytes_out: float
    core_seconds: float
    tried: tuple[SampleRow, ...]


def estimates(
    cfg: PrepConfig,
    devices: Sequence[str],
    on_progress: OnProgress = no_progress,
) -> list[Estimate]:
    """One Estimate per device; on_progress counts devices."""
    inputs.check(cfg)
    release = read_release(cfg.src)
    chosen = inputs.select_devices(release.entries, devices, cfg.src)
    reader = inputs.open_source(cfg, release)
    found = []
    with WorkerPool(WorkerJob(cfg, reader), 1) as child:
        for i, device in enumerate(chosen):
            on_progress(i, len(chosen), device)
            shards = inputs.device_plan(cfg, release, device)
            found.append(_scaled(device, shards, _trial(shards, reader, cfg.seed), child, cfg))
        on_progress(len(chosen), len(chosen), "")
    return found


def text(found: Sequence[Estimate], cfg: PrepConfig) -> str:
    """The table that a dry run prints, and what it means for the target's disk, the clock and the purse."""
    head = f"{'device':<22}{'files':>9}{'shards':>8}{'in, GB':>10}{'out, GB':>10}{'core-hours':>12}"
    lines = [head]
    for one in found:
        sizes = f"{one.bytes_in / 1e9:>10.2f}{one.bytes_out / 1e9:>10.2f}"
        lines.append(
            f"{one.device:<22}{one.files:>9,}{one.shards:>8,}{sizes}{one.core_seconds / 3600:>12.2f}"
        )
    out, hours = sum(one.bytes_out for one in found), sum(one.core_seconds for one in found) / 3600
    cores = pool.worker_count(cfg.workers)
    free = store.free_bytes(cfg.dst)
    room = "bounded by the bucket" if free is None else f"{free / 1e9:.1f} GB free"
    lines.append(f"room at {cfg.dst}: {room}, {out / 1e9:.2f} GB wanted")
    if free is not None and free < out:
        lines.append("TOO LITTLE ROOM: free some, or name another DST")
    price = hours * cfg.price_per_core_hour
    lines.append(
        f"time: about {hours / cores:.2f} h with {cores} workers; "
        f"cost: about {price:.2f} USD at {cfg.price_per_core_hour:g} USD per core-hour"
    )
    for one in found:
        bad = [row for row in one.tried if row.status != "ok"]
        refused = [f"{row.reason} ({row.source.rsplit('/', 1)[-1]})" for row in bad]
        if refused:
            lines.append(f"{one.device}: of {len(one.tried)} files tried, refused: {', '.join(refused)}")
        if not one.tried:
            lines.append(f"{one.device}: none of the files looked for is there, so nothing could be measured")
    return "\n".join(lines)


def _trial(shards: Sequence[ShardPlan], reader: Source, seed: int) -> list[ConvertTask]:
    """A seeded draw of files that are there; few are asked for, so that a bucket answers at once."""
    tasks = [task for one in shards for task in shard_writer.tasks(one, {})]
    tasks.sort(key=lambda task: seed_for(seed, "trial", task.member.entry.path))
    found = [task for task in tasks[: ASKED * TRIED] if reader.has(task.member.entry.path)]
    return [replace(task, audit=False) for task in found[:TRIED]]


def _scaled(
    device: str, shards: Sequence[ShardPlan], trial: Sequence[ConvertTask], child: WorkerPool, cfg: PrepConfig
) -> Estimate:
    """What the trial's files come to, for all. The first is made twice: once to warm up."""
    rows, seconds = [], []
    for i, task in enumerate([*trial[:1], *trial]):
        begun = time.monotonic()
        row = child.submit(task).result().row
        if i:
            rows.append(row)
            seconds.append(time.monotonic() - begun)
    members = [member for one in shards for member in one.members]
    read = [row.source_bytes for row in rows if row.source_bytes]
    stored = [row.nbytes for row in rows if row.nbytes]
    guess = sum(expected_bytes(member, cfg) for member in members)
    return Estimate(
        device=device,
        files=len(members),
        shards=len(shards),
        bytes_in=statistics.fmean(read) * len(members) if read else 0.0,
        bytes_out=statistics.fmean(stored) * len(members) if stored else guess,
        core_seconds=statistics.fmean(seconds) * len(members) if seconds else 0.0,
        tried=tuple(rows),
    )
