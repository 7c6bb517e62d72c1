"""A device's folder as a target: its plan.json, the finished shards in it, the tables that close it."""

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from octshard import __version__
from octshard.config import fields
from octshard.config.prep import PrepConfig
from octshard.dataset import tables
from octshard.dataset.tables import SampleRow
from octshard.errors import UsageError
from octshard.prep.build import shard_writer
from octshard.prep.build.shard_writer import BuiltShard
from octshard.prep.plan import ShardPlan, digest
from octshard.prep.release.source import Source
from octshard.storage import store

ASKING = 16  # requests at once: a store answers one in tens of milliseconds
# refusals that may be the machine's doing, and those of files that may be fetched again, whole
BY_THE_MACHINE = {"decoder_crash", "decoder_timeout"}
BY_A_COPY = {"not_dicom", "truncated", "no_pixel_data", "frame_count", "decoder_error", "empty"}


def check_or_write_plan(folder: str, cfg: PrepConfig, shards: Sequence[ShardPlan]) -> None:
    """Writes plan.json, or holds an existing one to be of the same config, manifest and format."""
    mine = {
        "format": tables.FORMAT_VERSION,
        "config": fields.result_values(cfg),
        "config_digest": fields.digest(cfg),
        "plan_digest": digest(shards),
        "shards": {one.name: [member.entry.path for member in one.members] for one in shards},
    }
    url = store.join(folder, tables.PLAN)
    advice = "use another DST, or remove it and build again"
    try:
        theirs = json.loads(store.read(url))
    except FileNotFoundError:
        names = store.list_names(folder)
        if found := [
            n for n in names if n == tables.INFO or n.endswith((shard_writer.DONE, shard_writer.TAR))
        ]:
            raise UsageError(
                f"{folder}: {found[0]} without {tables.PLAN}, so of a config that nobody knows; {advice}"
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
    if changed := fields.differences(theirs.get("config", {}), ours):
        raise UsageError(f"{folder}: begun with another config ({'; '.join(changed)}); {advice}")
    if theirs.get("plan_digest") != mine["plan_digest"]:
        raise UsageError(f"{folder}: begun from another manifest or version of octshard; {advice}")


def reusable(folder: str, plans: Sequence[ShardPlan], source: Source) -> dict[str, BuiltShard]:
    """The finished shards that stay: all but those with a refusal that may not hold any more.

    Such are files that came since or have another size now, and what crashed or took too long.
    """
    built = _finished(folder, plans)
    refused = [(name, row) for name, shard in built.items() for row in shard.rows if row.status != "ok"]
    with ThreadPoolExecutor(ASKING) as threads:
        outdated = list(threads.map(lambda pair: _may_end_otherwise(pair[1], source), refused))
    stale = {name for (name, _), yes in zip(refused, outdated, strict=True) if yes}
    invalidate(folder, sorted(stale))
    return {name: shard for name, shard in built.items() if name not in stale}


def _may_end_otherwise(row: SampleRow, source: Source) -> bool:
    if row.reason == "missing_file":
        return bool(row.source) and source.has(row.source)
    if row.reason in BY_A_COPY:
        return source.has(row.source) and source.size(row.source) != row.source_bytes
    return row.reason in BY_THE_MACHINE


def invalidate(folder: str, names: Iterable[str]) -> None:
    """Makes shards unfinished, so that they are made again."""
    for name in names:
        store.remove(store.join(folder, name + shard_writer.DONE))


def publish(folder: str, cfg: PrepConfig, shards: Sequence[BuiltShard]) -> list[SampleRow]:
    """The three tables, dataset.json last: its presence says that the folder is whole. Returns the rows."""
    rows = shard_writer.flag_equal_pixels([row for shard in shards for row in shard.rows])
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
            "code_version": __version__,
            "counts": shard_writer.counts(rows),
        },
    )
    return rows


def _finished(folder: str, plans: Sequence[ShardPlan]) -> dict[str, BuiltShard]:
    names = set(store.list_names(folder))
    candidates = [plan for plan in plans if plan.name + shard_writer.DONE in names]
    with ThreadPoolExecutor(ASKING) as threads:
        shards = threads.map(lambda plan: shard_writer.read_built(plan, folder), candidates)
        return {plan.name: shard for plan, shard in zip(candidates, shards, strict=True) if shard is not None}
