"""Runs a plan: one lock per device, plan.json first, then its shards on this machine or a Ray cluster.

Kill it at any moment and run it again: finished shards are kept, the others made anew, and the result is the
same bytes as an undisturbed run's, whatever the engine and the number of workers.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from octshard import pool
from octshard.config.prep import PrepConfig
from octshard.dataset import tables
from octshard.errors import OctshardError, UsageError
from octshard.imaging.volume import GEOMETRIES, SENSIBLE_MM
from octshard.prep import duplicates
from octshard.prep.build import local, output_folder, ray_cluster, shard_writer
from octshard.prep.build.progress import Progress, ProgressCounter, most_refused
from octshard.prep.build.work import Work
from octshard.prep.convert.worker import WorkerJob
from octshard.prep.plan import ShardPlan, draw_subset, plan
from octshard.prep.release import zip_source
from octshard.prep.release.aireadi import Entry, Release, read_release
from octshard.prep.release.source import FolderSource, Source
from octshard.storage import lock, store

SETTLED_AFTER = 4  # rounds; one is enough unless files change meanwhile
IN_ZIPS = "octshard prep unzip says what is wrong with the ZIPs; fetch them again, or name another SRC"
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
        except NoFilesFound as error:
            absent.append(str(error))
    if absent:
        others = f"; done: {', '.join(one.device for one in found)}" if found else ""
        advice = "run octshard prep unzip first, or read the ZIPs with --from-zip, or name another SRC"
        raise OctshardError(
            f"{release.root}: not one of {' and of '.join(absent)} is there; "
            f"{IN_ZIPS if cfg.from_zip else advice}{others}"
        )
    return tuple(found)


def reader_of(cfg: PrepConfig, release: Release, noted: Callable[[str], None]) -> Source:
    """Where files come from: unpacked below the release's root, or its device ZIPs."""
    if not cfg.from_zip:
        return FolderSource(release.root)
    reader, refused, unlisted = zip_source.open_release(release)
    for found in refused:
        noted(f"refused: {found.zip} {found.member}: {found.reason}")
    if unlisted:
        noted(f"in a ZIP, not in the manifest: {len(unlisted)} members, the first is {unlisted[0]}")
    return reader


def plan_of(cfg: PrepConfig, release: Release, device: str) -> tuple[ShardPlan, ...]:
    """The shards of one device, of all its files or of cfg.limit drawn ones."""
    mine = [entry for entry in release.entries if entry.device == device]
    return plan(draw_subset(mine, cfg.limit, cfg.seed), release.splits, cfg)


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


class NoFilesFound(OctshardError):
    """Of a device's files none is there; its text says of how many."""


Listeners = tuple[Callable[[Progress], None], Callable[[str], None]]


def _device(
    cfg: PrepConfig, release: Release, reader: Source, device: str, listeners: Listeners
) -> DeviceSummary:
    folder = store.join(cfg.dst, device)
    shards = plan_of(cfg, release, device)
    total = sum(len(one.members) for one in shards)
    count = ProgressCounter(device, total, listeners[0], most_refused(cfg.max_refused, total))
    with lock.one_writer(store.join(cfg.dst, f".{device}.lock")):
        output_folder.check_or_write_plan(folder, cfg, shards)
        store.remove_partials(folder)
        built = output_folder.reusable(folder, shards, reader)
        before = dict(built)
        for _, rows in built.values():
            count.add_kept(rows)
        work = Work(WorkerJob(cfg, reader), folder, count, listeners[1])
        _finish(shards, built, work)
        _resolve_duplicates(shards, built, work)
        if all(row.reason == "missing_file" for _, rows in built.values() for row in rows):
            raise NoFilesFound(f"the {total} listed files of {device}")
        rows = output_folder.publish(folder, cfg, [built[one.name] for one in shards])
        _note_run(folder, cfg, count.progress())
    counts, infos = shard_writer.counts(rows), [info for info, _ in built.values() if info.samples]
    size = sum(info.bytes for info in infos)
    kept = sum(built[name] is done and done[0].samples > 0 for name, done in before.items())
    return DeviceSummary(device, folder, counts["stored"], counts["refused"], len(infos), kept, size)


def _finish(shards: Sequence[ShardPlan], built: dict[str, output_folder.Built], work: Work) -> None:
    """Makes the shards that are not built yet, and adds them."""
    missing = [one for one in shards if one.name not in built]
    if not missing:
        return
    store.remove(store.join(work.folder, tables.INFO))  # while it is absent, the folder is unfinished
    engine = ray_cluster if work.job.cfg.engine == "ray" else local
    engine.make_shards(missing, work)
    for one in missing:
        done = shard_writer.finished(one, work.folder)
        if done is None:
            raise OctshardError(
                f"{work.folder}: {one.name} was built but is not whole; run the same command again"
            )
        built[one.name] = done


def _resolve_duplicates(
    shards: Sequence[ShardPlan], built: dict[str, output_folder.Built], work: Work
) -> None:
    """Shards whose rows do not agree with the others' on who is whose duplicate are made again.

    Equal bytes, and UIDs that only headers tell, show when all files are read; and files may have come, gone
    or changed since an earlier run made some of the shards.
    """
    for _ in range(SETTLED_AFTER):
        pairs = {one.name: list(zip(one.members, built[one.name][1], strict=True)) for one in shards}
        wanted = duplicates.resolve(pair for of_shard in pairs.values() for pair in of_shard)
        names = [name for name, of in pairs.items() if any(duplicates.is_stale(*pair, wanted) for pair in of)]
        if not names:
            return
        settled = {m: wanted[m] for name in names for m, _ in pairs[name] if m in wanted}
        work.count.subtract(row for name in names for row in built[name][1])
        output_folder.invalidate(work.folder, names, built)
        _finish(shards, built, replace(work, settled=settled))
    raise OctshardError(f"{work.folder}: files change while they are read; run again when SRC stands still")


def _note_run(folder: str, cfg: PrepConfig, last: Progress) -> None:
    """How fast this run was, if it made anything; no part of the dataset."""
    if last.fresh:
        facts = {
            "engine": cfg.engine,
            "workers": ray_cluster.cores() if cfg.engine == "ray" else pool.worker_count(cfg.workers),
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
