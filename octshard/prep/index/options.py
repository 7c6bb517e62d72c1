"""What an index is asked for."""

import hashlib
from dataclasses import dataclass

from octshard.imaging.volume import Spacing
from octshard.prep.index import pseudonym
from octshard.prep.index.b_scan_set import BScanSet
from octshard.prep.index.look import Asked
from octshard.prep.index.person import PersonRule
from octshard.prep.readers import recognise
from octshard.prep.release import device_name, entry

VERSION, ROWS = 7, 10  # of findings, and of how rows are made of them: those of another one are not used


@dataclass(frozen=True)
class IndexOptions:
    """device: of scans whose device nothing else tells; empty: `unknown`. dates: DICOM may tell them.

    folders: a folder of numbered images is one scan. singles: an image alone is one B-scan. spacing, axes: of
    files that do not tell them; None and empty: nobody said.
    """

    people: PersonRule
    dates: bool = False
    device: str = ""
    workers: int = 0
    folders: bool = False
    singles: bool = False
    spacing: Spacing | None = None
    axes: str = ""

    def check(self) -> None:
        """UsageError for what contradicts itself."""
        self.people.check()
        if self.device:
            device_name.check(self.device, "--device")
        entry.axes_of(self.axes, "--axes")

    @property
    def asked(self) -> Asked:
        """What may be read of a file. A pattern with a date is believed before a file."""
        dates = self.dates and "date" not in self.people.fields
        return Asked(self.people.source == "dicom", dates, self.folders, uid=bool(self.people.salt))

    @property
    def tells_spacing(self) -> bool:
        """True for a data set whose spacing is published, unless somebody says another one."""
        is_known = isinstance(self.people.pattern, BScanSet) and self.people.pattern.kind.spacing
        return is_known and self.spacing is None

    @property
    def default_spacing(self) -> str:
        """The cell, as a manifest spells it; empty if nobody said it."""
        return str(list(self.spacing)) if self.spacing else ""

    @property
    def has_dates(self) -> bool:
        """True if a date may be known of a scan."""
        return self.asked.dates or "date" in self.people.fields

    def digest(self) -> str:
        """16 hex digits that change with all that decides what is found in a file."""
        salt = pseudonym.of("", self.people.salt) if self.people.salt else ""
        pattern = self.people.pattern.text if salt and self.asked.dates and self.people.pattern else ""
        source = self.people.source if salt and self.asked.dates else ""
        return _digest(VERSION, sorted(recognise.READERS), self.asked, salt, pattern, source)

    def rows_digest(self) -> str:
        """As `digest`, with all that decides how a finding becomes a row."""
        pattern = self.people.pattern.text if self.people.pattern else ""
        return _digest(
            ROWS,
            self.digest(),
            self.people.source,
            pattern,
            bool(self.people.salt),
            self.device,
            self.singles,
            self.spacing,
            self.axes,
        )


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
