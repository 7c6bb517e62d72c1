"""A folder of B-scans that is one scan: a file for each, in any format of one frame, by the numbers in names.

What it tells of spacing is what its files say of rows and columns; PNG, BMP and JPEG say nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from octshard.prep.dicom import signatures
from octshard.prep.readers import array_scan, image, image_series, metaimage, nifti, npy, nrrd, tiff
from octshard.prep.readers.array_scan import ArrayScan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from octshard.prep.release import folder_listing, scan_path
from octshard.prep.release.folder_listing import Image
from octshard.prep.scan_facts import PixelMeasures

READERS = (image, tiff, npy, nifti, metaimage, nrrd)
MOST_IMAGES, MOST_BYTES = 10_000, 2**32  # of one scan; all its images are held in memory
NUMBERS = "the number in the images' names"
SAME_MM = 0.01  # share by which files of one scan may differ in what they say of a pixel


@dataclass(frozen=True, eq=False)
class Images:
    """One frame of each file, decoded one at a time."""

    names: Sequence[str]
    scans: Mapping[str, ArrayScan]

    def __getitem__(self, index: int, /) -> np.ndarray:
        """As `Stack`."""
        name = self.names[index]
        try:
            return self.scans[name].load()[0]  # not kept: of packed ones that would be the whole volume
        except Refused as refusal:
            raise _of(name, refusal) from None


def is_one(file: ScanBytes) -> bool:
    """True for the listing of a folder."""
    return scan_path.is_folder(file.name) and folder_listing.is_one(file.data)


def open_scan(file: ScanBytes) -> ArrayScan:
    """The images as frames; Refused if they are not all alike, or not one series."""
    images = folder_listing.read(file.data)
    series = image_series.series_of([entry.name for entry in images])
    members = set(series.names)
    _check_size([entry for entry in images if entry.name in members])
    scans: dict[str, ArrayScan] = {}
    for name in series.names:
        scans[name] = scan = _opened(file, name)
        _check_alike(name, scan, series.names[0], scans[series.names[0]])
    first = scans[series.names[0]]
    numbers_F = np.array(series.numbers, np.float64)
    facts = replace(
        array_scan.array_facts((len(scans), first.facts.rows, first.facts.cols), first.dtype),
        measures=_measures([scan.facts.measures for scan in scans.values()]),
        placement=replace(array_scan.NOWHERE, numbers_F=numbers_F, numbered_by=NUMBERS),
        left_out=series.others,
    )
    return ArrayScan(facts, first.dtype, lambda: Images(series.names, scans))


def _check_size(images: Sequence[Image]) -> None:
    """Refused `too_large` before anything is read."""
    total = folder_listing.total_bytes(images)
    if len(images) > MOST_IMAGES or total > MOST_BYTES:
        most = f"want at most {MOST_IMAGES} of {MOST_BYTES} bytes together"
        raise Refused("too_large", f"{len(images)} images of {total} bytes, {most}")


def _opened(file: ScanBytes, name: str) -> ArrayScan:
    """An image of the folder; Refused as its reader does, or if it holds no single frame."""
    try:
        data = file.find(name)
        if data is None:
            raise Refused("no_pixel_data", "the folder lists it, but it is no file that can be read")
        # a copy: what is mapped keeps a file open, and a process may not have so many
        one = ScanBytes(bytes(data), name, file.axes)
        if not one.data:
            raise Refused("truncated", "the image has 0 bytes")
        reader = next((reader for reader in READERS if reader.is_one(one)), None)
        if reader is None:
            detail, private = signatures.describe(one.data), signatures.beginning(one.data)
            raise Refused("unreadable", f"no image: {detail}", (private,))
        scan = reader.open_scan(one)
        if scan.facts.frames != 1:
            raise Refused("several_volumes", f"{scan.facts.frames} frames, want one B-scan in each file")
    except Refused as refusal:
        raise _of(name, refusal) from None
    return scan


def _of(name: str, refusal: Refused) -> Refused:
    return refusal.behind(f"{name}: ", (name,))


def _check_alike(name: str, scan: ArrayScan, first_name: str, first: ArrayScan) -> None:
    shapes = [(s.facts.rows, s.facts.cols, s.dtype.newbyteorder("=")) for s in (scan, first)]
    if shapes[0] != shapes[1]:
        texts = [f"{rows} x {cols} of {dtype}" for rows, cols, dtype in shapes]
        detail = f"{name} is {texts[0]}, {first_name} is {texts[1]}; want images that are alike"
        raise Refused("unreadable", detail, (name, first_name))


def _measures(measures_F: Sequence[Sequence[PixelMeasures]]) -> tuple[PixelMeasures, ...]:
    """What the first file says of rows and columns; none can know the step to the next."""
    planes = [measures[0].pixel_mm if measures else None for measures in measures_F]
    if not measures_F[0]:
        return ()
    first = replace(measures_F[0][0], thickness_mm=None, spacing_between_slices_mm=None)
    return (replace(first, varies=any(not _same(plane, planes[0]) for plane in planes)),)


def _same(plane_mm: tuple[float, float] | None, other_mm: tuple[float, float] | None) -> bool:
    if plane_mm is None or other_mm is None:
        return plane_mm is other_mm
    return all(abs(mm - other) <= SAME_MM * other for mm, other in zip(plane_mm, other_mm, strict=True))
