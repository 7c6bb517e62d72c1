"""DICOM Ophthalmic Tomography: a part-10 file as a scan."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from octshard.imaging.volume import Spacing
from octshard.prep.dicom import decode, header
from octshard.prep.dicom.header import Header
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.storage.checksum import Buffer


@dataclass(frozen=True, eq=False)
class DicomScan:
    """As `Scan`."""

    data: Buffer
    facts: Header

    def check(self, max_voxels: int) -> None:
        """As `header.check`."""
        header.check(self.facts, max_voxels)

    def level_for(self, spacing_mm: Spacing, target_mm: Spacing) -> int:
        """As `decode.level_for`."""
        return decode.level_for(self.data, self.facts, spacing_mm, target_mm)

    def frames(self, level: int = 0, order: Sequence[int] = ()) -> Iterator[np.ndarray]:
        """As `decode.frames`."""
        return decode.frames(self.data, self.facts, level, order)

    def bits_differ(self) -> bool:
        """As `decode.bits_differ`."""
        return decode.bits_differ(self.data, self.facts)

    def rescaling(self) -> str:
        """Empty: `pixel_values` maps what the header declares, whatever the pixels hold."""
        return ""


def is_one(file: ScanBytes) -> bool:
    """True for a part-10 file."""
    return file.data[128:132] == b"DICM"


def open_scan(file: ScanBytes) -> DicomScan:
    """Reads the header; Refused as `header.parse`."""
    return DicomScan(file.data, header.parse(file.data))
