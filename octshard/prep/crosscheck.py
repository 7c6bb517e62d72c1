"""Where the tables of a dataset and a decoded sample contradict each other; opens no tar.

A finding names the shard, the key and what is wrong. If everything agrees there is none.
"""

import dataclasses
import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from octshard.dataset import stored_band, stored_scale, tables
from octshard.dataset.preparation import voxel_limit
from octshard.dataset.shard import Sample
from octshard.dataset.splits import split_overlaps
from octshard.dataset.tables import SampleRow, ShardInfo
from octshard.imaging import intensity
from octshard.imaging.volume import Shape, product, triple
from octshard.prep.build import shard_writer
from octshard.prep.refusals import REASONS

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


def without_late_flags(row: SampleRow) -> SampleRow:
    """The row as its shard's own rows have it."""
    if LATE_FLAGS.isdisjoint(row.flags):
        return row
    return dataclasses.replace(row, flags=tuple(flag for flag in row.flags if flag not in LATE_FLAGS))


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


def _as_built(row: SampleRow, field: str) -> Any:
    """A row's value when its sample was written."""
    return getattr(without_late_flags(row) if field == "flags" else row, field)


def _same(value: Any, expected: Any) -> bool:
    """A list equals a tuple; floats may differ in the last bits, as machines round differently."""
    if isinstance(value, list | tuple) and isinstance(expected, list | tuple):
        return len(value) == len(expected) and all(map(_same, value, expected))
    if isinstance(value, float) and isinstance(expected, float):
        return math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-12)
    return bool(value == expected)
