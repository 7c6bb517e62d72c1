"""Runs a plan: one lock per device, plan.json first, then its shards on this machine or a Ray cluster.

Kill it at any moment and run it again: finished shards are kept, the others made again, and the result is the
same bytes as an undisturbed run's, whatever the engine and the number of workers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType

from octshard.config.prep import PrepConfig
from octshard.dataset.splits import split_sources
from octshard.errors import OctshardError
from octshard.prep import duplicates
from octshard.prep.build import (
    inputs,
    local,
    output_folder,
    ray_cluster,
    shard_writer,
    source_versions,
)
from octshard.prep.build.progress import ProgressCounter, most_refused
from octshard.prep.build.shard_writer import BuiltShard
from octshard.prep.build.work import Work
from octshard.prep.convert.worker import WorkerJob
from octshard.prep.plan import ShardPlan
from octshard.progress import OnProgress, no_progress
from octshard.storage import lock, store

NOT_THERE = ("missing_file", "unreadable_member")
ROUNDS = 4  # of resolving duplicates; one is enough unless files change meanwhile
IN_ZIPS = "octshard prep unzip says what is wrong with the ZIPs; fetch them again, or name another SRC"

Built = Mapping[str, BuiltShard]  # finished shards by name


@dataclass(frozen=True)
class DeviceSummary:
    """The result for one device: counts, refusals by reason, shards, and how many of them were kept.

    split_sources: the people with a stored volume, by what placed them in their split. left_out: files of the
    manifest that `where` leaves out; None without it. assumed: volumes whose spacing nothing tells.
    """

    device: str
    folder: str
    stored: int
    refused: dict[str, int]
    shards: int
    kept: int
    bytes: int
    split_sources: Mapping[str, int]
    left_out: int | None = None
    assumed: int = 0


class NoFilesFound(OctshardError):
    """None of a device's listed files exists; the text gives their number."""


def shard(
    cfg: PrepConfig, devices: Sequence[str], on_progress: OnProgress = no_progress
) -> tuple[DeviceSummary, ...]:
    """Builds or finishes cfg.dst/<device>/ for every device, or for `all`; on_progress counts manifest rows.

    A device without a single file is an OctshardError in the end, when the others are done.
    """
    build = inputs.load(cfg, devices)
    summaries, absent = [], []
    for device, plans in build.plans.items():
        try:
            left_out = build.left_out.get(device)
            summaries.append(_build_device(device, plans, build.job, left_out, on_progress))
        except NoFilesFound as error:
            absent.append(str(error))
    if absent:
        others = f"; done: {', '.join(summary.device for summary in summaries)}" if summaries else ""
        advice = "run octshard prep unzip first, or read the ZIPs with --from-zip, or name another SRC"
        lack = "can be read" if cfg.from_zip else "is there"
        raise OctshardError(
            f"{build.root}: not one of {' and of '.join(absent)} {lack}; "
            f"{IN_ZIPS if cfg.from_zip else advice}{others}"
        )
    return tuple(summaries)


def _build_device(
    device: str, plans: Sequence[ShardPlan], job: WorkerJob, left_out: int | None, on_progress: OnProgress
) -> DeviceSummary:
    cfg, folder = job.cfg, store.join(job.cfg.dst, device)
    total = sum(len(plan.members) for plan in plans)
    count = ProgressCounter(device, total, on_progress, most_refused(cfg.max_refused, total))
    work = Work(job, folder, count)
    lock_url = store.join(cfg.dst, f".{device}.lock")
    with lock.one_writer(lock_url, folder, source_versions.record_url(cfg, device)):
        output_folder.check_or_write_plan(folder, cfg, plans)
        store.remove_partials(cfg.dst)
        store.remove_partials(folder)
        versions = source_versions.look(cfg, device, plans, job.source)
        kept = output_folder.reusable(folder, plans, job.source, versions)
        source_versions.write(cfg, device, versions)
        for shard in kept.values():
            count.add_kept(shard.rows)
        built = _resolve_duplicates(plans, _make_missing(plans, kept, work), work)
        shards = [built[plan.name] for plan in plans]
        if all(row.reason in NOT_THERE for shard in shards for row in shard.rows):
            raise NoFilesFound(f"the {total} listed files of {device}")
        rows = output_folder.publish(folder, cfg, plans, shards, left_out)
        if count.fresh:  # else the engine was not used, and no cluster is asked for
            output_folder.write_run_facts(folder, cfg, count, _engine(cfg).workers(cfg))
    counts, infos = shard_writer.counts(rows), [shard.info for shard in shards if shard.info.samples]
    return DeviceSummary(
        device=device,
        folder=folder,
        stored=counts["stored"],
        refused=counts["refused"],
        shards=len(infos),
        kept=sum(built[name] is shard and shard.info.samples > 0 for name, shard in kept.items()),
        bytes=sum(info.bytes for info in infos),
        split_sources=split_sources(rows),
        left_out=left_out,
        assumed=sum(row.status == "ok" and row.assumed_spacing == 1 for row in rows),
    )


def _make_missing(plans: Sequence[ShardPlan], built: Built, work: Work) -> Built:
    """The built shards and those that were missing, which are made now."""
    missing = [plan for plan in plans if plan.name not in built]
    if not missing:
        return built
    output_folder.mark_unfinished(work.folder)
    _engine(work.job.cfg).make_shards(missing, work)
    new = {plan.name: shard_writer.read_built(plan, work.folder) for plan in missing}
    for name, shard in new.items():
        if shard is None:
            raise OctshardError(
                f"{work.folder}: {name} was built but is not whole; run the same command again"
            )
    return {**built, **{name: shard for name, shard in new.items() if shard is not None}}


def _resolve_duplicates(plans: Sequence[ShardPlan], built: Built, work: Work) -> Built:
    """The built shards, once those whose rows disagree with the others' on duplicates are made again.

    Equal bytes, and UIDs that only headers give, are known once all files are read; and files may have
    appeared, disappeared or changed since an earlier run made some of the shards.
    """
    for _ in range(ROUNDS):
        pairs = {plan.name: list(zip(plan.members, built[plan.name].rows, strict=True)) for plan in plans}
        duplicate_of = duplicates.resolve(pair for of_shard in pairs.values() for pair in of_shard)
        stale = [
            name
            for name, of_shard in pairs.items()
            if any(duplicates.is_stale(member, row, duplicate_of) for member, row in of_shard)
        ]
        if not stale:
            return built
        details = {m: duplicate_of[m] for name in stale for m, _ in pairs[name] if m in duplicate_of}
        work.count.subtract(row for name in stale for row in built[name].rows)
        output_folder.invalidate(work.folder, stale)
        built = {name: shard for name, shard in built.items() if name not in stale}
        built = _make_missing(plans, built, replace(work, duplicate_of=details))
    raise OctshardError(f"{work.folder}: files change while they are read; run again when SRC stands still")


def _engine(cfg: PrepConfig) -> ModuleType:
    """The module whose `make_shards` and `workers` are used."""
    return ray_cluster if cfg.engine == "ray" else local
