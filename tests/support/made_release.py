"""Small AI-READI-shaped releases for tests: DICOMs by `writer.write`, a manifest, participants, ZIPs."""

import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from octshard.prep.dicom import writer
from octshard.rng import rng_for

HEAD = [
    "participant_id", "manufacturer", "manufacturers_model_name", "anatomic_region", "imaging", "laterality",
    "height", "width", "number_of_frames", "pixel_spacing", "slice_thickness", "sop_instance_uid", "filepath",
]  # fmt: skip
RASTER = tuple(np.array([[640.0 + 40 * i, 128.0], [640.0 + 40 * i, 608.0]]) for i in range(6))  # 1 px: 1 um


def scan(number: int = 1, participant: str = "1001") -> writer.Scan:
    """A native 6 x 20 x 24 raster, 0.04 x 0.01 x 0.02 mm, of smooth seeded noise."""
    voxels = rng_for("scan", number).integers(0, 256, (6, 20, 24), dtype=np.uint8)
    return writer.Scan(
        voxels_DHW=np.sort(voxels, axis=1),
        sop_instance_uid=f"2.25.7000{number}",
        participant=participant,
        eye="L",
        manufacturer="Topcon",
        model="Triton",
        region="Macula",
        pixel_spacing_mm=(0.01, 0.02),
        slice_thickness_mm=0.04,
        locations=RASTER,
        measures="shared",
        encoding="native",
    )


@dataclass(frozen=True)
class File:
    """One manifest row and its file; data None: listed, but not there."""

    scan: writer.Scan
    data: bytes | None
    device: str = "topcon_triton"

    @property
    def path(self) -> str:
        s = self.scan
        name = f"{s.participant}_triton_3d_macula_oct_{s.eye.lower()}_{s.sop_instance_uid}.dcm"
        return f"retinal_oct/structural_oct/{self.device}/{s.participant}/{name}"

    def row(self) -> list[str]:
        s = self.scan
        frames, rows, cols = s.voxels_DHW.shape
        spacing = str(list(s.pixel_spacing_mm)) if s.pixel_spacing_mm else "Not reported"
        step = str(s.slice_thickness_mm or "Not Reported")
        sizes = [str(rows), str(cols), str(frames)]
        head = [s.participant, s.manufacturer, s.model, s.region, "OCT", s.eye]
        return [*head, *sizes, spacing, step, s.sop_instance_uid, "/" + self.path]


def sound(number: int, participant: str = "1001") -> File:
    """A file that becomes a volume."""
    content = scan(number, participant)
    return File(content, writer.write(content))


def changed(number: int, change: Callable[[bytes], bytes | None], participant: str = "1001") -> File:
    """A sound file with its bytes changed, or without any."""
    file = sound(number, participant)
    assert file.data is not None
    return replace(file, data=change(file.data))


def write_tables(root: Path, files: Sequence[File], splits: dict[str, str]) -> None:
    """manifest.tsv (with a byte-order mark) and participants.tsv."""
    root.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(row) for row in [HEAD, *(file.row() for file in files)]]
    (root / "manifest.tsv").write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    people = [
        "participant_id\tstudy_group\trecommended_split",
        *(f"{p}\thealthy\t{s}" for p, s in splits.items()),
    ]
    (root / "participants.tsv").write_text("\n".join(people) + "\n")


def unpacked(root: Path, files: Sequence[File], splits: dict[str, str]) -> Path:
    """A release with its DICOMs in place."""
    write_tables(root, files, splits)
    for file in files:
        if file.data is not None:
            target = root / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.data)
    return root


def zipped(root: Path, files: Sequence[File], splits: dict[str, str]) -> Path:
    """A release with one ZIP per device, its members under PERSON/FILE."""
    write_tables(root, files, splits)
    for device in sorted({file.device for file in files}):
        (root / device).mkdir(exist_ok=True)
        with zipfile.ZipFile(root / device / f"{device}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                if file.device == device and file.data is not None:
                    archive.writestr("/".join(file.path.split("/")[-2:]), file.data)
    return root


@dataclass(frozen=True)
class Part:
    """A member of a ZIP made by hand. local, central: fields that are wrong there."""

    name: str
    data: bytes
    method: int = 8
    packed: bytes | None = None  # in the ZIP instead of the deflated data
    local: Mapping[str, int] = field(default_factory=dict)
    central: Mapping[str, int] = field(default_factory=dict)
    extra: bytes = b""  # of the local header

    def body(self) -> bytes:
        if self.packed is not None:
            return self.packed
        engine = zlib.compressobj(wbits=-15)
        return engine.compress(self.data) + engine.flush() if self.method == 8 else self.data

    def facts(self, offset: int) -> dict[str, int]:
        sizes = {"crc32": zlib.crc32(self.data), "packed": len(self.body()), "size": len(self.data)}
        flags = 0 if self.name.isascii() else 0x800
        return {"flags": flags, "method": self.method, **sizes, "offset": offset, "attributes": 0}


def zip_bytes(parts: Sequence[Part], *, wide: bool = False, **end: int) -> bytes:
    """A ZIP by the book (APPNOTE 4.3), ZIP64 throughout if wide; end: wrong fields of the end record."""
    out, entries = b"", b""
    for part in parts:
        name, facts = part.name.encode(), part.facts(len(out))
        entries += _central(name, {**facts, **part.central}, wide=wide)
        out += _local(name, {**facts, **part.local}, part.extra, wide=wide) + part.body()
    end_record = {"disk": 0, "count": len(parts), "length": len(entries), "offset": len(out), **end}
    disk, count, length, offset = end_record.values()
    if not wide:
        return out + entries + struct.pack("<4s4H2LH", b"PK\5\6", disk, 0, count, count, length, offset, 0)
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, disk, 0, count, count, length, offset)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(out) + len(entries), 1)
    full = struct.pack("<4s4H2LH", b"PK\5\6", *[2**16 - 1] * 4, *[2**32 - 1] * 2, 0)
    return out + entries + record + locator + full


def _local(name: bytes, entry: Mapping[str, int], extra: bytes, *, wide: bool) -> bytes:
    sizes = [entry["packed"], entry["size"]]
    if wide:
        extra, sizes = struct.pack("<2H2Q", 1, 16, entry["size"], entry["packed"]) + extra, [2**32 - 1] * 2
    head = [20, entry["flags"], entry["method"], 0, 0, entry["crc32"], *sizes, len(name), len(extra)]
    return struct.pack("<4s5H3L2H", b"PK\3\4", *head) + name + extra


def _central(name: bytes, entry: Mapping[str, int], *, wide: bool) -> bytes:
    numbers, extra = [entry["packed"], entry["size"], entry["offset"]], b""
    if wide:
        extra = struct.pack("<2H3Q", 1, 24, entry["size"], entry["packed"], entry["offset"])
        numbers = [2**32 - 1] * 3
    head = [20, 20, entry["flags"], entry["method"], 0, 0, entry["crc32"], *numbers[:2], len(name)]
    tail = [len(extra), 0, 0, 0, entry["attributes"], numbers[2]]
    return struct.pack("<4s6H3L5H2L", b"PK\1\2", *head, *tail) + name + extra
