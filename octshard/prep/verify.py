"""Re-reads every shard of a dataset folder against its tables. Finds, never mends.

A finding names the shard, the key and what is wrong; a sound folder gives none.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from octshard import manifest, shard, store
from octshard.manifest import Row, ShardInfo
from octshard.prep import build

CHUNK = 2**22
END = 2 * shard.BLOCK  # zero bytes that close a tar


@dataclass(frozen=True)
class Finding:
    """One thing that is not as the tables say. shard and key are empty where it concerns neither."""

    shard: str
    key: str
    what: str


def verify(folder: str, told: Callable[[str], None]) -> list[Finding]:
    """Everything wrong with the dataset in `folder`. told: called with the name of each shard as it is done.

    A folder that is no finished dataset is a UsageError, a table that is missing or damaged an OctshardError.
    """
    info = manifest.read_info(folder)
    rows = manifest.read_rows(store.join(folder, manifest.SAMPLES))
    infos = manifest.read_shards(store.join(folder, manifest.SHARDS))
    findings = [*_counts(info, rows), *_tables(rows, infos, store.list_names(folder))]
    for one in infos:
        findings += _shard(folder, one, [row for row in rows if row.status == "ok" and row.shard == one.name])
        told(one.name)
    return findings


def _counts(info: Mapping[str, Any], rows: Sequence[Row]) -> Iterator[Finding]:
    """A refused row that is lost leaves no gap in a tar, only a wrong count."""
    if (found := build.counts(rows)) != (wanted := info.get("counts")):
        yield Finding("", "", f"{manifest.SAMPLES} counts {found}, want {wanted} as in {manifest.INFO}")


def _tables(rows: Sequence[Row], infos: Sequence[ShardInfo], names: Sequence[str]) -> Iterator[Finding]:
    """What the tables and the folder's listing say against each other."""
    listed = {info.name for info in infos}
    stored = [row for row in rows if row.status == "ok"]
    for row in stored:
        if row.shard not in listed:
            yield Finding(row.shard, row.key, "the row's shard is not in shards.parquet")
    for key, count in Counter(row.key for row in stored).items():
        if count > 1:
            yield Finding("", key, f"{count} rows store this key")
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row.participant, set()).add(row.split)
    for participant, found in sorted(splits.items()):
        if len(found) > 1:
            yield Finding("", "", f"participant {participant} stands in {' and '.join(sorted(found))}")
    for name in names:
        if name.endswith(build.TAR) and name not in listed:
            yield Finding(name, "", "a tar that shards.parquet does not list")


def _shard(folder: str, info: ShardInfo, rows: Sequence[Row]) -> Iterator[Finding]:
    url = store.join(folder, info.name)
    try:
        size, found = _sums(url)
    except FileNotFoundError:
        yield Finding(info.name, "", f"the shard is missing; {info.samples} samples are in it")
        return
    if size != info.bytes:
        yield Finding(info.name, "", f"{size} bytes, want {info.bytes}")
    if found != info.sha256:
        yield Finding(info.name, "", f"sha256 {found}, want {info.sha256}")
    if len(rows) != info.samples:
        yield Finding(info.name, "", f"{len(rows)} rows store samples in it, want {info.samples}")
    ordered = sorted(rows, key=lambda row: row.offset or 0)
    yield from _gaps(info, ordered)
    for row in ordered:
        yield from _sample(url, info, row, size)


def _sums(url: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with store.open_read(url) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def _gaps(info: ShardInfo, rows: Sequence[Row]) -> Iterator[Finding]:
    """Rows must tile the tar up to its end mark: a gap is a sample without a row."""
    at = 0
    for row in rows:
        if row.offset is None or row.nbytes is None:
            yield Finding(info.name, row.key, "the row has no offset")
            continue
        if row.offset > at:
            yield Finding(
                info.name, "", f"bytes {at} to {row.offset} belong to no row: a sample without a row"
            )
        elif row.offset < at:
            yield Finding(info.name, row.key, f"begins at {row.offset}, inside the sample that ends at {at}")
        at = row.offset + row.nbytes
    if at != info.bytes - END:
        yield Finding(info.name, "", f"rows end at byte {at}, the tar's samples at {info.bytes - END}")


def _sample(url: str, info: ShardInfo, row: Row, size: int) -> Iterator[Finding]:
    if row.offset is None or row.nbytes is None:
        return
    if row.offset + row.nbytes > size:
        yield Finding(info.name, row.key, f"the tar ends at {size}, inside the sample at {row.offset}")
        return
    data = store.read_range(url, row.offset, row.offset + row.nbytes)
    try:
        sample = shard.unpack(data, row.key, row.xxh3, f"{info.name} at {row.offset}")
    except shard.BadSample as error:
        yield Finding(info.name, row.key, str(error))
        return
    voxels = hashlib.sha256(sample.voxels_DHW.data).hexdigest()
    if voxels != row.sha256:
        yield Finding(info.name, row.key, f"voxels of sha256 {voxels}, want {row.sha256}")
    if sample.voxels_DHW.shape != row.shape_out:
        yield Finding(info.name, row.key, f"shape {sample.voxels_DHW.shape}, want {row.shape_out}")
