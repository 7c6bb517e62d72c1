"""One shard's plan -> one tar and its rows, whoever makes the samples.

The same plan gives the same bytes. done.json is written last, so a shard that has one is finished.
"""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from octshard.dataset import shard, tables
from octshard.dataset.tables import SampleRow, ShardInfo
from octshard.errors import OctshardError
from octshard.prep.convert.sample import Converted, Task
from octshard.prep.plan import Member, ShardPlan
from octshard.storage import store

Maker = Callable[[Iterable[Task]], Iterator[Converted]]  # rows and slices in the order of the tasks
Tell = Callable[[SampleRow], None]  # called with every row as it is done, for progress

TAR, ROWS, DONE = ".tar", ".rows.parquet", ".done.json"
ROWS_DIGEST = "rows_sha256"  # stands in done.json beside the ShardInfo
AUDIT_EVERY = 64  # samples of a shard; of those that are decoded fast so many are decoded exactly as well


def tasks(plan: ShardPlan, settled: Mapping[Member, str]) -> list[Task]:
    """What a shard is made of. settled: what the rows of the whole device tell of twins, if known."""
    return [
        Task(member, plan.name + TAR, plan.split, i % AUDIT_EVERY == 0, settled.get(member))
        for i, member in enumerate(plan.members)
    ]


def build_shard(plan: ShardPlan, made: Iterable[Converted], folder: str, tell: Tell) -> ShardInfo:
    """Writes folder/<name>.tar, .rows.parquet and then .done.json; a plan of refusals alone makes no tar.

    made: rows and slices of `tasks(plan)`, in that order, consumed as they come.
    """
    store.remove(store.join(folder, plan.name + DONE))
    rows: list[SampleRow] = []
    tar = store.join(folder, plan.name + TAR)

    def slices() -> Iterator[bytes]:
        for row, data in made:
            rows.append(row)
            tell(row)
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


def finished(plan: ShardPlan, folder: str) -> tuple[ShardInfo, list[SampleRow]] | None:
    """A shard's info and rows if both stand and agree with each other, the plan and the tar; else None."""
    try:
        done = json.loads(store.read(store.join(folder, plan.name + DONE)))
        table = store.join(folder, plan.name + ROWS)
        if done.pop(ROWS_DIGEST) != _digest(table):
            return None
        info, rows = ShardInfo(**done), tables.read_rows(table)
        size = store.size(store.join(folder, info.name)) if info.samples else 0
    except store.StoreError:
        raise
    except (FileNotFoundError, ValueError, TypeError, AttributeError, KeyError, OctshardError):
        # absent, or not what we write
        return None
    whole = [row.source for row in rows] == [member.entry.path for member in plan.members]
    stored = sum(row.status == "ok" for row in rows)
    return (info, rows) if whole and stored == info.samples and size == info.bytes else None


def counts(rows: Sequence[SampleRow]) -> dict[str, Any]:
    """What dataset.json says of a folder's rows."""
    stored = [row for row in rows if row.status == "ok"]
    refused = Counter(row.reason for row in rows if row.status != "ok")
    return {
        "rows": len(rows),
        "stored": len(stored),
        "refused": dict(sorted(refused.items())),
        "splits": dict(sorted(Counter(row.split for row in stored).items())),
    }


def flag_equal_pixels(rows: Sequence[SampleRow]) -> list[SampleRow]:
    """The rows of a whole device as samples.parquet says them: equal stored voxels are flagged there.

    Only the whole device can tell, so the flag stands in no tar and in no shard's own rows.
    """
    seen = Counter((row.sha256, row.shape_out) for row in rows if row.status == "ok")
    return [
        dataclasses.replace(row, flags=tuple(sorted({*row.flags, "equal_pixels"})))
        if row.status == "ok" and seen[row.sha256, row.shape_out] > 1
        else row
        for row in rows
    ]


def _digest(url: str) -> str:
    return hashlib.sha256(store.read(url)).hexdigest()


def _with_offsets(rows: list[SampleRow], offsets: tuple[int, ...]) -> list[SampleRow]:
    places = iter(offsets)
    placed = [dataclasses.replace(row, offset=next(places)) if row.status == "ok" else row for row in rows]
    if next(places, None) is not None:
        raise OctshardError(f"{len(offsets)} samples written, but fewer rows are ok")
    return placed
