"""NIfTI-1 and -2, one file or header and image, gzipped or not: nibabel reads the header, and nothing else.

It tells voxel sizes, by its affine and by pixdim, and nothing of the eye.
"""

import gzip
import math
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from octshard.imaging.volume import product
from octshard.prep.readers import array_scan, value_bytes
from octshard.prep.readers.array_scan import ArrayScan, Stack
from octshard.prep.readers.missing_library import missing_library
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from octshard.prep.scan_facts import PixelMeasures
from octshard.storage.checksum import Buffer

AXES = "whd"  # x, y, z as SimpleITK and ITK-SNAP write B-scans
HEADERS = {348: "Nifti1Header", 540: "Nifti2Header"}  # by the first number, which is their length
GZIP = b"\x1f\x8b"
MM = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}  # of a unit by its code; writers that say none mean mm
UNIT = 7  # the bits of xyzt_units that hold it
SINGLE = 4  # bytes of a number of version 1
LONGEST = 2**24  # bytes before the values, extensions too


@dataclass(frozen=True, eq=False)
class Scaled:
    """Stored numbers as the values that they stand for."""

    stored: Stack
    slope: float
    intercept: float

    def __getitem__(self, index: int, /) -> np.ndarray:
        """As `Stack`."""
        return self.stored[index].astype(np.float64) * self.slope + self.intercept


def is_one(file: ScanBytes) -> bool:
    """True for a header of either version, or gzip of one."""
    head = _head(file.data)
    return bool(_header_bytes(head)) and (head[344:347] in (b"n+1", b"ni1") or head[4:7] in (b"n+2", b"ni2"))


def open_scan(file: ScanBytes) -> ArrayScan:
    """The array; Refused if it cannot be a scan."""
    nibabel = _nibabel()
    head = _head(file.data)
    length = _header_bytes(head)
    if len(head) < length:
        raise Refused("truncated", f"the file ends after {len(head)} of the {length} bytes of its header")
    damage = (nibabel.spatialimages.HeaderDataError, nibabel.wrapstruct.WrapStructError)
    try:
        with np.errstate(all="ignore"):
            return _scan(file, nibabel, getattr(nibabel, HEADERS[length])(head[:length], check=False))
    except (*damage, ValueError, KeyError, OverflowError, np.linalg.LinAlgError) as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
        raise Refused("unreadable", f"the header is damaged ({text})", (text,)) from None


def _scan(file: ScanBytes, nibabel: Any, header: Any) -> ArrayScan:
    shape, dtype = tuple(int(n) for n in header.get_data_shape()), header.get_data_dtype()
    axes = array_scan.volume_axes(shape, file.axes or AXES)
    array_scan.check_dtype(dtype)
    count = value_bytes.value_count(shape, dtype)
    slope, intercept = header.get_slope_inter()
    data, offset = _pixels(file, header)

    def load() -> Stack:
        values, start = data, offset
        if bytes(data[:2]) == GZIP:
            values, start = value_bytes.read_exactly(lambda: value_bytes.gunzip(data), count, offset), 0
        array = np.frombuffer(values, dtype, product(shape), start).reshape(shape, order="F")
        volume = array_scan.to_volume(array, axes)
        return volume if slope in (None, 1) and not intercept else Scaled(volume, slope, intercept)

    if bytes(data[:2]) != GZIP:
        value_bytes.values_at(data, offset, shape, dtype, fortran=True)
    facts = array_scan.array_facts(
        array_scan.volume_shape(shape, axes), dtype, _measures(nibabel, header, axes)
    )
    return ArrayScan(facts, dtype if slope in (None, 1) and not intercept else np.dtype(np.float64), load)


def _pixels(file: ScanBytes, header: Any) -> tuple[Buffer, int]:
    """The bytes, perhaps gzipped, in which the values begin at an offset."""
    offset = float(header["vox_offset"])
    if not 0 <= offset <= LONGEST or offset != int(offset):
        raise Refused("unreadable", f"vox_offset {offset:g}, want a whole number to {LONGEST}")
    if bytes(header["magic"]).startswith(b"ni"):
        name = file.name.rpartition("/")[2].removesuffix(".gz").removesuffix(".hdr")
        try:
            return file.beside(f"{name}.img"), int(offset)
        except Refused as missing:
            with suppress(Refused):
                return file.beside(f"{name}.img.gz"), int(offset)
            raise missing from None
    first = header.single_vox_offset
    if 0 < offset < first - 4:  # some writers leave out the four bytes that tell extensions
        raise Refused("unreadable", f"vox_offset {offset:g}, want {first} or more")
    return file.data, int(offset) or first


def _measures(nibabel: Any, header: Any, axes: Sequence[int]) -> list[PixelMeasures]:
    """By the affine where the file has one, and by pixdim, where that says something else."""
    unit = MM.get(int(header["xyzt_units"]) & UNIT, math.nan)
    single = header["pixdim"].dtype.itemsize == SINGLE
    sizes = [header.get_zooms()]
    if header["sform_code"] > 0 or header["qform_code"] > 0:
        sizes.insert(0, nibabel.affines.voxel_sizes(header.get_best_affine()))
    measures = []
    for by_axis in sizes:
        told = [_written(by_axis[axis], single) * unit if 0 <= axis < len(by_axis) else None for axis in axes]
        measures.append(array_scan.file_measures(told))
    return list(dict.fromkeys(measures))


def _written(size: float, single: bool) -> float:
    """The number that a writer had before it became single precision: the shortest that becomes that."""
    return float(str(np.float32(size))) if single else float(size)


def _head(data: Buffer) -> bytes:
    """The first bytes, inflated if they are gzip."""
    head = bytes(data[: max(HEADERS)])
    if head[:2] != GZIP:
        return head
    try:
        return value_bytes.gunzip(data).read(max(HEADERS))
    except EOFError:
        return _begun(data)
    except (OSError, zlib.error, gzip.BadGzipFile):
        return b""


def _begun(data: Buffer) -> bytes:
    """What can be inflated of gzip that is cut off."""
    try:
        return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(data, max(HEADERS))
    except zlib.error:
        return b""


def _header_bytes(head: bytes) -> int:
    """The length of the header that the bytes begin with; 0 if it is none."""
    lengths = [int.from_bytes(head[:4], order) for order in ("little", "big")]  # type: ignore[arg-type]
    return next((length for length in lengths if length in HEADERS), 0)


def _nibabel() -> Any:
    try:
        import nibabel
    except ImportError:
        raise missing_library("nibabel", "nifti") from None
    return nibabel
