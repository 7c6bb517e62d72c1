"""The inputs of the benchmarks: made-up scans at full scale as DICOM files, and releases of many of them.

The scans have speckle, so JPEG 2000 sizes are like those of real scans (lossless 1.5-1.7 to 1). Everything
is made once and kept in the folder given by --work.
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
from octshard.prep.release.entry import Entry
from octshard.rng import rng_for

PERSON = "1001"
HEAD = (
    "person_id", "manufacturer", "manufacturers_model_name", "anatomic_region", "imaging", "laterality",
    "height", "width", "number_of_frames", "pixel_spacing", "slice_thickness", "sop_instance_uid", "filepath",
)  # fmt: skip
CACHE_VERSION = 1  # part of every cached name: raise it when the content changes


@dataclass(frozen=True)
class ScanSpec:
    """One scan: a protocol of the phantom, its encoding, how many of its frames, how many of them differ."""

    device: str
    protocol: str
    encoding: str  # native | j2k | j2k_lossy
    frames: int = 0  # the first ones; 0: all
    distinct: int = 0  # generated frames, repeated in turn; 0: all differ
    scale: float = 1.0  # of voxels per axis

    @property
    def pattern(self) -> Protocol:
        """The protocol, cut to `frames`: their step stays."""
        protocol = next(p for p in PROTOCOLS if (p.device, p.name) == (self.device, self.protocol))
        slow, axial, fast = protocol.extent_mm
        frames = self.frames or protocol.frames
        return dataclasses.replace(
            protocol, frames=frames, extent_mm=(slow * frames / protocol.frames, axial, fast)
        )

    @property
    def shape(self) -> Shape:
        """(D, H, W)."""
        return scan.shape_of(self.pattern, self.scale)

    @property
    def spacing_mm(self) -> Spacing:
        """(dz, dy, dx), the true ones."""
        d, h, w = (mm / n for mm, n in zip(self.pattern.extent_mm, self.shape, strict=True))
        return d, h, w

    @property
    def name(self) -> str:
        """A file name that is unique for each spec."""
        sizes = "x".join(map(str, self.shape))
        return f"{CACHE_VERSION}-{self.device}-{self.protocol}-{sizes}-{self.distinct}-{self.encoding}.dcm"


@dataclass(frozen=True)
class ScanFile:
    """A file that exists."""

    spec: ScanSpec
    path: Path
    uid: str

    @property
    def megabytes(self) -> float:
        """The size of the unpacked pixels."""
        return float(np.prod(self.spec.shape)) / 1e6

    @property
    def entry(self) -> Entry:
        """Its row of a manifest, with an absolute path."""
        device, pattern = DEVICES[self.spec.device], self.spec.pattern
        (frames, rows, cols), (step, dy, dx) = self.spec.shape, self.spec.spacing_mm
        step = dx if pattern.thickness == "column" else step
        return Entry(
            PERSON, device.name, device.manufacturer, device.model, pattern.name, pattern.region, "L",
            frames, rows, cols, (dy, dx), step, self.uid, str(self.path),
        )  # fmt: skip


def make(spec: ScanSpec, work: Path) -> ScanFile:
    """The scan's file below `work`, made on first use."""
    path, uid = work / spec.name, "2.25.1000000000"
    if not path.exists():
        _put(path, writer.write(_scan(spec, uid)))
    return ScanFile(spec, path, uid)


def release(name: str, inputs: Iterable[ScanFile], count: int, work: Path) -> Path:
    """A release root with `count` files: the inputs in turn, each with its own SOPInstanceUID."""
    root, scan_files = work / f"{CACHE_VERSION}-{name}-{count}", list(inputs)
    if (root / "manifest.tsv").exists():
        return root
    data = [scan_file.path.read_bytes() for scan_file in scan_files]
    rows = []
    for i in range(count):
        scan_file, uid = scan_files[i % len(scan_files)], f"2.25.{2_000_000_000 + i}"
        person = f"{1 + 3 * (i % 3)}{100 + i // 3 % 800:03d}"
        below = f"retinal_oct/structural_oct/{scan_file.spec.device}/{person}/{person}_{i}_oct_l_{uid}.dcm"
        _put(root / below, data[i % len(scan_files)].replace(scan_file.uid.encode(), uid.encode()))
        rows.append(_row(scan_file.entry, person, uid, below))
    _put(root / "manifest.tsv", _table(rows))
    return root


def listing(rows: int, work: Path) -> Path:
    """A release root whose manifest lists `rows` scans of all devices; there are no files."""
    root = work / f"{CACHE_VERSION}-listing-{rows}"
    specs = [ScanSpec(p.device, p.name, "native") for p in PROTOCOLS if p.pattern == "raster"]
    entries = [ScanFile(spec, Path(), "").entry for spec in specs]
    manifest_rows = []
    for i in range(rows):
        entry, uid = entries[i % len(entries)], f"2.25.{rng_for('listing', i).integers(10**17, 10**18)}"
        person = f"{1 + 3 * (i % 3)}{100 + i // 25 % 900:03d}"
        name = f"{person}_{entry.model.lower()}_{entry.protocol}_oct_l_{uid}.dcm"
        below = f"retinal_oct/structural_oct/{entry.device}/{person}/{name}"
        manifest_rows.append(_row(entry, person, uid, below))
    _put(root / "manifest.tsv", _table(manifest_rows))
    return root


def _scan(spec: ScanSpec, uid: str) -> writer.Scan:
    device, pattern = DEVICES[spec.device], spec.pattern
    person = cohort.sample_cohort(4, 0)[1].person
    rng = rng_for(0, "benchmark", spec.device, spec.protocol)
    eye = anatomy.generate(person, "L", 0)
    if spec.distinct:
        shortened = dataclasses.replace(pattern, frames=spec.distinct)
        voxels = scan.acquire(eye, shortened, spec.scale, rng).voxels_DHW
        voxels = voxels[np.arange(spec.shape[0]) % len(voxels)]
        locations = scan.scan_grid(eye, pattern, (spec.shape[0], spec.shape[2]), rng).locations
    else:
        picture = scan.acquire(eye, pattern, spec.scale, rng)
        voxels, locations = picture.voxels_DHW, picture.grid.locations
    step, dy, dx = spec.spacing_mm
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
        encoding=spec.encoding,
    )


def _row(entry: Entry, person: str, uid: str, below: str) -> tuple[str, ...]:
    assert entry.pixel_mm is not None
    spacing = str([float(f"{mm:.6g}") for mm in entry.pixel_mm])
    return (
        person, entry.manufacturer, entry.model, entry.region, "OCT", entry.eye, str(entry.rows),
        str(entry.cols), str(entry.frames), spacing, f"{entry.slice_mm:.6g}", uid, f"/{below}",
    )  # fmt: skip


def _table(rows: Iterable[tuple[str, ...]]) -> bytes:
    return "".join("\t".join(row) + "\n" for row in [HEAD, *rows]).encode()


def _put(path: Path, data: bytes) -> None:
    """Writes atomically: a benchmark that was stopped leaves no partial file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(data)
    partial.rename(path)
