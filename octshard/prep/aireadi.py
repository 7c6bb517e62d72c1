"""An AI-READI release: its manifest and participants tables, in every spelling that real copies use.

`read_release` is the only I/O. Device and eye come from columns and the path's folder, not from a file name.
"""

import csv
import os
import re
from dataclasses import dataclass

from octshard import store
from octshard.errors import UsageError
from octshard.prep.spacing import length_mm
from octshard.volume import DEVICES

MISSING = {"", "not reported", "not provided", "varies by frame", "none", "nan", "na", "n/a", "unknown"}
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
EYES = {"l": "L", "left": "L", "os": "L", "r": "R", "right": "R", "od": "R"}
MODALITIES = {"oct", "opt", "octa"}
MODEL_WORDS = {
    word: device for device in DEVICES for word in device.split("_")[1:]
}  # "triton" -> topcon_triton
COLUMNS = {  # our name -> the headings under which releases and copies carry it
    "participant": ("participant_id", "person_id"),
    "manufacturer": ("manufacturer",),
    "model": ("manufacturers_model_name", "manufacturer_model_name"),
    "region": ("anatomic_region",),
    "imaging": ("imaging",),
    "laterality": ("laterality",),
    "rows": ("height",),
    "cols": ("width",),
    "frames": ("number_of_frames",),
    "pixel_spacing": ("pixel_spacing",),
    "slice_thickness": ("slice_thickness",),
    "uid": ("sop_instance_uid",),
    "path": ("filepath",),
}
TABLES = ("manifest.tsv", "participants.tsv")


@dataclass(frozen=True)
class Entry:
    """One structural OCT row of the manifest. Sizes in voxels, spacing in mm, None where not said."""

    participant: str
    device: str  # a folder of volume.DEVICES, or the folder's own name
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


@dataclass(frozen=True)
class Release:
    """A release's tables. root: below which entry paths stand; tables: their paths below root."""

    root: str
    entries: tuple[Entry, ...]
    splits: dict[str, str]  # participant -> train | val | test, where the release says so
    tables: tuple[str, ...]


def read_release(src: str) -> Release:
    """The tables of the release at `src`, the folder that holds manifest.tsv (v3: in its retinal_oct)."""
    if "://" not in src:
        src = os.path.abspath(src)  # `.` and `retinal_oct` have names and parents too
    folders = [src, store.join(src, "retinal_oct")]
    home = next((folder for folder in folders if store.exists(store.join(folder, TABLES[0]))), None)
    if home is None:
        raise UsageError(f"{src}: no manifest.tsv, want the release root, the folder that holds it")
    manifest = store.join(home, TABLES[0])
    entries = parse_manifest(_text(manifest), manifest)
    inside = home.rstrip("/").endswith("/retinal_oct") and any(
        e.path.startswith("retinal_oct/") for e in entries
    )
    root = home.rstrip("/").removesuffix("/retinal_oct") if inside else home
    tables, splits = [manifest.removeprefix(root).strip("/")], {}
    for folder in dict.fromkeys((root, home)):
        people = store.join(folder, TABLES[1])
        if store.exists(people):
            splits = parse_participants(_text(people))
            tables.append(people.removeprefix(root).strip("/"))
            break
    return Release(root, tuple(entries), splits, tuple(tables))


def parse_manifest(text: str, where: str) -> list[Entry]:
    """Entries in file order. Columns may be missing or reordered, all but the person's and the file's."""
    records = _records(text)
    heads = set(records[0]) if records else set()
    for needed in ("participant", "path"):
        if records and not heads.intersection(COLUMNS[needed]):
            raise UsageError(
                f"{where}: no column {' or '.join(COLUMNS[needed])}, found {sorted(map(str, heads))}"
            )
    fields = [{name: _value(record, names) for name, names in COLUMNS.items()} for record in records]
    return [
        _entry(field, f"{where} line {i}") for i, field in enumerate(fields, start=2) if _is_structural(field)
    ]


def parse_participants(text: str) -> dict[str, str]:
    """participant -> split, for every person whose recommended_split is one."""
    found = {}
    for record in _records(text):
        split = SPLITS.get(_value(record, ("recommended_split",)).lower())
        person = _value(record, COLUMNS["participant"])
        if split and person:
            found[person] = split
    return found


def protocol_of(path: str, participant: str) -> str:
    """The file name without person, modality, eye and UID: 1_a_3d_oct_l_2.25.1.dcm -> a_3d."""
    words = path.rsplit("/", 1)[-1].removesuffix(".dcm").split("_")
    if words and words[0] == participant:
        words = words[1:]
    if words and re.fullmatch(r"[0-9.]{5,}", words[-1]):
        words = words[:-1]
    for tail in ({"l", "r"}, MODALITIES):
        if words and words[-1].lower() in tail:
            words = words[:-1]
    return "_".join(words) or "unknown"


def relative_path(text: str, where: str) -> str:
    """A filepath below the release root: no leading slash, no `dataset/`. A climbing one is a UsageError."""
    parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts or any(":" in part for part in parts[:1]):
        raise UsageError(f"{where}: filepath {text!r} leaves the release, want a path below its root")
    return "/".join(parts[1:] if parts[:1] == ["dataset"] else parts)


def _text(url: str) -> str:
    """A table's text: UTF-8, with or without a byte-order mark; anything else is a UsageError."""
    data = store.read(url)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{url}: byte {error.start} is 0x{data[error.start]:02x}, not UTF-8; save the table as UTF-8 text"
        ) from None
    if "\0" in text:
        raise UsageError(f"{url}: byte {data.index(0)} is 0x00 (UTF-16?), want UTF-8; save it as UTF-8 text")
    return text


def _entry(field: dict[str, str], where: str) -> Entry:
    path = relative_path(field["path"], where)
    participant = field["participant"] or _person_in(path)
    if not participant:
        raise UsageError(f"{where}: no participant, neither in its column nor as the folder of {path!r}")
    uid = field["uid"] or _uid_in(path)
    return Entry(
        participant=participant,
        device=device_of(path, field["model"]),
        manufacturer=field["manufacturer"],
        model=field["model"],
        protocol=protocol_of(path, participant),
        region=field["region"],
        eye=EYES.get(field["laterality"].lower(), ""),
        frames=_count(field["frames"]),
        rows=_count(field["rows"]),
        cols=_count(field["cols"]),
        pixel_mm=_pair(field["pixel_spacing"]),
        slice_mm=_length(field["slice_thickness"]),
        sop_instance_uid=uid,
        path=path,
    )


def device_of(path: str, model: str) -> str:
    """The device folder in a path, else the device of the model's name, else the folder above the person."""
    folders = path.split("/")[:-1]
    for folder in folders:
        if folder in DEVICES:
            return folder
    for word, device in MODEL_WORDS.items():
        if word in model.lower().replace(" ", ""):
            return device
    return folders[-2] if len(folders) > 1 else "unknown"


def _is_structural(field: dict[str, str]) -> bool:
    """True unless the row says that it is something else (OCT angiography has tables of its own)."""
    kind = field["imaging"].lower()
    if "octa" in kind or "angio" in kind:
        return False
    return not kind or "oct" in kind or "optical coherence" in kind


def _records(text: str) -> list[dict[str, str]]:
    lines = text.removeprefix("\ufeff").splitlines()
    return list(csv.DictReader(lines, delimiter="\t", restval="", quoting=csv.QUOTE_NONE))


def _value(record: dict[str, str], names: tuple[str, ...]) -> str:
    text = next((record[name] for name in names if record.get(name)), "")
    return "" if text.strip().lower() in MISSING else text.strip()


def _person_in(path: str) -> str:
    """The folder above the file, in which releases keep one person's scans; empty if it names no person."""
    above = path.split("/")[-2:-1]
    named = {*DEVICES, *MISSING, "structural_oct", "retinal_oct"}
    return above[0] if above and above[0].lower() not in named else ""


def _uid_in(path: str) -> str:
    last = path.removesuffix(".dcm").rsplit("_", 1)[-1]
    return last if re.fullmatch(r"[0-9]+(\.[0-9]+)+", last) else ""


def _numbers(text: str) -> list[float]:
    found = [float(number) for number in re.findall(r"\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+", text)]
    return found if "-" not in re.sub(r"[eE]-", "", text) else []


def _pair(text: str) -> tuple[float, float] | None:
    found = _numbers(text)
    lengths = [length_mm(number) for number in found]
    return (lengths[0], lengths[1]) if len(lengths) == 2 and lengths[0] and lengths[1] else None


def _length(text: str) -> float | None:
    found = _numbers(text)
    return length_mm(found[0]) if len(found) == 1 else None


def _count(text: str) -> int | None:
    length = _length(text)
    return int(length) if length is not None and length == int(length) else None
