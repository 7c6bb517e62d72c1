"""An AI-READI release: its manifest and participants tables, in all spellings that real copies use.

`read_release` is the only I/O. Device and eye come from columns and the path's folder, not from a file name.
"""

import dataclasses
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from octshard import delimited, tsv
from octshard.dataset import participants, visit_date
from octshard.dataset.eyes import EYES
from octshard.errors import UsageError
from octshard.imaging.volume import DEVICES, Spacing, triple
from octshard.prep import lengths
from octshard.prep.release import device_name, file_name, scan_path, source_id, split_table, zip_path
from octshard.prep.release.split_table import SplitTable
from octshard.storage import store

MODEL_WORDS = {
    word: device for device in DEVICES for word in device.split("_")[1:]
}  # "triton" -> topcon_triton
COLUMNS = {  # our name -> its headings in releases and in copies
    "participant": tsv.PERSON,
    "device": ("device",),
    "manufacturer": ("manufacturer",),
    "model": ("manufacturers_model_name", "manufacturer_model_name"),
    "region": ("anatomic_region", "region"),
    "protocol": ("protocol",),
    "imaging": ("imaging",),
    "laterality": ("laterality",),
    "rows": ("height",),
    "cols": ("width",),
    "frames": ("number_of_frames",),
    "pixel_spacing": ("pixel_spacing",),
    "slice_thickness": ("slice_thickness",),
    "default_spacing": ("default_spacing",),
    "date": ("date",),
    "day": ("day",),
    "uid": ("sop_instance_uid",),
    "path": ("filepath",),
    "axes": ("axes",),
    "source_id": ("source_id",),
    "parts": ("parts",),
}
LENGTHS = {"pixel_spacing": 2, "slice_thickness": 1, "default_spacing": 3}  # how many numbers each has
PARTS_BETWEEN = "/"  # names of files, in which it cannot stand
UNKNOWN = lengths.SILENT  # in the manifest
HOME = "retinal_oct"
TABLES = ("manifest.tsv", "participants.tsv")
OWN = re.compile(  # names of what prep and its locks write beside scans
    r"lock|\..*\.(lock|json|partial).*|(manifest|participants)\.tsv|(plan|dataset|run)\.json"
    r"|(samples|shards)\.parquet|.*\.(done\.json|rows\.parquet)|(train|val|test)-\d+\.tar",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Entry:
    """One structural OCT row of the manifest. Sizes in voxels, spacing in mm; None where it is missing."""

    participant: str
    device: str  # as its column says, else one of volume.DEVICES, or the name of the folder
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


@dataclass(frozen=True)
class Release:
    """A release's tables. root: the folder of the entries' paths; tables: their paths below root."""

    root: str
    entries: tuple[Entry, ...]
    splits: dict[str, str]  # participant -> train | val | test, where the release gives one
    tables: tuple[str, ...]
    split_table: SplitTable | None = None  # None without participants.tsv


def home_of(src: str) -> str:
    """The folder that holds manifest.tsv: `src`, or its retinal_oct; empty if there is none."""
    if "://" not in src:
        src = os.path.abspath(src)  # `.` and `retinal_oct` have names and parents too
    folders = [src, store.join(src, HOME)]
    return next((folder for folder in folders if store.exists(store.join(folder, TABLES[0]))), "")


def read_release(src: str, manifest: str = "") -> Release:
    """The tables of the release at `src`, the folder that holds manifest.tsv (v3: in its retinal_oct).

    manifest: a table elsewhere, whose paths begin at `src`, or where a ZIP lies; participants.tsv is beside
    it, or in `src`.
    """
    if manifest:
        return _with_manifest(zip_path.home_of(src if "://" in src else os.path.abspath(src)), manifest)
    home = home_of(src)
    if not home:
        raise UsageError(f"{src}: no manifest.tsv, want the release root, the folder that holds it")
    manifest = store.join(home, TABLES[0])
    entries = parse_manifest(_text(manifest), manifest)
    root, participants_url = _root_and_participants(home.rstrip("/"), entries)
    tables, table = [manifest.removeprefix(root).strip("/")], None
    if root != home.rstrip("/"):  # paths relative to home are one folder lower from the root
        entries = [
            entry if _below_home(entry) else replace(entry, path=f"{HOME}/{entry.path}") for entry in entries
        ]
    if participants_url:
        table = split_table.parse(_text(participants_url), participants_url)
        tables.append(participants_url.removeprefix(root).strip("/"))
    return Release(root, tuple(entries), _splits(entries, table), tuple(tables), table)


def _with_manifest(root: str, manifest: str) -> Release:
    try:
        entries = parse_manifest(_text(manifest), manifest)
    except FileNotFoundError:
        raise UsageError(f"{manifest}: no such manifest; octshard prep index {root} writes one") from None
    beside = manifest.rpartition("/")[0] or "."
    url = next((u for f in (beside, root) if store.exists(u := store.join(f, TABLES[1]))), "")
    table = split_table.parse(_text(url), url) if url else None
    return Release(root, tuple(entries), _splits(entries, table), (), table)


def _splits(entries: Sequence[Entry], table: SplitTable | None) -> dict[str, str]:
    """Participant, as the entries spell it, -> the split that a participants.tsv recommends."""
    by_person = {} if table is None else table.splits()
    spelling = {participants.canonical(entry.participant): entry.participant for entry in entries}
    return {spelling.get(person, person): split for person, split in by_person.items()}


def _root_and_participants(home: str, entries: Sequence[Entry]) -> tuple[str, str]:
    """(release root, URL of its participants.tsv or empty) of a manifest in `home`.

    The paths of a manifest in retinal_oct begin at the parent folder or at retinal_oct itself, and
    participants.tsv may be in either.
    """
    parent = home.removesuffix(f"/{HOME}")
    own_table, parents_table = (store.join(folder, TABLES[1]) for folder in (home, parent))
    has_own, has_parents = store.exists(own_table), parent != home and store.exists(parents_table)
    if parent != home and (any(e.path and _below_home(e) for e in entries) or (has_parents and not has_own)):
        return parent, parents_table if has_parents else own_table if has_own else ""
    return home, own_table if has_own else ""


def _below_home(entry: Entry) -> bool:
    return not entry.path or entry.path.startswith(f"{HOME}/")


def parse_manifest(text: str, url: str) -> list[Entry]:
    """Entries in file order. Columns may be reordered or missing; those of person and file are required."""
    table = delimited.parse(text, url, UNKNOWN)
    for required in ("participant", "path"):
        if table.rows and not set(table.columns).intersection(COLUMNS[required]):
            raise UsageError(
                f"{url}: no column {' or '.join(COLUMNS[required])}, found {sorted(table.columns)}"
            )
    columns = zip(*(table.column(names) for names in COLUMNS.values()), strict=True)
    entries = []
    for (line, _), values in zip(table.rows, columns, strict=True):
        field = dict(zip(COLUMNS, values, strict=True))
        if _is_structural(field):
            entries.append(_entry(field, f"{url} line {line}"))
    source_id.check(((entry.path, entry.source_id) for entry in entries), url)
    spelling = participants.spellings(entry.participant for entry in entries)
    return [_spelled(entry, spelling[participants.canonical(entry.participant)]) for entry in entries]


def _spelled(entry: Entry, participant: str) -> Entry:
    return entry if entry.participant == participant else replace(entry, participant=participant)


def relative_path(text: str, location: str) -> str:
    """A filepath below the release root: no leading slash, no `dataset/`; a last one means a folder.

    UsageError for one with `..`, and for a name of our own files: a scan is neither read from nor unpacked
    to a lock, a journal or a table.
    """
    parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts or any(":" in part for part in parts[:1]):
        raise UsageError(f"{location}: filepath {text!r} leaves the release, want a path below its root")
    if own := next(filter(OWN.fullmatch, parts), ""):
        raise UsageError(f"{location}: filepath {text!r} names {own}, a file of octshard's own; want a scan")
    path = "/".join(parts[1:] if parts[:1] == ["dataset"] else parts)
    return f"{path}/" if path and text.endswith(("/", "\\")) else path


def _text(url: str) -> str:
    return tsv.decode(store.read(url), url)


def _entry(field: dict[str, str], location: str) -> Entry:
    path = relative_path(field["path"], location)
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
        device=_device(field, path, location),
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


def _device(field: dict[str, str], path: str, location: str) -> str:
    """As its column says, which must name a folder; else as `device_of`, of a private path one of ours."""
    if field["device"]:
        return device_name.check(field["device"], location)
    device = device_of(path, field["model"])
    return device if device in DEVICES or not field["source_id"] else "unknown"


def device_of(path: str, model: str) -> str:
    """The device folder in a path, else the device of the model's name, else the folder above the person."""
    folders = scan_path.folders_above(path)
    for folder in folders:
        if folder in DEVICES:
            return folder
    for word, device in MODEL_WORDS.items():
        if word in model.lower().replace(" ", ""):
            return device
    return folders[-2] if len(folders) > 1 else "unknown"


def _is_structural(field: dict[str, str]) -> bool:
    """True unless the row says that it is something else (OCT angiography has its own tables)."""
    kind = field["imaging"].lower()
    if "octa" in kind or "angio" in kind:
        return False
    return not kind or "oct" in kind or "optical coherence" in kind


def _person_in(path: str) -> str:
    """The folder above the scan, in which releases keep one person's scans; empty if it names no person."""
    above = scan_path.folders_above(path)[-1:]
    named = {*DEVICES, *UNKNOWN, "structural_oct", HOME}
    return above[0] if above and above[0].lower() not in named else ""


def _parts(text: str, location: str) -> str:
    """Names of files; UsageError if one leaves the folder, or is of our own."""
    for name in text.split(PARTS_BETWEEN) if text else ():
        if relative_path(name, location) != name:
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
