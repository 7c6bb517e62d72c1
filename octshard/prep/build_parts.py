"""The files of a build, plan.json and for each shard rows.parquet and done.json, against the tables."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from octshard.config import fields
from octshard.dataset import tables
from octshard.dataset.tables import SampleRow, ShardInfo
from octshard.errors import OctshardError
from octshard.prep.build import shard_writer
from octshard.prep.crosscheck import FIELDS, Finding, Tables, without_late_flags
from octshard.storage import json_object, store, transport

MEND_PLAN = "the same octshard prep shard again writes it anew"
REQUESTS = 16  # at once: a store answers one in tens of milliseconds
SHOWN = 3  # wrong rows of one shard that are named; the others are counted


@dataclass(frozen=True)
class _Part:
    """The files of a build for one shard; a missing or unreadable one is None, with a problem."""

    name: str
    rows: list[SampleRow] | None
    rows_sha256: str
    done: dict[str, Any] | None
    problems: tuple[str, ...]


def compare(dataset: Tables) -> Iterator[Finding]:
    """Where plan.json, the shards' rows.parquet and done.json contradict the tables.

    A folder without any of them is a copy for training, and sound.
    """
    suffixes = (shard_writer.ROWS, shard_writer.DONE)
    shard_names = {
        name.removesuffix(suffix) for suffix in suffixes for name in dataset.names if name.endswith(suffix)
    }
    if tables.PLAN not in dataset.names:
        if shard_names:
            text = f"{tables.PLAN} is missing, though parts of a build are there; {MEND_PLAN}"
            yield Finding("", "", text)
        return
    paths_by_shard, problems = _plan(dataset)
    yield from (Finding("", "", problem) for problem in problems)
    if paths_by_shard is None:
        return
    yield from (
        Finding(name + shard_writer.TAR, "", "parts of it are there, but no plan")
        for name in sorted(shard_names - {*paths_by_shard})
    )
    with transport.thread_pool(REQUESTS) as threads:
        parts = list(threads.map(lambda name: _read_part(dataset.folder, name), sorted(paths_by_shard)))
    infos = {info.name: info for info in dataset.shards}
    for part in parts:
        info = infos.pop(part.name + shard_writer.TAR, None)
        for problem in (*part.problems, *_part(part, paths_by_shard[part.name], info)):
            yield Finding(part.name + shard_writer.TAR, "", problem)
    for name in infos:
        yield Finding(name, "", f"{tables.SHARDS} lists it, but {tables.PLAN} does not")
    yield from _same_rows(dataset.rows, parts)


def _plan(dataset: Tables) -> tuple[dict[str, list[str]] | None, list[str]]:
    """The shards of plan.json with their files in order, and where it contradicts dataset.json."""
    try:
        plan = json_object.read(store.join(dataset.folder, tables.PLAN))
        shards = {str(name): list(map(str, paths)) for name, paths in plan["shards"].items()}
    except (FileNotFoundError, store.NotAFile, json_object.DamagedJson) as error:
        return None, [f"{error}; {MEND_PLAN}"]
    except (TypeError, KeyError, AttributeError):
        return None, [f"{tables.PLAN} is not what octshard writes: want shards, each with its files"]
    problems = [
        f"{tables.PLAN} and {tables.INFO} differ in {name}"
        for name in ("format", "config", "config_digest", "plan_digest")
        if (name in dataset.info or name != "plan_digest")  # which 0.1.0 did not write
        and not _same_setting(plan.get(name), dataset.info.get(name))
    ]
    return shards, problems


def _same_setting(one: Any, other: Any) -> bool:
    """Of two configs too, where an expression may be written in two ways."""
    if isinstance(one, dict) and isinstance(other, dict):
        return not fields.changes(one, other)
    return bool(one == other)


def _read_part(folder: str, name: str) -> _Part:
    problems = []
    rows, digest, done = None, "", None
    try:
        digest = hashlib.sha256(store.read(store.join(folder, name + shard_writer.ROWS))).hexdigest()
        rows = tables.read_rows(store.join(folder, name + shard_writer.ROWS))
    except FileNotFoundError:
        problems.append(f"{name}{shard_writer.ROWS} is missing")
    except OctshardError as error:
        if isinstance(error, store.StoreError) and not isinstance(error, store.NotAFile):
            raise
        problems.append(str(error))
    try:
        done = json_object.read(store.join(folder, name + shard_writer.DONE))
    except FileNotFoundError:
        problems.append(f"{name}{shard_writer.DONE} is missing")
    except (json_object.DamagedJson, store.NotAFile) as error:
        problems.append(str(error))
    return _Part(name, rows, digest, done, tuple(problems))


def _part(part: _Part, paths: Sequence[str], info: ShardInfo | None) -> Iterator[str]:
    if part.rows is not None and [row.source for row in part.rows] != list(paths):
        yield f"{part.name}{shard_writer.ROWS} has not the files of {tables.PLAN} in their order"
    if part.done is None:
        return
    done = part.done
    if part.rows is not None and done.get(shard_writer.ROWS_DIGEST) != part.rows_sha256:
        yield f"{part.name}{shard_writer.DONE} is of other bytes of {part.name}{shard_writer.ROWS}"
    done_info = {name: value for name, value in done.items() if name != shard_writer.ROWS_DIGEST}
    if info is None and done_info.get("samples") != 0:
        yield f"{part.name}{shard_writer.DONE} tells of samples, but {tables.SHARDS} does not list the shard"
    elif info is not None and done_info != (expected := dataclasses.asdict(info)):
        names = ", ".join(name for name in expected if done_info.get(name) != expected[name]) or "its fields"
        yield f"{part.name}{shard_writer.DONE} and {tables.SHARDS} differ in {names}"


def _same_rows(rows: Sequence[SampleRow], parts: Iterable[_Part]) -> Iterator[Finding]:
    """The rows of the parts and those of samples.parquet must be the same."""
    unmatched = Counter(map(without_late_flags, rows))
    missing: list[tuple[str, SampleRow]] = []
    all_read = True
    for part in parts:
        all_read &= part.rows is not None
        for row in part.rows or ():
            if unmatched[row] > 0:
                unmatched[row] -= 1
            else:
                missing.append((part.name, row))
    unmatched_rows = {(row.key, row.source): row for row, count in unmatched.items() if count > 0}
    shown_counts = Counter[str]()
    for name, row in missing:
        other = unmatched_rows.pop((row.key, row.source), None)
        shown_counts[name] += 1
        if shown_counts[name] <= SHOWN:
            tables_text = f"{name}{shard_writer.ROWS} and {tables.SAMPLES}"
            text = f"a row of {name}{shard_writer.ROWS} that {tables.SAMPLES} does not have"
            yield Finding(
                name + shard_writer.TAR,
                row.key,
                f"{tables_text} differ: {_difference(row, other)}" if other else text,
            )
    for name, count in shown_counts.items():
        if count > SHOWN:
            yield Finding(name + shard_writer.TAR, "", f"{count - SHOWN} more of its rows differ so")
    for row in unmatched_rows.values() if all_read else ():
        yield Finding(row.shard, row.key, f"a row of {tables.SAMPLES} that no part of the build has")


def _difference(row: SampleRow, other: SampleRow) -> str:
    """The fields in which two rows differ."""
    names = [name for name in FIELDS if getattr(row, name) != getattr(other, name)]
    return ", ".join(f"{name} {getattr(row, name)!r}, {getattr(other, name)!r}" for name in sorted(names))
