"""One scan of a release: a row of its manifest, read and checked. Pure."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from octshard.dataset import participants, visit_date
from octshard.dataset.eyes import EYES
from octshard.errors import UsageError
from octshard.imaging.volume import DEVICES, Spacing, triple
from octshard.prep import lengths
from octshard.prep.release import device_name, file_name, scan_path

LENGTHS = {"pixel_spacing": 2, "slice_thickness": 1, "default_spacing": 3}  # how many numbers each has
PARTS_BETWEEN = "/"  # names of files, in which it cannot stand
UNKNOWN = lengths.SILENT  # in the manifest


@dataclass(frozen=True)
class Entry:
    """One structural OCT row of the manifest. Sizes in voxels, spacing in mm; None where it is missing."""

    participant: str
    device: str  # as its column says, else as `device_name` tells it by path and model
    manufacturer: str
    model: str
    protocol: str
    region: str
    eye: str  # L, R or empty
    frames: int | None
    rows: int | None
    cols: int | None
    pixel_mm: tuple[float, float] | None  # (row, col) = (axial, lateral)
    slice_mm: float | None
    sop_instance_uid: str
    path: str  # below the release root, no leading slash; empty if the row names no file
    eye_in_name: str = ""  # L, R or empty, by the file's name; used only to check `eye`
    # what stands in its columns, but is no length; not in the text of a plan's digest, which 0.1.0 wrote too
    unreadable_spacing: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    axes: str = dataclasses.field(default="", repr=False)  # of the file's array: an order of d, h and w
    acquired: str = dataclasses.field(default="", repr=False)  # as `dataset.visit_date`; empty: not told
    parts: str = dataclasses.field(default="", repr=False)  # names of the scan's other files; empty: none
    # (step, row, col) of a file that tells none; where that of `pixel_mm` and `slice_mm` is empty too
    default_mm: Spacing | None = dataclasses.field(default=None, repr=False)
    # what stands for the path, and may be read by all, in everything that is written; empty: the path itself
    source_id: str = dataclasses.field(default="", repr=False)

    @property
    def source(self) -> str:
        """How tables and logs name the file."""
        return self.source_id or self.path

    @property
    def part_names(self) -> tuple[str, ...]:
        """Of the other files of the scan, in the same folder."""
        return tuple(self.parts.split(PARTS_BETWEEN)) if self.parts else ()

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of all files of the scan, below the release root; none if the row names no file."""
        folder = self.path.rpartition("/")[0]
        others = (f"{folder}/{name}".lstrip("/") for name in self.part_names)
        return (scan_path.file_of(self.path), *others) if self.path else ()


def of_row(field: Mapping[str, str], location: str) -> Entry:
    """From the cells of a row, by the names of `aireadi.COLUMNS`; UsageError for what cannot be meant."""
    path = scan_path.relative_path(field["path"], location)
    is_private = bool(field["source_id"])  # then nothing that the path may say is used
    participant = field["participant"] or ("" if is_private else _person_in(path))
    if not participants.canonical(participant):
        raise UsageError(f"{location}: no participant, neither in its column nor as the folder of {path!r}")
    uid = field["uid"] or ("" if is_private else file_name.uid_in(path))
    protocol = file_name.UNKNOWN if is_private else file_name.protocol_of(path, participant)
    told = [_lengths(name, field[name]) for name in LENGTHS]
    plane, step, default = told
    return Entry(
        participant=participant,
        device=_device(field, path, participant, location),
        manufacturer=field["manufacturer"],
        model=field["model"],
        protocol=field["protocol"] or protocol,
        region=field["region"],
        eye=EYES.get(field["laterality"].lower(), ""),
        frames=_count(field["frames"]),
        rows=_count(field["rows"]),
        cols=_count(field["cols"]),
        pixel_mm=(plane.mm[0], plane.mm[1]) if plane.mm else None,
        slice_mm=step.mm[0] if step.mm else None,
        sop_instance_uid=uid,
        path=path,
        eye_in_name=file_name.eye_in_name(path, participant),
        unreadable_spacing=tuple(reading.problem for reading in told if reading.problem),
        axes=axes_of(field["axes"], location),
        acquired=visit_date.of_cells(field["date"], field["day"], location),
        default_mm=triple(default.mm) if default.mm else None,
        source_id=field["source_id"],
        parts=_parts(field["parts"], location),
    )


def _device(field: Mapping[str, str], path: str, participant: str, location: str) -> str:
    """As its column says; else by the path and the model, but not by the folders of a private path."""
    if said := field["device"]:
        is_unknown = said.lower() == device_name.UNKNOWN
        return device_name.UNKNOWN if is_unknown else device_name.check(said, location)
    if device := device_name.of_scan(path, field["model"]):
        return device
    folder = "" if field["source_id"] else device_name.folder_of(path, participant)
    return device_name.check(folder, f"{location}, by its path") if folder else device_name.UNKNOWN


def _person_in(path: str) -> str:
    """The folder above the scan, in which releases keep one person's scans; empty if it names no person."""
    above = scan_path.folders_above(path)[-1:]
    named = {*DEVICES, *UNKNOWN, scan_path.STRUCTURAL, scan_path.HOME}
    return above[0] if above and above[0].lower() not in named else ""


def _parts(text: str, location: str) -> str:
    """Names of files; UsageError if one leaves the folder, or is of our own."""
    for name in text.split(PARTS_BETWEEN) if text else ():
        if scan_path.relative_path(name, location) != name:
            raise UsageError(f"{location}: parts {text!r}, want names of files with / between them")
    return text


def axes_of(text: str, location: str) -> str:
    """An order of d (B-scans), h (depth) and w (A-scans), or empty."""
    axes = text.lower()
    if axes and sorted(axes) != ["d", "h", "w"]:
        raise UsageError(
            f"{location}: axes {text!r}, want an order of d (B-scans), h (depth) and w (A-scans)"
        )
    return axes


@lru_cache(maxsize=1024)  # a release has a few protocols, so a few texts
def _lengths(name: str, text: str) -> lengths.Reading:
    return lengths.read(name, text, LENGTHS.get(name, 1))


def _count(text: str) -> int | None:
    """A whole number above zero, or None."""
    mm = _lengths("count", text).mm
    return int(mm[0]) if mm and mm[0] == int(mm[0]) else None
