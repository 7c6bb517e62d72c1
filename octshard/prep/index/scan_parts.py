"""Files of one folder that are one scan become one row: of the first, with the names of the others.

Files of a folder stand together in the walk, with those of the folders in it, so no more is held than the
parts in the folders that are open.
"""

from collections.abc import Iterator
from typing import NamedTuple

from octshard.prep.index.look import Finding
from octshard.prep.index.row import ManifestRow
from octshard.prep.release.entry import PARTS_BETWEEN


class IndexedScan(NamedTuple):
    """A file of the index, and its row."""

    path: str
    finding: Finding
    row: ManifestRow


Groups = dict[tuple[str, str], list[IndexedScan]]  # by group and person


def joined(scans: Iterator[IndexedScan]) -> Iterator[IndexedScan]:
    """The scans, with the parts of each joined when their folder is left behind."""
    open_folders: dict[str, Groups] = {}
    for scan in scans:
        folder = scan.path.rpartition("/")[0]
        for left in [
            other for other in open_folders if not f"{folder}/".startswith(f"{other}/" if other else "")
        ]:
            yield from _joined(open_folders.pop(left))
        if not scan.finding.group:
            yield scan
            continue
        group = (scan.finding.group, scan.row.person_id)
        open_folders.setdefault(folder, {}).setdefault(group, []).append(scan)
    for groups in open_folders.values():
        yield from _joined(groups)


def _joined(groups: Groups) -> Iterator[IndexedScan]:
    for scans in groups.values():
        first, *others = sorted(scans, key=lambda scan: (int(scan.finding.place or 0), scan.path))
        names = [scan.path.rpartition("/")[2] for scan in others]
        yield first._replace(row=first.row._replace(parts=PARTS_BETWEEN.join(names)))
