"""The folder that a device is built in: its plan.json, its finished shards, the tables that complete it."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from octshard import __version__
from octshard.config import fields
from octshard.config.prep import PrepConfig
from octshard.dataset import tables
from octshard.dataset.tables import SampleRow
from octshard.errors import OctshardError, UsageError
from octshard.prep.build import shard_writer, source_versions
from octshard.prep.build.progress import ProgressCounter
from octshard.prep.build.shard_writer import BuiltShard
from octshard.prep.build.source_versions import SourceVersions
from octshard.prep.plan import ShardPlan, digest
from octshard.prep.release.source import Source
from octshard.storage import json_object, store, transport

logger = logging.getLogger(__name__)

OTHER_DST = "use another DST, or remove it and build again"
REQUESTS = 16  # at once: a store answers one in tens of milliseconds


def check_or_write_plan(folder: str, cfg: PrepConfig, plans: Sequence[ShardPlan]) -> None:
    """Writes plan.json, or checks that an existing one has the same config, manifest and format.

    A finished folder whose plan.json is gone or damaged gets it back: dataset.json tells as much.
    """
    plan_info = {
        "format": tables.FORMAT_VERSION,
        "config": fields.result_values(cfg),
        "config_digest": fields.digest(cfg),
        "plan_digest": digest(plans),
        "shards": {plan.name: [member.entry.source for member in plan.members] for plan in plans},
    }
    url = store.join(folder, tables.PLAN)
    try:
        written = json_object.read(url)
    except FileNotFoundError:
        written = _from_info(folder, f"{url}: gone")
    except (json_object.DamagedJson, store.NotAFile) as error:
        written = _from_info(folder, str(error))
        if not written:
            raise UsageError(f"{error}; remove {folder} and build it again") from error
    else:
        _check_same(folder, written, plan_info)
        return
    if written:
        _check_same(folder, written, plan_info)
    elif leftover := next(filter(_is_of_a_build, store.list_names(folder)), None):
        raise UsageError(f"{folder}: {leftover} without {tables.PLAN}, so its config is unknown; {OTHER_DST}")
    store.write(url, json.dumps(plan_info, indent=1, sort_keys=True).encode())


def _from_info(folder: str, why: str) -> dict[str, Any]:
    """What dataset.json says of the plan; nothing if there is none, or one of a version that left it out."""
    try:
        info = tables.read_info(folder)
    except OctshardError:
        return {}
    if "plan_digest" not in info:
        return {}
    logger.warning("%s; written anew if %s agrees", why, tables.INFO)
    return info


def _is_of_a_build(name: str) -> bool:
    return name == tables.INFO or name.endswith((shard_writer.DONE, shard_writer.TAR))


def _check_same(folder: str, written: Mapping[str, Any], plan_info: Mapping[str, Any]) -> None:
    """UsageError if what was written is of another format, config, manifest or version."""
    written_config = written.get("config")
    if not isinstance(written_config, dict):
        raise UsageError(f"{folder}: {tables.PLAN} has no config; remove {folder} and build it again")
    if written.get("format") != plan_info["format"]:
        raise UsageError(
            f"{folder}: shards of format {written.get('format')!r}, want {plan_info['format']}; {OTHER_DST}"
        )
    # through JSON, so that a tuple and a list are not a difference
    config = json.loads(json.dumps(plan_info["config"]))
    if changed := fields.differences(written_config, config):
        raise UsageError(f"{folder}: begun with another config ({'; '.join(changed)}); {OTHER_DST}")
    if written.get("plan_digest") != plan_info["plan_digest"]:
        raise UsageError(f"{folder}: begun from another manifest or version of octshard; {OTHER_DST}")


def reusable(
    folder: str, plans: Sequence[ShardPlan], source: Source, versions: SourceVersions
) -> dict[str, BuiltShard]:
    """The finished shards that are kept: all but those with a file that is not what its row was made of.

    That is so for files that have appeared or changed, and for those that crashed or took too long.
    """
    built = _finished(folder, plans)
    shard_of = {member: plan.name for plan in plans for member in plan.members}
    finished = [plan for plan in plans if plan.name in built]
    pairs = [pair for plan in finished for pair in zip(plan.members, built[plan.name].rows, strict=True)]
    changed = source_versions.changed(pairs, versions, source)
    stale = {shard_of[member] for member, _ in changed}
    if stored := [row.source for _, row in changed if row.status == "ok"]:
        text = "%s: %d stored files have changed, the first is %s; their shards are made again"
        logger.info(text, folder, len(stored), stored[0])
    invalidate(folder, sorted(stale))
    return {name: shard for name, shard in built.items() if name not in stale}


def invalidate(folder: str, names: Iterable[str]) -> None:
    """Marks shards as unfinished, so that they are built again."""
    for name in names:
        store.remove(store.join(folder, name + shard_writer.DONE))


def publish(
    folder: str, cfg: PrepConfig, plans: Sequence[ShardPlan], shards: Sequence[BuiltShard],
    left_out: int | None,
) -> list[SampleRow]:  # fmt: skip
    """Writes the three tables and returns the rows. dataset.json is last: with it the folder is complete.

    left_out: files of the manifest that `where` leaves out; None, and not recorded, without it.
    """
    rows = shard_writer.flag_across([row for shard in shards for row in shard.rows])
    tables.write_rows(store.join(folder, tables.SAMPLES), rows)
    tables.write_shards(
        store.join(folder, tables.SHARDS), [shard.info for shard in shards if shard.info.samples]
    )
    tables.write_info(
        store.join(folder, tables.INFO),
        {
            "device": rows[0].device,
            "config": fields.result_values(cfg),
            "config_digest": fields.digest(cfg),
            "plan_digest": digest(plans),
            "code_version": __version__,
            "counts": shard_writer.counts(rows),
            **({} if left_out is None else {"left_out": left_out}),
        },
    )
    return rows


def mark_unfinished(folder: str) -> None:
    """Removes dataset.json: while it is absent, the folder is unfinished."""
    store.remove(store.join(folder, tables.INFO))


def write_run_facts(folder: str, cfg: PrepConfig, count: ProgressCounter, workers: int) -> None:
    """Writes run.json, the speed of a run that built something; not a part of the dataset."""
    seconds = count.seconds
    facts = {
        "engine": cfg.engine,
        "workers": workers,
        "seconds": round(seconds, 1),
        "files": count.fresh,
        "files_per_s": round(count.fresh / seconds, 2),
        "mb_read_per_s": round(count.bytes_read / seconds / 1e6, 1),
    }
    store.write(store.join(folder, tables.RUN_INFO), json.dumps(facts, indent=1).encode())


def _finished(folder: str, plans: Sequence[ShardPlan]) -> dict[str, BuiltShard]:
    names = set(store.list_names(folder))
    candidates = [plan for plan in plans if plan.name + shard_writer.DONE in names]
    with transport.thread_pool(REQUESTS) as threads:
        shards = threads.map(lambda plan: _finished_shard(plan, folder), candidates)
        return {plan.name: shard for plan, shard in zip(candidates, shards, strict=True) if shard is not None}


def _finished_shard(plan: ShardPlan, folder: str) -> BuiltShard | None:
    built = shard_writer.read_built(plan, folder)
    return built if built and shard_writer.tar_stands(folder, built) else None
