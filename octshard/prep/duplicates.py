"""Which of several files of one scan is stored: the first sound one in path order, by the rows of a device.

Files belong to one scan if they share a SOPInstanceUID, in the manifest or in their headers, or a path, or
their bytes. A row says whether its file is sound; which shard, run or worker made it plays no part.
"""

from collections.abc import Iterable

from octshard.dataset.tables import SampleRow
from octshard.prep.plan import Member
from octshard.prep.release.aireadi import Entry

SAME_SCAN = "same SOPInstanceUID or path as "  # the detail of a duplicate begins with one of these
SAME_BYTES = "same bytes as "


def resolve(pairs: Iterable[tuple[Member, SampleRow]]) -> dict[Member, str]:
    """For every sound file of a device the detail of its row as a duplicate, or '' if it is to be stored."""
    sound = [(member, row) for member, row in pairs if row.status == "ok" or row.reason == "duplicate"]
    sound_places = {(member.entry, member.rank) for member, _ in sound}
    paths_by_uid: dict[str, str] = {}
    paths_by_content: dict[tuple[int | None, str], str] = {}
    details = {}
    for member, row in sorted(sound, key=lambda pair: (pair[0].entry.path, pair[0].rank)):
        path, uid, content = row.source, row.sop_instance_uid, (row.source_bytes, row.source_xxh3)
        if twin_path := _first_sound_twin(member, sound_places) or paths_by_uid.get(uid, ""):
            details[member] = SAME_SCAN + twin_path
        elif copy_path := paths_by_content.get(content, ""):
            details[member] = SAME_BYTES + copy_path
        else:
            details[member] = ""
            paths_by_content[content] = path
        if uid:
            paths_by_uid.setdefault(uid, path)
    return details


def is_stale(member: Member, row: SampleRow, details: dict[Member, str]) -> bool:
    """True if a row is stored but should be a duplicate, or the reverse, or names another file."""
    detail = row.detail if row.reason == "duplicate" else ""
    return detail != details.get(member, detail)


def _first_sound_twin(member: Member, sound_places: set[tuple[Entry, int]]) -> str:
    """The path of the first sound twin before a member, if there is one."""
    return next(
        (twin.path for i, twin in enumerate(member.earlier_duplicates) if (twin, i) in sound_places), ""
    )
