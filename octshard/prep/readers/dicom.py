"""DICOM Ophthalmic Tomography: a part-10 file as a scan."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from octshard.imaging.volume import Spacing
from octshard.prep.dicom import decode, header, joined_header
from octshard.prep.dicom.header import Header
from octshard.prep.readers.joined_scan import JoinedScan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from octshard.storage.checksum import Buffer

COPIED = 2**22  # bytes of a part: one that is mapped keeps a file open, and a process may not have many


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


def open_scan(file: ScanBytes) -> DicomScan | JoinedScan:
    """Reads the header, and those of the scan's other files; Refused as `header.parse`, `joined_header`."""
    first = DicomScan(file.data, header.parse(file.data))
    if not file.parts:
        return first
    parts = [first, *(_part(file, name) for name in file.parts)]
    for number, part in enumerate(parts, start=1):
        _check(part, number)
    order = joined_header.order_of([part.facts for part in parts])
    parts = _of_one_range(parts)
    ordered = [parts[i] for i in order]
    return JoinedScan(ordered, joined_header.join([part.facts for part in ordered]))


def _check(part: DicomScan, number: int) -> None:
    """Refused for a part that declares more frames than it holds, before any is counted on."""
    try:
        part.check(sys.maxsize)
    except Refused as refusal:
        raise refusal.behind(f"part {number}: ") from None


def _of_one_range(parts: list[DicomScan]) -> list[DicomScan]:
    """With pixels mapped as in one file: over the rescaling and the bits of all parts."""
    transforms = [part.facts.pixel_transform for part in parts]
    if all(transform.is_identity for transform in transforms):
        return parts
    pairs = dict.fromkeys(pair for transform in transforms for pair in transform.rescale)
    bits = max(_range_bits(part, number) for number, part in enumerate(parts, start=1))
    whole = replace(transforms[0], rescale=tuple(pairs), bits_stored=bits)
    if bits <= whole.bits_allocated and (problem := whole.problem()):  # more: decoding says what is wrong
        raise Refused("parts_differ", f"all parts together: {problem}")
    mapped = [replace(transform, scan_range=whole.range) for transform in transforms]
    return [
        replace(part, facts=replace(part.facts, pixel_transform=transform))
        for part, transform in zip(parts, mapped, strict=True)
    ]


def _range_bits(part: DicomScan, number: int) -> int:
    try:
        return decode.range_bits(part.data, part.facts)
    except Refused as refusal:
        raise refusal.behind(f"part {number}: ") from None


def _part(file: ScanBytes, name: str) -> DicomScan:
    """Refused, with the name of the part."""
    try:
        data = file.folder(name)
        if len(data) <= COPIED:
            data = bytes(data)
        return DicomScan(data, header.parse(data))
    except FileNotFoundError:
        detail = f"{name}, a part of the scan, is not beside its first file"
        raise Refused("part_of_scan", detail, (name,)) from None
    except Refused as refusal:
        raise refusal.behind(f"{name}: ", (name,)) from None
