"""What the benchmarks read: made-up scans at full scale as DICOM files, and releases of many of them.

Speckle is part of the pictures, so JPEG 2000 sizes are like those of real scans (lossless 1.5-1.7 to 1).
Everything is made once and kept in the folder given by --work.
"""

import dataclasses
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from octshard.imaging.volume import Shape, Spacing
from octshard.phantom import cohort, scan
from octshard.phantom import eye as anatomy
from octshard.phantom.device import DEVICES, PROTOCOLS, Protocol
from octshard.prep.dicom import writer
from octshard.prep.release.aireadi import Entry
from octshard.rng import rng_for

PERSON = "1001"
HEAD = (
    "person_id", "manufacturer", "manufacturers_model_name", "anatomic_region", "imaging", "laterality",
    "height", "width", "number_of_frames", "pixel_spacing", "slice_thickness", "sop_instance_uid", "filepath",
)  # fmt: skip
MADE = 1  # part of every cached name: raise it when what is made changes


@dataclass(frozen=True)
class Wish:
    """One scan: a protocol of the phantom, its encoding, how many of its frames, how many of them differ."""

    device: str
    protocol: str
    encoding: str  # native | j2k | j2k_lossy
    frames: int = 0  # the first so many; 0: all
    distinct: int = 0  # so many are made and repeated in turn; 0: all differ
    scale: float = 1.0  # of voxels per axis

    @property
    def pattern(self) -> Protocol:
        """The protocol, cut to the wanted frames: their step stays."""
        found = next(p for p in PROTOCOLS if (p.device, p.name) == (self.device, self.protocol))
        slow, axial, fast = found.extent_mm
        frames = self.frames or found.frames
        return dataclasses.replace(
            found, frames=frames, extent_mm=(slow * frames / found.frames, axial, fast)
        )

    @property
    def shape(self) -> Shape:
        """(D, H, W)."""
        return scan.shape_of(self.pattern, self.scale)

    @property
    def spacing_mm(self) -> Spacing:
        """(dz, dy, dx), as it truly is."""
        d, h, w = (mm / n for mm, n in zip(self.pattern.extent_mm, self.shape, strict=True))
        return d, h, w

    @property
    def name(self) -> str:
        """A file name that tells all wishes apart."""
        sizes = "x".join(map(str, self.shape))
        return f"{MADE}-{self.device}-{self.protocol}-{sizes}-{self.distinct}-{self.encoding}.dcm"


@dataclass(frozen=True)
class Input:
    """A file that is there."""

    wish: Wish
    path: Path
    uid: str

    @property
    def megabytes(self) -> float:
        """Of pixels, unpacked."""
        return float(np.prod(self.wish.shape)) / 1e6

    @property
    def entry(self) -> Entry:
        """As a manifest row that is read; its path is absolute."""
        device, pattern = DEVICES[self.wish.device], self.wish.pattern
        (frames, rows, cols), (step, dy, dx) = self.wish.shape, self.wish.spacing_mm
        step = dx if pattern.thickness == "column" else step
        return Entry(
            PERSON, device.name, device.manufacturer, device.model, pattern.name, pattern.region, "L",
            frames, rows, cols, (dy, dx), step, self.uid, str(self.path),
        )  # fmt: skip


def make(wish: Wish, work: Path) -> Input:
    """The scan's file below `work`, made if it is not there yet."""
    path, uid = work / wish.name, "2.25.1000000000"
    if not path.exists():
        _put(path, writer.write(_scan(wish, uid)))
    return Input(wish, path, uid)


def release(name: str, inputs: Iterable[Input], count: int, work: Path) -> Path:
    """A release root with `count` files: the inputs in turn, each with a SOPInstanceUID of its own."""
    root, sources = work / f"{MADE}-{name}-{count}", list(inputs)
    if (root / "manifest.tsv").exists():
        return root
    data = [one.path.read_bytes() for one in sources]
    lines = []
    for i in range(count):
        one, uid = sources[i % len(sources)], f"2.25.{2_000_000_000 + i}"
        person = f"{1 + 3 * (i % 3)}{100 + i // 3 % 800:03d}"
        below = f"retinal_oct/structural_oct/{one.wish.device}/{person}/{person}_{i}_oct_l_{uid}.dcm"
        _put(root / below, data[i % len(sources)].replace(one.uid.encode(), uid.encode()))
        lines.append(_row(one.entry, person, uid, below))
    _put(root / "manifest.tsv", _table(lines))
    return root


def listing(rows: int, work: Path) -> Path:
    """A release root whose manifest lists so many scans of all devices; there are no files."""
    root = work / f"{MADE}-listing-{rows}"
    wishes = [Wish(p.device, p.name, "native") for p in PROTOCOLS if p.pattern == "raster"]
    entries = [Input(wish, Path(), "").entry for wish in wishes]
    lines = []
    for i in range(rows):
        entry, uid = entries[i % len(entries)], f"2.25.{rng_for('listing', i).integers(10**17, 10**18)}"
        person = f"{1 + 3 * (i % 3)}{100 + i // 25 % 900:03d}"
        name = f"{person}_{entry.model.lower()}_{entry.protocol}_oct_l_{uid}.dcm"
        below = f"retinal_oct/structural_oct/{entry.device}/{person}/{name}"
        lines.append(_row(entry, person, uid, below))
    _put(root / "manifest.tsv", _table(lines))
    return root


def _scan(wish: Wish, uid: str) -> writer.Scan:
    device, pattern = DEVICES[wish.device], wish.pattern
    person = cohort.sample_cohort(4, 0)[1].person
    rng = rng_for(0, "benchmark", wish.device, wish.protocol)
    eye = anatomy.generate(person, "L", 0)
    if wish.distinct:
        made = dataclasses.replace(pattern, frames=wish.distinct)
        voxels = scan.acquire(eye, made, wish.scale, rng).voxels_DHW
        voxels = voxels[np.arange(wish.shape[0]) % len(voxels)]
        locations = scan.scan_grid(eye, pattern, (wish.shape[0], wish.shape[2]), rng).locations
    else:
        picture = scan.acquire(eye, pattern, wish.scale, rng)
        voxels, locations = picture.voxels_DHW, picture.grid.locations
    step, dy, dx = wish.spacing_mm
    return writer.Scan(
        voxels_DHW=np.ascontiguousarray(voxels),
        sop_instance_uid=uid,
        participant=PERSON,
        eye="L",
        manufacturer=device.manufacturer,
        model=device.model,
        region="Optic Disc" if "Disc" in pattern.region else "Macula",
        pixel_spacing_mm=(dy, dx),
        slice_thickness_mm=dx if pattern.thickness == "column" else step,
        locations=locations,
        measures=pattern.measures,
        encoding=wish.encoding,
    )


def _row(entry: Entry, person: str, uid: str, below: str) -> tuple[str, ...]:
    assert entry.pixel_mm is not None
    spacing = str([float(f"{mm:.6g}") for mm in entry.pixel_mm])
    return (
        person, entry.manufacturer, entry.model, entry.region, "OCT", entry.eye, str(entry.rows),
        str(entry.cols), str(entry.frames), spacing, f"{entry.slice_mm:.6g}", uid, f"/{below}",
    )  # fmt: skip


def _table(lines: Iterable[tuple[str, ...]]) -> bytes:
    return "".join("\t".join(line) + "\n" for line in [HEAD, *lines]).encode()


def _put(path: Path, data: bytes) -> None:
    """Whole or not at all: a benchmark that was stopped leaves no half file for the next."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(data)
    partial.rename(path)
