"""Which of several files of one scan is stored: the first sound one in path order, by the rows of a device.

Files are of one scan if they have one path, the same bytes, or the same stored voxels for one person and eye
or under one SOPInstanceUID. A UID alone does not tell: some anonymisers give one to all files. A row says
whether its file is sound; which shard, run or worker made it plays no part.
"""

from collections.abc import Iterable

from octshard.dataset.participants import canonical
from octshard.dataset.tables import SampleRow
from octshard.prep.plan import Member
from octshard.prep.refusals import row_detail

SAME_SCAN = "same SOPInstanceUID or path as "  # the detail of a duplicate begins with one of these
SAME_BYTES = "same bytes as "
SAME_VOXELS = "same voxels as "

Pair = tuple[Member, SampleRow]


def resolve(pairs: Iterable[Pair]) -> dict[Member, str]:
    """For every sound file of a device the detail of its row as a duplicate, or '' if it is to be stored."""
    sound = [(member, row) for member, row in pairs if row.status == "ok" or row.reason == "duplicate"]
    stored: dict[tuple[object, ...], Pair] = {}  # what a scan is known by -> the first file of it
    details = {}
    for member, row in sorted(sound, key=lambda pair: (pair[0].entry.path, pair[0].rank)):
        marks = _marks(row)
        first = next((stored[mark] for mark in marks if mark in stored), None)
        details[member] = "" if first is None else _detail(first, (member, row))
        for mark in marks:
            stored.setdefault(mark, first or (member, row))
    return details


def is_stale(member: Member, row: SampleRow, details: dict[Member, str]) -> bool:
    """True if a row is stored but should be a duplicate, or the reverse, or names another file or key."""
    detail = row.detail if row.reason == "duplicate" else ""
    other_key = row.status == "ok" and row.key != str(member.stored_key)
    return detail != details.get(member, detail) or other_key


def _marks(row: SampleRow) -> list[tuple[object, ...]]:
    """What tells that two sound files are of one scan: they have one of these in common."""
    marks: list[tuple[object, ...]] = [("path", row.source), ("bytes", row.source_bytes, row.source_xxh3)]
    if row.sha256 and row.std:  # voxels of one value say nothing
        voxels = (row.frames, row.rows, row.cols, row.shape_out, row.sha256)
        marks.append(("eye", canonical(row.participant), row.eye, *voxels))
        if row.sop_instance_uid:
            marks.append(("uid", row.sop_instance_uid, *voxels))
    return marks


def _detail(first: Pair, other: Pair) -> str:
    """How the row of `other` says that it is the scan of `first`, to the letter."""
    (first_member, first_row), (member, row) = first, other
    uid = row.sop_instance_uid
    if (uid and uid == first_row.sop_instance_uid) or first_member.entry in member.earlier_duplicates:
        return row_detail(SAME_SCAN + first_row.source)
    same_bytes = (row.source_bytes, row.source_xxh3) == (first_row.source_bytes, first_row.source_xxh3)
    return row_detail((SAME_BYTES if same_bytes else SAME_VOXELS) + first_row.source)
