"""Which of several files of one scan is stored: the first sound one in path order, told from a device's rows.

Files are of one scan that share a SOPInstanceUID, in the manifest or in their headers, or a path, or their
bytes. A row says whether its file is sound; which shard, run or worker made it plays no part.
"""

from collections.abc import Iterable

from octshard.dataset.tables import SampleRow
from octshard.prep.plan import Member
from octshard.prep.release.aireadi import Entry

SAME_SCAN = "same SOPInstanceUID or path as "  # these begin the detail of a duplicate
SAME_BYTES = "same bytes as "


def resolve(pairs: Iterable[tuple[Member, SampleRow]]) -> dict[Member, str]:
    """For every sound file of a device the detail that makes it a duplicate, or '' if it is to be stored."""
    sound = [(member, row) for member, row in pairs if row.status == "ok" or row.reason == "duplicate"]
    standing = {(member.entry, member.rank) for member, _ in sound}
    uids: dict[str, str] = {}
    contents: dict[tuple[int | None, str], str] = {}
    found = {}
    for member, row in sorted(sound, key=lambda pair: (pair[0].entry.path, pair[0].rank)):
        path, uid, content = row.source, row.sop_instance_uid, (row.source_bytes, row.source_xxh3)
        if scan := _first(member, standing) or uids.get(uid, ""):
            found[member] = SAME_SCAN + scan
        elif same := contents.get(content, ""):
            found[member] = SAME_BYTES + same
        else:
            found[member] = ""
            contents[content] = path
        if uid:
            uids.setdefault(uid, path)
    return found


def is_stale(member: Member, row: SampleRow, wanted: dict[Member, str]) -> bool:
    """True if a row is stored but should be a duplicate, or the reverse, or of another file."""
    said = row.detail if row.reason == "duplicate" else ""
    return said != wanted.get(member, said)


def _first(member: Member, standing: set[tuple[Entry, int]]) -> str:
    """The path of the first sound twin before a member, if there is one."""
    return next((twin.path for i, twin in enumerate(member.earlier_duplicates) if (twin, i) in standing), "")
