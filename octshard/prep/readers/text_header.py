"""What MetaImage and NRRD have in common: a header of text, values raw or packed, perhaps in another file.

No library: SimpleITK is large, and reads whole files from paths of its own; these headers are a few lines.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np

from octshard.imaging.volume import product
from octshard.prep.readers import array_scan, value_bytes
from octshard.prep.readers.array_scan import ArrayScan, Stack
from octshard.prep.refusals import Refused
from octshard.storage.checksum import Buffer

AXES = "whd"  # x, y, z as SimpleITK and ITK-SNAP write B-scans
LONGEST = 2**16  # bytes of a header


@dataclass(frozen=True, eq=False)
class StoredValues:
    """Where the values of an array lie. packing: raw, gzip, zlib or bzip2; spacing_mm: along its axes."""

    data: Buffer
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype
    packing: str = "raw"
    spacing_mm: tuple[float | None, ...] = ()


def scan_of(values: StoredValues, axes: str) -> ArrayScan:
    """The array as a scan, its first axis the fastest; Refused if it cannot be one."""
    shape, dtype = values.shape, values.dtype
    places = array_scan.volume_axes(shape, axes or AXES)
    count = value_bytes.value_count(shape, dtype)
    if values.packing == "raw":
        value_bytes.values_at(values.data, values.offset, shape, dtype, fortran=True)

    def load() -> Stack:
        data, start = values.data, values.offset
        if values.packing != "raw":
            data, start = value_bytes.read_exactly(lambda: _unpacked(values), count), 0
        array = np.frombuffer(data, dtype, product(shape), start).reshape(shape, order="F")
        return array_scan.to_volume(array, places)

    told = [values.spacing_mm[axis] if 0 <= axis < len(values.spacing_mm) else None for axis in places]
    measures = [array_scan.file_measures(told)]
    facts = array_scan.array_facts(array_scan.volume_shape(shape, places), dtype, measures)
    return ArrayScan(facts, dtype, load)


def numbers(text: str, key: str, count: int) -> tuple[float, ...]:
    """The numbers of a header's value, so many or none; Refused `unreadable`."""
    if (words := len(text.split())) not in (0, count):
        raise Refused("unreadable", f"{key} holds {words} numbers, want {count}")
    try:
        return tuple(float(word) for word in text.split())
    except ValueError:
        raise Refused("unreadable", f"{key} holds no numbers") from None


def sizes(text: str, key: str, axes: int) -> tuple[int, ...]:
    """As many lengths as there are axes; Refused `unreadable`."""
    words = text.split()
    if len(words) != axes or not all(word.isascii() and word.isdigit() and len(word) < 16 for word in words):
        raise Refused("unreadable", f"{key} is not {axes} whole {'number' if axes == 1 else 'numbers'}")
    return tuple(map(int, words))


def last_bytes(data: Buffer, shape: Sequence[int], dtype: np.dtype) -> int:
    """Where values begin that end with the file; Refused `truncated` if it is too short."""
    count = value_bytes.value_count(shape, dtype)
    value_bytes.check_size(min(len(data), count), count)
    return len(data) - count


def _unpacked(values: StoredValues) -> IO[bytes]:
    data = memoryview(values.data)[values.offset :]
    if values.packing == "bzip2":
        return value_bytes.bunzip2(data)
    if values.packing == "gzip":
        return value_bytes.gunzip(data)
    return value_bytes.inflate(data)
