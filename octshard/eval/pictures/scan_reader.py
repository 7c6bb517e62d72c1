"""Single scans of an evaluation, read from their shards: voxels, and words that say what they are."""

from dataclasses import dataclass

import numpy as np

from octshard.dataset import sample, stored_scale
from octshard.dataset.eyes import EYES
from octshard.dataset.folders import dataset_folders
from octshard.dataset.tables import SampleRow
from octshard.eval.scans import Scans
from octshard.imaging.volume import Shape, Spacing
from octshard.pictures import b_scan
from octshard.pictures.b_scan import Box

EYE_WORDS = {"L": "left eye", "R": "right eye"}
SMALL, LARGE = (160, 160), (320, 200)  # pixels at most: in a strip or beside another, and by itself


@dataclass(frozen=True, eq=False)
class StoredScan:
    """One scan in grey. spacing_mm: of voxels along D, H, W; where it is not known, they are cubes."""

    row: SampleRow
    voxels_DHW: np.ndarray  # uint8
    spacing_mm: Spacing | None

    @property
    def shape(self) -> Shape:
        """(D, H, W) voxels."""
        d, h, w = self.voxels_DHW.shape
        return d, h, w

    @property
    def step(self) -> Spacing:
        """The spacing, or cubes."""
        return self.spacing_mm or (1.0, 1.0, 1.0)

    @property
    def centre(self) -> int:
        """The number of the central B-scan."""
        return self.shape[0] // 2

    def b_scan(self, plane: int, box: Box) -> np.ndarray:
        """uint8 (H, W): one B-scan in true proportions."""
        _, high, wide = (n * mm for n, mm in zip(self.shape, self.step, strict=True))
        return b_scan.sized(b_scan.grey(self.voxels_DHW[plane]), (high, wide), box)


@dataclass(frozen=True)
class ScanReader:
    """Reads by the place of a scan in `scans`."""

    scans: Scans
    folders: tuple[str, ...]

    def row(self, place: int) -> SampleRow:
        """That of the sample table."""
        return self.scans.index.samples[place].row

    def read(self, place: int) -> StoredScan:
        """OctshardError if its shard does not hold what was written."""
        ref = self.scans.index.samples[place]
        voxels_DHW = stored_scale.grey_uint8(sample.read(self.folders[ref.folder], ref.row))
        return StoredScan(ref.row, voxels_DHW, ref.row.known_spacing)


def open_reader(scans: Scans) -> ScanReader:
    """Of the dataset folders that `scans` are in."""
    return ScanReader(scans, tuple(dataset_folders(scans.cfg.data.shards)))


def described(row: SampleRow, unit: str) -> str:
    """A scan of a unit (a person, eye or scan), with its key."""
    return f"{origin(row)}, {row.key}" if unit == row.key else f"{unit}, {origin(row)}, {row.key}"


def origin(row: SampleRow) -> str:
    """Device, protocol and eye, as far as they are known."""
    parts = (row.device, row.protocol, EYE_WORDS.get(EYES.get(row.eye.lower(), ""), row.eye))
    return ", ".join(part.replace("_", " ") for part in parts if part)
