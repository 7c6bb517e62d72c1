"""What a run of prep shard would take: its shards, bytes in and out, disk space, time and cost.

Sizes and times are measured on this machine with a seeded draw of the device's files. Nothing is written.
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
from octshard.prep.convert.worker_pool import WorkerPool
from octshard.prep.plan import ShardPlan, expected_bytes
from octshard.prep.release.source import Source
from octshard.progress import OnProgress, no_progress
from octshard.rng import seed_for
from octshard.storage import store

TRIED = 5  # files of each device that are converted, one after another
ASKED = 4  # times as many are looked for, because some may be missing


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
    build = inputs.load(cfg, devices)
    results = []
    with WorkerPool(build.job, 1) as workers:
        for i, (device, plans) in enumerate(build.plans.items()):
            on_progress(i, len(build.plans), device)
            tasks = _draw_tasks(plans, build.job.source, cfg.seed)
            results.append(_measure(device, plans, tasks, workers, cfg))
        on_progress(len(build.plans), len(build.plans), "")
    return results


def text(estimates: Sequence[Estimate], cfg: PrepConfig) -> str:
    """The table that a dry run prints, and what it means for disk space, time and cost."""
    header = f"{'device':<22}{'files':>9}{'shards':>8}{'in, GB':>10}{'out, GB':>10}{'core-hours':>12}"
    lines = [header]
    for estimate in estimates:
        counts = f"{estimate.device:<22}{estimate.files:>9,}{estimate.shards:>8,}"
        sizes = f"{estimate.bytes_in / 1e9:>10.2f}{estimate.bytes_out / 1e9:>10.2f}"
        lines.append(f"{counts}{sizes}{estimate.core_seconds / 3600:>12.2f}")
    bytes_out, hours = (
        sum(estimate.bytes_out for estimate in estimates),
        sum(estimate.core_seconds for estimate in estimates) / 3600,
    )
    cores = pool.worker_count(cfg.workers)
    free = store.free_bytes(cfg.dst)
    space = "bounded by the bucket" if free is None else f"{free / 1e9:.1f} GB free"
    lines.append(f"room at {cfg.dst}: {space}, {bytes_out / 1e9:.2f} GB wanted")
    if free is not None and free < bytes_out:
        lines.append("TOO LITTLE ROOM: free some, or name another DST")
    price = hours * cfg.price_per_core_hour
    lines.append(
        f"time: about {hours / cores:.2f} h with {cores} workers; "
        f"cost: about {price:.2f} USD at {cfg.price_per_core_hour:g} USD per core-hour"
    )
    for estimate in estimates:
        refused_rows = [row for row in estimate.tried if row.status != "ok"]
        refused = [f"{row.reason} ({row.source.rsplit('/', 1)[-1]})" for row in refused_rows]
        if refused:
            lines.append(
                f"{estimate.device}: of {len(estimate.tried)} files tried, refused: {', '.join(refused)}"
            )
        if not estimate.tried:
            lines.append(
                f"{estimate.device}: none of the files looked for is there, so nothing could be measured"
            )
    return "\n".join(lines)


def _draw_tasks(plans: Sequence[ShardPlan], source: Source, seed: int) -> list[ConvertTask]:
    """A seeded draw of files that are present. Few are looked for, so that a bucket answers quickly."""
    tasks = [task for plan in plans for task in shard_writer.tasks(plan, {})]
    tasks.sort(key=lambda task: seed_for(seed, "trial", task.member.entry.path))
    present = [task for task in tasks[: ASKED * TRIED] if source.has(task.member.entry.path)]
    return [replace(task, audit=False) for task in present[:TRIED]]


def _measure(
    device: str,
    plans: Sequence[ShardPlan],
    tasks: Sequence[ConvertTask],
    workers: WorkerPool,
    cfg: PrepConfig,
) -> Estimate:
    """The whole device, from a few of its files. The first is converted twice: once to warm up."""
    rows, seconds = [], []
    for i, task in enumerate([*tasks[:1], *tasks]):
        start = time.monotonic()
        row = workers.submit(task).result().row
        if i:
            rows.append(row)
            seconds.append(time.monotonic() - start)
    members = [member for plan in plans for member in plan.members]
    bytes_in = [row.source_bytes for row in rows if row.source_bytes]
    bytes_out = [row.nbytes for row in rows if row.nbytes]
    planned_bytes = sum(expected_bytes(member, cfg) for member in members)
    return Estimate(
        device=device,
        files=len(members),
        shards=len(plans),
        bytes_in=statistics.fmean(bytes_in) * len(members) if bytes_in else 0.0,
        bytes_out=statistics.fmean(bytes_out) * len(members) if bytes_out else planned_bytes,
        core_seconds=statistics.fmean(seconds) * len(members) if seconds else 0.0,
        tried=tuple(rows),
    )
