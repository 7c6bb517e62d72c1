"""Members of ZIPs that no row of the manifest names, but that a listed file beside them may need.

Only of files whose format has such companions: a folder of DICOM files has none.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from octshard.errors import UsageError
from octshard.prep.release import companion_names
from octshard.prep.release.scan_path import relative_path
from octshard.prep.release.zip_directory import RefusedMember, ZipEntry, shown

Place = tuple[str, str]  # a ZIP, and a folder in it


class ZipCompanions(NamedTuple):
    """By the path that a row would have: sound members, and those that are held back."""

    entries: dict[str, ZipEntry]
    refused: dict[str, RefusedMember]


def find(
    listed: Mapping[str, ZipEntry], unlisted: Iterable[ZipEntry], problems: Iterable[RefusedMember]
) -> ZipCompanions:
    """listed: by manifest path; unlisted, problems: other members. Of two with other bytes none is read."""
    folders: dict[Place, set[str]] = {}
    for path, entry in listed.items():
        if companion_names.may_need(path):
            folders.setdefault(_place(entry.zip, entry.name), set()).add(path.rpartition("/")[0])
    if not folders:
        return ZipCompanions({}, {})
    entries: dict[str, ZipEntry] = {}
    refused: dict[str, RefusedMember] = {}
    for problem in problems:
        for path in _paths(problem.zip, problem.member, folders):
            refused.setdefault(path, problem)
    for entry in unlisted:
        for path in _paths(entry.zip, entry.name, folders):
            first = entries.setdefault(path, entry)
            if (first.size, first.crc32) != (entry.size, entry.crc32):
                own = shown(first.zip.rsplit("/", 1)[-1])  # rows are the same wherever a release lies
                reason = f"two members of this name have other bytes, the first is in {own}"
                refused[path] = RefusedMember(entry.zip, shown(entry.name), reason, (own,))
    sound = {path: entry for path, entry in entries.items() if path not in refused and path not in listed}
    return ZipCompanions(sound, {path: problem for path, problem in refused.items() if path not in listed})


def _place(url: str, member: str) -> Place:
    return url, member.replace("\\", "/").rpartition("/")[0]


def _paths(url: str, member: str, folders: Mapping[Place, set[str]]) -> list[str]:
    """Where a row would have the member; none for a name that is no scan's, such as that of a table."""
    place = _place(url, member)
    name = member.replace("\\", "/").rpartition("/")[2]
    paths = [f"{folder}/{name}".lstrip("/") for folder in sorted(folders.get(place, ()))]
    return [path for path in paths if _is_plain(path)]


def _is_plain(path: str) -> bool:
    try:
        return relative_path(path, "") == path
    except UsageError:
        return False
