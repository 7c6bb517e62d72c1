"""Who a scan is of: by the folder above it, a pattern of its path, or the PatientID of its DICOM file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from octshard.dataset import visit_date
from octshard.dataset.eyes import EYES
from octshard.dataset.participants import canonical
from octshard.errors import UsageError
from octshard.imaging.volume import DEVICES
from octshard.prep.index import pseudonym
from octshard.prep.index.path_pattern import EXAMPLE, PathPattern
from octshard.prep.release import scan_path
from octshard.prep.release.entry import UNKNOWN
from octshard.prep.release.scan_path import HOME, STRUCTURAL

NO_ID = "no PatientID"
NO_FIELD = "the pattern finds no person in the path"
OTHER_FORM = "its path is not of the form of the pattern"
NO_FOLDER = "no folder above it names a person"
NOBODY = (NO_ID, NO_FIELD, OTHER_FORM, NO_FOLDER)  # why a scan is of nobody
SOURCES = ("folder", "pattern", "dicom")
NO_PEOPLE = {*DEVICES, *UNKNOWN, STRUCTURAL, HOME, "dicom", "dicoms", "oct", "scans", "images", "data"}
_SCAN_ID = re.compile(r"\d+(\.\d+){3,}", re.ASCII)  # a UID: of a study or a series


@dataclass(frozen=True)
class PersonRule:
    """source: one of SOURCES, or empty: nobody said, so the folder. salt: empty without pseudonyms."""

    source: str
    pattern: PathPattern | None
    salt: bytes

    @property
    def fields(self) -> frozenset[str]:
        """Those of the pattern."""
        return frozenset(() if self.pattern is None else self.pattern.regex.groupindex)

    def check(self) -> None:
        """UsageError if a pattern is missing, or tells no person where it should."""
        if self.source == "pattern" and "person" not in self.fields:
            text = (
                "no pattern" if self.pattern is None else f"pattern {self.pattern.text!r} has no {{person}}"
            )
            raise UsageError(f"--person-from pattern: {text}; give --pattern, such as '{EXAMPLE}'")

    def patient(self, patient_id: str) -> str:
        """A PatientID as it is written down; empty if it names nobody."""
        return self._public(patient_id)

    def of(self, path: str, fields: Mapping[str, str], patient: str) -> tuple[str, str]:
        """(person, or empty; why nobody is named). fields: of the path's pattern; patient: as `patient`."""
        if self.source == "dicom":
            return patient, "" if patient else NO_ID
        if self.source == "pattern":
            person = self._public(fields.get("person", ""))
            return person, "" if person else NO_FIELD
        folder = (scan_path.folders_above(path)[-1:] or [""])[0].strip()
        person = "" if folder.lower() in NO_PEOPLE and not self.source else self._public(folder)
        return person, "" if person else NO_FOLDER

    def _public(self, person: str) -> str:
        if not canonical(person) or person.lower() in UNKNOWN:
            return ""
        return pseudonym.of(person, self.salt) if self.salt else person


def looks_like(name: str) -> str:
    """What the name of a folder seems to be other than a person; empty if nothing is odd about it."""
    if visit_date.date(name):
        return "a date"
    if name.lower() in EYES:
        return "an eye"
    return "a UID" if _SCAN_ID.fullmatch(name) else ""
