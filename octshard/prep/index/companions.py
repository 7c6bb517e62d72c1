"""Files that were used with a scan of their folder: its text, or its values.

Files of a folder stand together in a walk, so no more names are held than those in the folders that are open.
"""

from collections import Counter
from dataclasses import dataclass, field

from octshard.prep.index.look import OTHER, SCAN, Finding
from octshard.prep.release import companion_names

FORMATS = ("img", "optovue", "metaimage", "nrrd", "nifti")  # whose scans may need a file of their name
USED = "text or values of a scan beside it"
_ENDINGS = tuple({ending.lower() for endings in companion_names.ENDINGS.values() for ending in endings})


@dataclass
class _Folder:
    path: str
    needs: set[str] = field(default_factory=set)
    others: dict[str, str] = field(default_factory=dict)  # path -> what it looks like


class Others:
    """Counts what is no scan by what it is, in a walk."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._open: list[_Folder] = []

    def add(self, path: str, finding: Finding) -> None:
        """The next file of the walk, a scan too."""
        folder = path[: path.rfind("/") + 1]
        while self._open and not folder.startswith(self._open[-1].path):
            self._close()
        if not self._open or self._open[-1].path != folder:
            self._open.append(_Folder(folder))
        if finding.kind == SCAN and finding.what in FORMATS:
            self._open[-1].needs.update(companion_names.of(path))
        elif finding.kind == OTHER and path.lower().endswith(_ENDINGS):
            self._open[-1].others[path] = finding.what
        elif finding.kind == OTHER:
            self._counts[finding.what] += 1

    def finish(self) -> None:
        """To be called behind the last file."""
        while self._open:
            self._close()

    def _close(self) -> None:
        folder = self._open.pop()
        self._counts.update(USED if path in folder.needs else what for path, what in folder.others.items())
