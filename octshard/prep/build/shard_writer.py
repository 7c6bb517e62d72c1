"""One shard's plan -> one tar and its rows, by any engine.

The same plan gives the same bytes. done.json is written last, so a shard that has one is finished.
"""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from octshard.dataset import shard, tables
from octshard.dataset.tables import SampleRow, ShardInfo
from octshard.errors import OctshardError
from octshard.prep.convert.sample import Converted, ConvertTask
from octshard.prep.plan import Member, ShardPlan
from octshard.storage import json_object, store

TAR, ROWS, DONE = ".tar", ".rows.parquet", ".done.json"
ROWS_DIGEST = "rows_sha256"  # key of done.json beside the fields of ShardInfo
PIECE = 2**22  # bytes read at once
AUDIT_EVERY = 64  # one sample of a shard in so many is decoded exactly as well, if it is decoded fast


def tasks(plan: ShardPlan, duplicate_of: Mapping[Member, str]) -> list[ConvertTask]:
    """The conversions of a shard's members. duplicate_of: the result of `duplicates.resolve`, if known."""
    return [
        ConvertTask(member, plan.name + TAR, plan.split, i % AUDIT_EVERY == 0, duplicate_of.get(member))
        for i, member in enumerate(plan.members)
    ]


def build_shard(
    plan: ShardPlan, samples: Iterable[Converted], folder: str, on_row: Callable[[SampleRow], None]
) -> ShardInfo:
    """Writes folder/<name>.tar, .rows.parquet and then .done.json; a plan of refusals alone makes no tar.

    samples: rows and slices of `tasks(plan)`, in that order, consumed as they come; on_row gets each row.
    """
    store.remove(store.join(folder, plan.name + DONE))
    rows: list[SampleRow] = []
    tar = store.join(folder, plan.name + TAR)

    def slices() -> Iterator[bytes]:
        for row, data in samples:
            rows.append(row)
            on_row(row)
            if data:
                yield data

    pieces = slices()
    first = next(pieces, None)
    if first is None:
        store.remove(tar)
        sums = shard.ShardSums(0, "", ())
    else:
        with store.open_write(tar) as file:
            sums = shard.write(file, chain([first], pieces))
    rows = _with_offsets(rows, sums.offsets)
    table = store.join(folder, plan.name + ROWS)
    tables.write_rows(table, rows)
    device = plan.members[0].entry.device
    info = ShardInfo(plan.name + TAR, device, plan.split, len(sums.offsets), sums.bytes, sums.sha256)
    text = json.dumps({**dataclasses.asdict(info), ROWS_DIGEST: _digest(table)}, sort_keys=True)
    store.write(store.join(folder, plan.name + DONE), text.encode())
    return info


class BuiltShard(NamedTuple):
    """A finished shard: its row of shards.parquet, and a row for every member of its plan."""

    info: ShardInfo
    rows: list[SampleRow]


def read_built(plan: ShardPlan, folder: str) -> BuiltShard | None:
    """A finished shard if its files exist and agree with each other, the plan and the tar; else None."""
    try:
        done = json_object.read(store.join(folder, plan.name + DONE))
        table = store.join(folder, plan.name + ROWS)
        digest = str(done.pop(ROWS_DIGEST, "")) or "none"
        info, rows = json_object.as_record(done, ShardInfo, table), tables.read_rows(table, digest)
        size = store.size(store.join(folder, info.name)) if info.samples else 0
    except (FileNotFoundError, store.NotAFile):
        return None
    except store.StoreError:
        raise
    except OctshardError:  # not what build_shard writes
        return None
    whole = [row.source for row in rows] == [member.entry.source for member in plan.members]
    stored = sum(row.status == "ok" for row in rows)
    return BuiltShard(info, rows) if whole and stored == info.samples and size == info.bytes else None


def tar_stands(folder: str, built: BuiltShard) -> bool:
    """True if the tar of a finished shard, which has the right size, is likely to be what was written.

    One that was changed after its done.json is read to the end, once; of others a few headers are looked at.
    """
    if not built.info.samples:
        return True
    tar = store.join(folder, built.info.name)
    done = store.join(folder, built.info.name.removesuffix(TAR) + DONE)
    if store.is_newer(tar, done):
        digest = hashlib.sha256()
        with store.open_read(tar) as file:
            while piece := file.read(PIECE):
                digest.update(piece)
        if digest.hexdigest() != built.info.sha256:
            return False
        store.write(done, store.read(done))  # now the newer one, so that the next run need not read the tar
        return True
    stored = [row for row in built.rows if row.status == "ok"]
    return all(_begins(tar, row) for row in (stored[0], stored[len(stored) // 2], stored[-1]))


def _begins(tar: str, row: SampleRow) -> bool:
    start = row.offset or 0
    try:
        return shard.begins(store.read_range(tar, start, start + shard.BLOCK), row.key)
    except store.OutOfRange:
        return False


def counts(rows: Sequence[SampleRow]) -> dict[str, Any]:
    """The counts that dataset.json gives of a folder's rows."""
    stored = [row for row in rows if row.status == "ok"]
    refused = Counter(row.reason for row in rows if row.status != "ok")
    return {
        "rows": len(rows),
        "stored": len(stored),
        "refused": dict(sorted(refused.items())),
        "splits": dict(sorted(Counter(row.split for row in stored).items())),
    }


def flag_across(rows: Sequence[SampleRow]) -> list[SampleRow]:
    """The rows of a whole device as in samples.parquet: volumes of equal voxels or of one UID are flagged.

    It takes all rows of the device to know, so these flags are in no tar and in no shard's rows.parquet.
    """
    stored = [row for row in rows if row.status == "ok"]
    voxels = Counter((row.sha256, row.shape_out) for row in stored)
    uids = Counter(row.sop_instance_uid for row in stored)

    def flagged(row: SampleRow) -> SampleRow:
        flags = {
            "equal_pixels": voxels[row.sha256, row.shape_out] > 1,
            "shared_uid": bool(row.sop_instance_uid) and uids[row.sop_instance_uid] > 1,
        }
        new = {flag for flag, is_so in flags.items() if is_so and row.status == "ok"}
        return dataclasses.replace(row, flags=tuple(sorted({*row.flags, *new}))) if new else row

    return [flagged(row) for row in rows]


def _digest(url: str) -> str:
    return hashlib.sha256(store.read(url)).hexdigest()


def _with_offsets(rows: list[SampleRow], offsets: tuple[int, ...]) -> list[SampleRow]:
    next_offset = iter(offsets)
    with_offsets = [
        dataclasses.replace(row, offset=next(next_offset)) if row.status == "ok" else row for row in rows
    ]
    if next(next_offset, None) is not None:
        raise OctshardError(f"{len(offsets)} samples written, but fewer rows are ok")
    return with_offsets
