"""A scan as a row of manifest.tsv: cells that are read back as what they are."""

from collections.abc import Sequence
from typing import NamedTuple

from octshard import tsv
from octshard.errors import UsageError
from octshard.prep.release import scan_path
from octshard.prep.release.entry import UNKNOWN


class ManifestRow(NamedTuple):
    """The columns of the minimal manifest, in their order; `date` is `day` under pseudonyms, and some columns
    are there alone, where a data set is known to have one spacing, or where somebody told it.
    """

    person_id: str
    filepath: str
    device: str
    laterality: str
    region: str
    protocol: str
    date: str
    format: str
    parts: str = ""
    pixel_spacing: str = ""
    slice_thickness: str = ""
    default_spacing: str = ""
    axes: str = ""
    sop_instance_uid: str = ""
    source_id: str = ""


SPACING, PSEUDONYMS = ("pixel_spacing", "slice_thickness"), ("sop_instance_uid", "source_id")


def columns(*, spacing: bool, default: bool, axes: bool, pseudonyms: bool) -> tuple[str, ...]:
    """Those of a manifest."""
    left_out = (
        *(() if spacing else SPACING),
        *(() if default else ("default_spacing",)),
        *(() if axes else ("axes",)),
        *(() if pseudonyms else PSEUDONYMS),
    )
    return tuple(name for name in ManifestRow._fields if name not in left_out)


def header(names: Sequence[str]) -> str:
    """The first line. names: of `columns`."""
    pseudonyms = set(PSEUDONYMS) <= set(names)
    return line(["day" if name == "date" and pseudonyms else name for name in names])


def of(scan: ManifestRow, names: Sequence[str]) -> str:
    """Its line, below the header."""
    return line([getattr(scan, name) for name in names])


def line(cells: Sequence[str]) -> str:
    """One line of a table, with its end."""
    return "\t".join(map(_cell, cells)) + "\n"


def path_cell(path: str) -> str:
    """How a manifest names this path; empty if no cell is read back as it."""
    # `dataset/` in front is dropped by whoever reads it, and what follows is taken as it is
    return next((text for text in (path, f"dataset/{path}") if _reads_as(text, path)), "")


def survives(text: str) -> bool:
    """True if a cell of this text is read back as the text."""
    if text.isalnum() and text.lower() not in UNKNOWN:
        return True
    try:
        text.encode()
        table = tsv.parse(f"a\tb\n{_cell(text)}\tx", "", UNKNOWN)
    except (UsageError, UnicodeEncodeError):
        return False
    return [cells[0] for _, cells in table.rows] == [text]


def _reads_as(text: str, path: str) -> bool:
    try:
        return scan_path.relative_path(text, "") == path and survives(text)
    except UsageError:
        return False


def _cell(text: str) -> str:
    """Quoted where it would be read as something else without."""
    return '"' + text.replace('"', '""') + '"' if '"' in text or "\t" in text else text
