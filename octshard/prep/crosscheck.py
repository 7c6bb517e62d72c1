"""Where the tables, the parts of a build and a decoded sample contradict each other; opens no tar.

A finding names the shard, the key and what is wrong. If everything agrees there is none.
"""

import dataclasses
import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from octshard.config import fields
from octshard.dataset import stored_band, stored_scale, tables
from octshard.dataset.preparation import voxel_limit
from octshard.dataset.shard import Sample
from octshard.dataset.splits import split_overlaps
from octshard.dataset.tables import SampleRow, ShardInfo
from octshard.errors import OctshardError
from octshard.imaging import intensity
from octshard.imaging.volume import Shape, product, triple
from octshard.prep.build import shard_writer
from octshard.prep.refusals import REASONS
from octshard.storage import json_object, store, transport

MEND_PLAN = "the same octshard prep shard again writes it anew"
REQUESTS = 16  # at once: a store answers one in tens of milliseconds
SHOWN = 3  # wrong rows of one shard that are named; the others are counted
# of all rows of a device together: in samples.parquet, in no part and no tar
LATE_FLAGS = {"equal_pixels", "shared_uid"}
IN_JSON = {
    "shape": "shape_out",
    "spacing_mm": "spacing_out",
}  # a sample's JSON -> its row, where names differ
OF_THE_JSON = ("format",)  # of a sample: the version of its layout; of a row: that of the source file
ALWAYS_IN_JSON = (
    "spacing_mm", "mean", "std", "p01", "p99", "participant", "device", "protocol", "region", "eye", "split",
    "geometry", "assumed_spacing", "flags",
)  # fmt: skip
FIELDS = {field.name for field in dataclasses.fields(SampleRow)}


@dataclass(frozen=True)
class Finding:
    """One contradiction. shard and key are empty where it concerns neither."""

    shard: str
    key: str
    what: str


@dataclass(frozen=True)
class Tables:
    """The tables of a dataset folder, and the names of its files."""

    folder: str
    info: Mapping[str, Any]
    rows: Sequence[SampleRow]
    shards: Sequence[ShardInfo]
    names: Sequence[str]


@dataclass(frozen=True)
class _Part:
    """The files of a build for one shard; a missing or unreadable one is None, with a problem."""

    name: str
    rows: list[SampleRow] | None
    rows_sha256: str
    done: dict[str, Any] | None
    problems: tuple[str, ...]


def compare_tables(dataset: Tables) -> Iterator[Finding]:
    """Where the three tables and the folder's listing contradict each other."""
    if (counts := shard_writer.counts(dataset.rows)) != (expected := dataset.info.get("counts")):
        yield Finding("", "", f"{tables.SAMPLES} counts {counts}, want {expected} as in {tables.INFO}")
    for name, count in Counter(info.name for info in dataset.shards).items():
        if count > 1:
            yield Finding(name, "", f"{tables.SHARDS} lists it {count} times")
    infos = {info.name: info for info in dataset.shards}
    limit = voxel_limit(dataset.info)
    for row in dataset.rows:
        yield from _row(row, infos, str(dataset.info.get("device", row.device)))
        if row.status == "ok" and row.shape_out and (problem := claim_problem(row.shape_out, limit)):
            yield Finding(row.shard, row.key, problem)
    for key, count in Counter(row.key for row in dataset.rows if row.status == "ok").items():
        if count > 1:
            yield Finding("", key, f"{count} rows store this key")
    unflagged = (row for row in dataset.rows if row.status == "ok" and "shared_uid" not in row.flags)
    for uid, count in Counter(row.sop_instance_uid for row in unflagged).items():
        if uid and count > 1:
            yield Finding("", "", f"{count} rows store SOPInstanceUID {uid}, without the flag shared_uid")
    for person, splits in split_overlaps(dataset.rows).items():
        yield Finding("", "", f"participant {person} stands in {' and '.join(splits)}")
    for name in dataset.names:
        if name.endswith(shard_writer.TAR) and name not in infos:
            yield Finding(name, "", f"a tar that {tables.SHARDS} does not list")


def compare_parts(dataset: Tables) -> Iterator[Finding]:
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


def claim_problem(shape: Shape, limit: int) -> str:
    """What is wrong with a claimed shape, for which no memory is to be taken then; empty if nothing is."""
    if len(shape) != 3 or min(shape) < 1:
        return f"a volume of shape {shape}, want three numbers from 1 on"
    if (voxels := product(shape)) > limit:
        return f"claims {shape} = {voxels} voxels, want at most {limit} (max_output_voxels)"
    return ""


def sample(row: SampleRow, stored: Sample) -> Iterator[str]:
    """How a decoded sample differs from its row: voxels, shape, dtype, moments, every field of its JSON."""
    voxels = stored.voxels_DHW
    digest = hashlib.sha256(voxels.data).hexdigest()
    if digest != row.sha256:
        yield f"voxels of sha256 {digest}, want {row.sha256}"
    if voxels.shape != row.shape_out or str(voxels.dtype) != row.dtype:
        yield f"voxels {voxels.dtype}{voxels.shape}, want {row.dtype}{row.shape_out}"
    counts = intensity.histogram(voxels)
    scale = stored_scale.expected(stored, counts)
    for name, value in intensity.moments(counts, scale)._asdict().items():
        if not _same(value, getattr(row, name)):
            yield f"{name} of the voxels is {value}, the row says {getattr(row, name)}"
    if (version := stored.meta.get("format")) != tables.FORMAT_VERSION:
        yield f"its JSON is of format {version!r}, want {tables.FORMAT_VERSION}"
    yield from (f"its JSON has no {name}" for name in ALWAYS_IN_JSON if name not in stored.meta)
    for name, value in stored.meta.items():
        if name in OF_THE_JSON:
            continue
        field = IN_JSON.get(name, name)
        if field in FIELDS and not _same(value, expected := _as_built(row, field)):
            yield f"its JSON says {name} = {value!r}, the row {expected!r}"
    band_problem = stored_band.problem(stored.meta, triple(voxels.shape), row.retina_found)
    problems = (stored_scale.problem(stored, scale), band_problem)
    yield from (f"its JSON: {problem}" for problem in problems if problem)


def _row(row: SampleRow, infos: Mapping[str, ShardInfo], device: str) -> Iterator[Finding]:
    if row.device != device:
        yield Finding(row.shard, row.key, f"a row of {row.device} among those of {device}")
    if row.status == "refused":
        if row.reason not in REASONS:
            yield Finding(row.shard, row.key, f"refused for {row.reason!r}, which is no reason of ours")
        return
    if row.status != "ok":
        yield Finding(row.shard, row.key, f"status {row.status!r}, want ok or refused")
        return
    info = infos.get(row.shard)
    if info is None:
        yield Finding(row.shard, row.key, f"the row's shard is not in {tables.SHARDS}")
    elif (row.split, row.device) != (info.split, info.device):
        shard_of = f"{info.device} {info.split}"
        yield Finding(row.shard, row.key, f"a row of {row.device} {row.split} in a shard of {shard_of}")


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
    unmatched = Counter(map(_without_late_flags, rows))
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


def _without_late_flags(row: SampleRow) -> SampleRow:
    if LATE_FLAGS.isdisjoint(row.flags):
        return row
    return dataclasses.replace(row, flags=tuple(flag for flag in row.flags if flag not in LATE_FLAGS))


def _as_built(row: SampleRow, field: str) -> Any:
    """A row's value when its sample was written."""
    return getattr(_without_late_flags(row) if field == "flags" else row, field)


def _same(value: Any, expected: Any) -> bool:
    """A list equals a tuple; floats may differ in the last bits, as machines round differently."""
    if isinstance(value, list | tuple) and isinstance(expected, list | tuple):
        return len(value) == len(expected) and all(map(_same, value, expected))
    if isinstance(value, float) and isinstance(expected, float):
        return math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-12)
    return bool(value == expected)
