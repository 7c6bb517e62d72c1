"""Runs a plan: one lock per device, plan.json first, then its shards on this machine or a Ray cluster.

Kill it at any moment and run it again: finished shards are kept, the others made anew, and the result is the
same bytes as an undisturbed run's, whatever the engine and the number of workers.
"""

import json
import logging
import math
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any

from octshard import pool
from octshard.config.prep import PrepConfig
from octshard.dataset import tables
from octshard.dataset.tables import Row
from octshard.errors import OctshardError, UsageError
from octshard.imaging.volume import GEOMETRIES
from octshard.prep import build, sample, target, twins, zips
from octshard.prep.aireadi import Entry, Release, read_release
from octshard.prep.count import Count, Progress, most_refused
from octshard.prep.plan import Member, ShardPlan, drawn, plan
from octshard.prep.sample import Reader, Unpacked
from octshard.prep.sandbox import Job, Sandboxes
from octshard.prep.spacing import SENSIBLE_MM
from octshard.storage import lock, store

SHARDS_AHEAD = 2  # shards per core of a cluster that are handed out before the first is back
SETTLED_AFTER = 4  # rounds; one is enough unless files change meanwhile
IN_ZIPS = "octshard prep unzip says what is wrong with the ZIPs; fetch them again, or name another SRC"
RETRIES = 3  # of a shard whose Ray worker or machine died
CANCELLED_S = 60.0  # that tasks of a cluster may take to end once they are cancelled
ENGINES = {"local", "ray"}
BOUNDS = (  # of numbers of the config: name, least, greatest
    ("limit", 0, math.inf),
    ("decode_timeout_s", 0.001, 1_000_000),  # more does not fit into a wait of the system
    ("worker_memory", 1, 2**62),
    ("shard_bytes", 1, math.inf),
    ("max_voxels", 1, math.inf),
    ("max_output_voxels", 1, math.inf),
    ("workers", 0, math.inf),
)


@dataclass(frozen=True)
class DeviceSummary:
    """What became of one device: counts, refusals by reason, shards, how many an earlier run had made."""

    device: str
    folder: str
    stored: int
    refused: dict[str, int]
    shards: int
    kept: int
    bytes: int


def shard(
    cfg: PrepConfig,
    devices: Sequence[str],
    told: Callable[[Progress], None],
    noted: Callable[[str], None],
) -> tuple[DeviceSummary, ...]:
    """Builds or finishes cfg.dst/<device>/ for every device, or for `all`.

    A device of which no file is there is an OctshardError in the end, when the others are done.
    told: called as rows are done; noted: called with lines about ZIPs and the cluster.
    """
    check(cfg)
    release = read_release(cfg.src)
    chosen = select(release.entries, devices, cfg.src)
    reader = reader_of(cfg, release, noted)
    found, absent = [], []
    for device in chosen:
        try:
            found.append(_device(cfg, release, reader, device, (told, noted)))
        except Absent as error:
            absent.append(str(error))
    if absent:
        others = f"; done: {', '.join(one.device for one in found)}" if found else ""
        advice = "run octshard prep unzip first, or read the ZIPs with --from-zip, or name another SRC"
        raise OctshardError(
            f"{release.root}: not one of {' and of '.join(absent)} is there; "
            f"{IN_ZIPS if cfg.from_zip else advice}{others}"
        )
    return tuple(found)


def reader_of(cfg: PrepConfig, release: Release, noted: Callable[[str], None]) -> Reader:
    """Where files come from: unpacked below the release's root, or its device ZIPs."""
    if not cfg.from_zip:
        return Unpacked(release.root)
    reader, refused, unlisted = zips.open_release(release)
    for found in refused:
        noted(f"refused: {found.zip} {found.member}: {found.reason}")
    if unlisted:
        noted(f"in a ZIP, not in the manifest: {len(unlisted)} members, the first is {unlisted[0]}")
    return reader


def plan_of(cfg: PrepConfig, release: Release, device: str) -> tuple[ShardPlan, ...]:
    """The shards of one device, of all its files or of cfg.limit drawn ones."""
    mine = [entry for entry in release.entries if entry.device == device]
    return plan(drawn(mine, cfg.limit, cfg.seed), release.splits, cfg)


def select(entries: Iterable[Entry], devices: Sequence[str], src: str) -> list[str]:
    """The wanted devices in the order asked for, or with `all` every one; an unlisted one is a UsageError."""
    listed = Counter(entry.device for entry in entries)
    wanted = sorted(listed) if "all" in devices else list(dict.fromkeys(devices))
    unknown = [device for device in wanted if device not in listed]
    if unknown or not wanted:
        found = ", ".join(sorted(listed)) or "no structural OCT at all"
        raise UsageError(
            f"{src}: no rows of device {', '.join(unknown) or 'any'}; its manifest lists {found}"
        )
    return wanted


class Absent(OctshardError):
    """Of a device's files none is there; its text says of how many."""


Listeners = tuple[Callable[[Progress], None], Callable[[str], None]]


def _device(
    cfg: PrepConfig, release: Release, reader: Reader, device: str, listeners: Listeners
) -> DeviceSummary:
    folder = store.join(cfg.dst, device)
    shards = plan_of(cfg, release, device)
    total = sum(len(one.members) for one in shards)
    count = Count(device, total, listeners[0], most_refused(cfg.max_refused, total))
    with lock.one_writer(store.join(cfg.dst, f".{device}.lock")):
        target.settle(folder, cfg, shards)
        store.sweep(folder)
        built = target.kept(folder, shards, reader)
        before = dict(built)
        for _, rows in built.values():
            count.keep(rows)
        work = _Work(Job(cfg, reader), folder, count, listeners[1])
        _finish(shards, built, work)
        _settle_twins(shards, built, work)
        if all(row.reason == "missing_file" for _, rows in built.values() for row in rows):
            raise Absent(f"the {total} listed files of {device}")
        rows = target.publish(folder, cfg, [built[one.name] for one in shards])
        _note_run(folder, cfg, count.progress())
    counts, infos = build.counts(rows), [info for info, _ in built.values() if info.samples]
    size = sum(info.bytes for info in infos)
    kept = sum(built[name] is done and done[0].samples > 0 for name, done in before.items())
    return DeviceSummary(device, folder, counts["stored"], counts["refused"], len(infos), kept, size)


@dataclass(frozen=True)
class _Work:
    """What making shards takes. settled: what the rows of the whole device have told of twins."""

    job: Job
    folder: str
    count: Count
    noted: Callable[[str], None]
    settled: dict[Member, str] = field(default_factory=dict)


def _finish(shards: Sequence[ShardPlan], built: dict[str, target.Built], work: _Work) -> None:
    """Makes the shards that are not built yet, and adds them."""
    missing = [one for one in shards if one.name not in built]
    if not missing:
        return
    store.remove(store.join(work.folder, tables.INFO))  # while it is absent, the folder is unfinished
    (_run_on_ray if work.job.cfg.engine == "ray" else _run_here)(missing, work)
    for one in missing:
        done = build.finished(one, work.folder)
        if done is None:
            raise OctshardError(
                f"{work.folder}: {one.name} was built but is not whole; run the same command again"
            )
        built[one.name] = done


def _settle_twins(shards: Sequence[ShardPlan], built: dict[str, target.Built], work: _Work) -> None:
    """Shards whose rows do not agree with the others' on who is whose duplicate are made again.

    Equal bytes, and UIDs that only headers tell, show when all files are read; and files may have come, gone
    or changed since an earlier run made some of the shards.
    """
    for _ in range(SETTLED_AFTER):
        pairs = {one.name: list(zip(one.members, built[one.name][1], strict=True)) for one in shards}
        wanted = twins.settled(pair for of_shard in pairs.values() for pair in of_shard)
        names = [name for name, of in pairs.items() if any(twins.is_wrong(*pair, wanted) for pair in of)]
        if not names:
            return
        settled = {m: wanted[m] for name in names for m, _ in pairs[name] if m in wanted}
        work.count.remake(row for name in names for row in built[name][1])
        target.drop(work.folder, names, built)
        _finish(shards, built, replace(work, settled=settled))
    raise OctshardError(f"{work.folder}: files change while they are read; run again when SRC stands still")


def _run_here(shards: Sequence[ShardPlan], work: _Work) -> None:
    """Some shards at once, so that no child waits while one is being closed; all share the same children."""
    cfg = work.job.cfg
    if cfg.src.startswith("memory://"):  # which no other process can see
        for one in shards:
            todo = build.tasks(one, work.settled)
            _named(work.folder, one, (sample.make(task, cfg, work.job.reader) for task in todo), work.count)
        return
    workers = min(pool.cores(cfg.workers), sum(len(one.members) for one in shards))
    with (
        ThreadPoolExecutor(min(len(shards), 2 + workers // 8), "conductor") as conductors,
        Sandboxes(work.job, workers) as children,
    ):

        def conduct(one: ShardPlan) -> None:
            made = children.in_order(build.tasks(one, work.settled))
            _named(work.folder, one, made, work.count)

        futures = [conductors.submit(conduct, one) for one in shards]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            conductors.shutdown(wait=False, cancel_futures=True)
            raise


def _named(folder: str, one: ShardPlan, made: Any, count: Count) -> None:
    """Builds a shard; an error says which one it was."""
    try:
        build.build_shard(one, made, folder, count.tell)
    except store.StoreError as error:
        raise store.StoreError(f"{folder}: {one.name}: {error}") from error


def _run_on_ray(shards: Sequence[ShardPlan], work: _Work) -> None:
    """One task per shard, a bounded number handed out; only plans and rows travel, never a volume."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        _hand_out(shards, work, _ray(work))
    finally:
        _restore_sigterm(before)


def _restore_sigterm(before: Any) -> None:
    """Undoes Ray's taking of SIGTERM, which it does in the main thread only and for good."""
    if before is not None and signal.getsignal(signal.SIGTERM) is not before:
        signal.signal(signal.SIGTERM, before)


def _hand_out(shards: Sequence[ShardPlan], work: _Work, ray: Any) -> None:
    job = ray.put((work.job, work.settled))
    remote = ray.remote(num_cpus=1, max_retries=RETRIES)(_shard_on_ray)
    ahead = SHARDS_AHEAD * _cores_of(ray)
    waiting, running = list(reversed(shards)), dict[Any, str]()
    try:
        while waiting or running:
            while waiting and len(running) < ahead:
                one = waiting.pop()
                running[remote.remote(one, job, work.folder)] = one.name
            ready, _ = ray.wait(list(running), num_returns=1)
            for reference in ready:
                name = running.pop(reference)
                try:
                    rows = ray.get(reference)
                except ray.exceptions.RayError as error:
                    text = str(getattr(error, "cause", None) or error).strip().splitlines()
                    raise OctshardError(f"{work.folder}: {name}: {text[-1] if text else error!r}") from error
                for row in rows:
                    work.count.tell(row)
    finally:  # no task may write beside the next run
        for reference in running:
            ray.cancel(reference, force=True)
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=CANCELLED_S)


def _cores_of(ray: Any) -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _ray(work: _Work) -> Any:
    ray = _joined()
    nodes = sum(bool(node["Alive"]) for node in ray.nodes())
    for name, url in (("src", work.job.cfg.src), ("dst", work.job.cfg.dst)):
        if nodes > 1 and not store.is_remote(url):
            work.noted(f"{name}={url}: a local path, which all {nodes} machines of the cluster must share")
    return ray


def _joined() -> Any:
    """Ray, as part of a cluster: that of RAY_ADDRESS, or which runs on this machine, else a small new one."""
    try:
        import ray
    except ImportError as error:
        raise UsageError('engine=ray: Ray is not installed; pip install "octshard[ray]"') from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    return ray


def _shard_on_ray(one: ShardPlan, shared: tuple[Job, dict[Member, str]], folder: str) -> list[Row]:
    """Runs in a worker of the cluster, with one child of its own for the decoding."""
    job, settled = shared
    rows: list[Row] = []
    with Sandboxes(job, 1) as children:
        build.build_shard(one, children.in_order(build.tasks(one, settled)), folder, rows.append)
    return rows


def _note_run(folder: str, cfg: PrepConfig, last: Progress) -> None:
    """How fast this run was, if it made anything; no part of the dataset."""
    if last.fresh:
        facts = {
            "engine": cfg.engine,
            "workers": _cores_of(_joined()) if cfg.engine == "ray" else pool.cores(cfg.workers),
            "seconds": round(last.seconds, 1),
            "files": last.fresh,
            "files_per_s": round(last.fresh / last.seconds, 2),
            "mb_read_per_s": round(last.bytes_read / last.seconds / 1e6, 1),
        }
        store.write(store.join(folder, tables.RUN), json.dumps(facts, indent=1).encode())


def check(cfg: PrepConfig) -> None:
    if not cfg.src or not cfg.dst:
        raise UsageError(f"src={cfg.src!r}, dst={cfg.dst!r}: want both, the release root and where shards go")
    if cfg.fit not in ("crop_pad", "resize"):
        raise UsageError(f"fit={cfg.fit!r}: want crop_pad or resize")
    low, high = SENSIBLE_MM
    if len(cfg.target_spacing) != 3 or not all(low <= mm <= high for mm in cfg.target_spacing):
        raise UsageError(
            f"target_spacing={list(cfg.target_spacing)}: want three, {low:g} to {high:g} mm, along D, H, W"
        )
    if len(cfg.image_size) != 3 or min(cfg.image_size) < 1:
        raise UsageError(f"image_size={list(cfg.image_size)}: want three numbers of voxels > 0 along D, H, W")
    if unknown := sorted(set(cfg.include_geometry) - set(GEOMETRIES)):
        raise UsageError(f"include_geometry={unknown}: want some of {', '.join(GEOMETRIES)}")
    for name, allowed in (("decode", {"exact", "fast"}), ("engine", ENGINES)):
        if (value := getattr(cfg, name)) not in allowed:
            raise UsageError(f"{name}={value!r}: want {' or '.join(sorted(allowed))}")
    most_refused(cfg.max_refused, 1)
    for name, low, high in BOUNDS:
        if not low <= (value := getattr(cfg, name)) <= high:
            raise UsageError(f"{name}={value}: want {low} {f'to {high:g}' if high < math.inf else 'or more'}")
    if not 1 <= cfg.zstd_level <= 22:
        raise UsageError(f"zstd_level={cfg.zstd_level}: want 1 to 22")
