"""A device's folder as a target: its plan.json, the finished shards in it, the tables that close it."""

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from octshard import __version__
from octshard.config import fields
from octshard.config.prep import PrepConfig
from octshard.dataset import tables
from octshard.dataset.tables import SampleRow, ShardInfo
from octshard.errors import UsageError
from octshard.prep.build import shard_writer
from octshard.prep.plan import ShardPlan, digest
from octshard.prep.release.source import Source
from octshard.storage import store

ASKING = 16  # requests at once: a store answers one in tens of milliseconds
# refusals that may be the machine's doing, and those of files that may be fetched again, whole
BY_THE_MACHINE = {"decoder_crash", "decoder_timeout"}
BY_A_COPY = {"not_dicom", "truncated", "no_pixel_data", "frame_count", "decoder_error", "empty"}
Built = tuple[ShardInfo, list[SampleRow]]


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


def reusable(folder: str, shards: Sequence[ShardPlan], reader: Source) -> dict[str, Built]:
    """The finished shards that stay: all but those with a refusal that may not hold any more.

    Such are files that came since or have another size now, and what crashed or took too long.
    """
    built = _finished(folder, shards)
    refused = [(name, row) for name, (_, rows) in built.items() for row in rows if row.status != "ok"]
    with ThreadPoolExecutor(ASKING) as threads:
        again = list(threads.map(lambda pair: _may_end_otherwise(pair[1], reader), refused))
    invalidate(folder, [name for (name, _), yes in zip(refused, again, strict=True) if yes], built)
    return built


def _may_end_otherwise(row: SampleRow, reader: Source) -> bool:
    if row.reason == "missing_file":
        return bool(row.source) and reader.has(row.source)
    if row.reason in BY_A_COPY:
        return reader.has(row.source) and reader.size(row.source) != row.source_bytes
    return row.reason in BY_THE_MACHINE


def invalidate(folder: str, names: Iterable[str], built: dict[str, Built]) -> None:
    """Forgets finished shards, so that they are made again."""
    for name in dict.fromkeys(names):
        store.remove(store.join(folder, name + shard_writer.DONE))
        built.pop(name, None)


def publish(folder: str, cfg: PrepConfig, built: Sequence[Built]) -> list[SampleRow]:
    """The three tables, dataset.json last: its presence says that the folder is whole. Returns the rows."""
    rows = shard_writer.flag_equal_pixels([row for _, shard_rows in built for row in shard_rows])
    tables.write_rows(store.join(folder, tables.SAMPLES), rows)
    tables.write_shards(store.join(folder, tables.SHARDS), [info for info, _ in built if info.samples])
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


def _finished(folder: str, shards: Sequence[ShardPlan]) -> dict[str, Built]:
    names = set(store.list_names(folder))
    begun = [one for one in shards if one.name + shard_writer.DONE in names]
    with ThreadPoolExecutor(ASKING) as threads:
        found = threads.map(lambda one: shard_writer.finished(one, folder), begun)
        return {one.name: done for one, done in zip(begun, found, strict=True) if done is not None}
