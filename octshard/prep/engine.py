"""Runs a plan: one lock per device, plan.json first, shards by a local process pool, the three tables last.

Kill it at any moment and run it again: finished shards are kept, the others made anew, and the result is the
same bytes as an undisturbed run's, whatever the number of workers.
"""

import json
import multiprocessing
import queue
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from octshard import __version__, config, lock, manifest, pool, store
from octshard.config import PrepConfig
from octshard.errors import OctshardError, UsageError
from octshard.manifest import Row, ShardInfo
from octshard.prep import build
from octshard.prep.aireadi import Entry, Release, read_release
from octshard.prep.plan import ShardPlan, digest, plan
from octshard.prep.spacing import SENSIBLE_MM
from octshard.volume import GEOMETRIES

TELL_EVERY_S = 0.2  # how often the progress of workers is asked for
LATE_S = 30.0  # a worker's last progress report takes milliseconds
Built = tuple[ShardInfo, list[Row]]


@dataclass(frozen=True)
class Progress:
    """How far one device is, in manifest rows."""

    device: str
    total: int
    stored: int
    refused: int


@dataclass(frozen=True)
class DeviceSummary:
    """What became of one device: counts, refusals by reason, shards kept from an earlier run."""

    device: str
    folder: str
    stored: int
    refused: dict[str, int]
    shards: int
    kept: int
    bytes: int


@dataclass
class _Count:
    device: str
    total: int
    told: Callable[[Progress], None]
    seen: Counter[str] = field(default_factory=Counter)

    def tell(self, status: str) -> None:
        self.seen[status] += 1
        done = self.seen["ok"]
        self.told(Progress(self.device, self.total, done, self.seen.total() - done))


def shard(
    cfg: PrepConfig, devices: Sequence[str], told: Callable[[Progress], None]
) -> tuple[DeviceSummary, ...]:
    """Builds or finishes cfg.dst/<device>/ for every device, or for `all`. told: called as rows are done."""
    _check(cfg)
    release = read_release(cfg.src)
    chosen = select(release.entries, devices, cfg.src)
    return tuple(_device(cfg, release, device, told) for device in chosen)


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


def read_object(root: str, entry: Entry) -> bytes:
    """The unpacked DICOM of an entry."""
    return store.read(store.join(root, entry.path))


def _device(
    cfg: PrepConfig, release: Release, device: str, told: Callable[[Progress], None]
) -> DeviceSummary:
    folder = store.join(cfg.dst, device)
    shards = plan([entry for entry in release.entries if entry.device == device], release.splits, cfg)
    count = _Count(device, sum(len(one.members) for one in shards), told)
    with lock.one_writer(store.join(cfg.dst, f".{device}.lock")):
        _settle_plan(folder, cfg, shards)
        store.sweep(folder)
        built = _kept(folder, shards, release.root)
        for _, rows in built.values():
            for row in rows:
                count.tell(row.status)
        missing = [one for one in shards if one.name not in built]
        if missing:
            store.remove(store.join(folder, manifest.INFO))  # while it is absent, the folder is unfinished
        reader = partial(read_object, release.root)
        _run(missing, _Job(cfg, reader, folder), count)
        kept = len(built)
        for one in missing:
            done = build.finished(one, folder)
            if done is None:
                raise OctshardError(
                    f"{folder}: {one.name} was built but is not whole; run the same command again"
                )
            built[one.name] = done
        if all(row.reason == "missing_file" for _, rows in built.values() for row in rows):
            raise OctshardError(
                f"{release.root}: not one of the {count.total} listed files of {device} is there; "
                "run octshard prep unzip first, or name another SRC"
            )
        return _publish(folder, cfg, [built[one.name] for one in shards], kept)


def _kept(folder: str, shards: Sequence[ShardPlan], root: str) -> dict[str, Built]:
    """The finished shards that stay: all but those that a file which came since would change.

    It changes its own row, from missing_file, and those of later twins, one of which may be stored instead.
    Their done.json goes before any is made again, the twins' first: a run killed meanwhile finds the rest.
    """
    built = {one.name: done for one in shards if (done := build.finished(one, folder)) is not None}
    rows = [row for _, found in built.values() for row in found]
    missing = {row.source for row in rows if row.reason == "missing_file" and row.source}
    come = {path for path in missing if store.exists(store.join(root, path))}
    if not come:
        return built
    own = [one.name for one in shards if any(m.entry.path in come for m in one.members)]
    twin = [one.name for one in shards if any(e.path in come for m in one.members for e in m.twins)]
    for name in dict.fromkeys([*(n for n in twin if n not in own), *own]):
        store.remove(store.join(folder, name + build.DONE))
        built.pop(name, None)
    return built


def _check(cfg: PrepConfig) -> None:
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
    for name, low in (("shard_bytes", 1), ("max_voxels", 1), ("max_output_voxels", 1), ("workers", 0)):
        if (value := getattr(cfg, name)) < low:
            raise UsageError(f"{name}={value}: want {low} or more")
    if not 1 <= cfg.zstd_level <= 22:
        raise UsageError(f"zstd_level={cfg.zstd_level}: want 1 to 22")


def _settle_plan(folder: str, cfg: PrepConfig, shards: Sequence[ShardPlan]) -> None:
    """Writes plan.json, or holds an existing one to be of the same config, manifest and format."""
    mine = {
        "format": manifest.FORMAT_VERSION,
        "config": config.result_values(cfg),
        "config_digest": config.digest(cfg),
        "plan_digest": digest(shards),
        "shards": {one.name: [member.entry.path for member in one.members] for one in shards},
    }
    url = store.join(folder, manifest.PLAN)
    advice = "use another DST, or remove it and build again"
    try:
        theirs = json.loads(store.read(url))
    except FileNotFoundError:
        names = store.list_names(folder)
        if found := [n for n in names if n == manifest.INFO or n.endswith((build.DONE, build.TAR))]:
            raise UsageError(
                f"{folder}: {found[0]} without {manifest.PLAN}, so of a config that nobody knows; {advice}"
            ) from None
        store.write(url, json.dumps(mine, indent=1, sort_keys=True).encode())
        return
    except ValueError as error:
        raise UsageError(f"{url}: not JSON ({error}); remove {folder} and build it again") from error
    if not isinstance(theirs, dict) or not isinstance(theirs.get("config", {}), dict):
        raise UsageError(f"{url}: not what octshard writes; remove {folder} and build it again")
    if theirs.get("format") != mine["format"]:
        raise UsageError(
            f"{folder}: shards of format {theirs.get('format')!r}, want {mine['format']}; {advice}"
        )
    # through JSON, so that what it cannot tell apart (a tuple, a list) is not a difference
    ours = json.loads(json.dumps(mine["config"]))
    if changed := config.differences(theirs.get("config", {}), ours):
        raise UsageError(f"{folder}: begun with another config ({'; '.join(changed)}); {advice}")
    if theirs.get("plan_digest") != mine["plan_digest"]:
        raise UsageError(f"{folder}: begun from another manifest or version of octshard; {advice}")


@dataclass(frozen=True)
class _Job:
    """What every shard of a device shares."""

    cfg: PrepConfig
    reader: build.Reader
    folder: str


def _run(shards: Sequence[ShardPlan], job: _Job, count: _Count) -> None:
    workers = min(pool.cores(job.cfg.workers), len(shards))
    if workers <= 1:
        for one in shards:
            build.build_shard(one, job.cfg, job.reader, job.folder, count.tell)
        return
    with _pool(workers) as (executor, told):
        waiting, running = list(reversed(shards)), dict[Future[Any], str]()
        while waiting or running:
            while waiting and len(running) < workers:
                one = waiting.pop()
                running[executor.submit(_build, one, job)] = one.name
            finished, _ = wait(running, TELL_EVERY_S, FIRST_COMPLETED)
            _pass_on(told, count)
            names = sorted(running.values())
            for future in finished:
                _raise_clearly(future, job.folder, running.pop(future), names)
        while count.seen.total() < count.total:  # every shard is whole, so the last words are on their way
            count.tell(told.get(timeout=LATE_S))


def _raise_clearly(future: Future[Any], folder: str, name: str, running: Sequence[str]) -> None:
    """A worker's own error names its shard; a dead worker leaves open which of the running ones it had."""
    try:
        future.result()
    except BrokenProcessPool as error:
        text = f"a worker process died (killed, or out of memory) while making {' or '.join(running)}"
        raise OctshardError(f"{folder}: {text}; run the same command again, with fewer workers") from error
    except OctshardError as error:
        raise OctshardError(f"{folder}: {name}: {error}") from error


@contextmanager
def _pool(workers: int) -> Iterator[tuple[ProcessPoolExecutor, Any]]:
    """Workers, and the queue through which they tell of finished rows."""
    told = multiprocessing.get_context("spawn").Queue()
    try:
        with pool.spawned(workers, _listen, told) as executor:
            yield executor, told
    finally:
        told.cancel_join_thread()
        told.close()


_told: Any = None  # a worker's end of the progress queue, which can only be handed over when it starts


def _listen(told: Any) -> None:
    global _told
    _told = told


def _build(one: ShardPlan, job: _Job) -> None:
    build.build_shard(one, job.cfg, job.reader, job.folder, _told.put)


def _pass_on(told: Any, count: _Count) -> None:
    while True:
        try:
            count.tell(told.get_nowait())
        except queue.Empty:
            return


def _publish(folder: str, cfg: PrepConfig, built: Sequence[Built], kept: int) -> DeviceSummary:
    """The three tables, dataset.json last: its presence says that the folder is whole."""
    rows = [row for _, shard_rows in built for row in shard_rows]
    infos = [info for info, _ in built if info.samples]
    manifest.write_rows(store.join(folder, manifest.SAMPLES), rows)
    manifest.write_shards(store.join(folder, manifest.SHARDS), infos)
    counts = build.counts(rows)
    manifest.write_info(
        store.join(folder, manifest.INFO),
        {
            "device": rows[0].device,
            "config": config.result_values(cfg),
            "config_digest": config.digest(cfg),
            "code_version": __version__,
            "counts": counts,
        },
    )
    size = sum(info.bytes for info in infos)
    return DeviceSummary(rows[0].device, folder, counts["stored"], counts["refused"], len(infos), kept, size)
