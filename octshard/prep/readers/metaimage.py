"""MetaImage (ITK): a header of `key = value` lines, values behind it (.mha) or in a file beside it (.mhd).

It tells the voxel spacing, and nothing of the eye. Layout: the MetaIO documentation of ITK.
"""

import re
from collections.abc import Mapping

import numpy as np

from octshard.prep.readers import text_header
from octshard.prep.readers.array_scan import SAMPLES, ArrayScan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.readers.text_header import StoredValues
from octshard.prep.refusals import Refused

BEGINS = re.compile(rb"\s*(ObjectType|NDims|Comment)\s*=")
TYPES = {  # MetaIO's long has four bytes on every machine
    "MET_UCHAR": "u1", "MET_CHAR": "i1", "MET_USHORT": "u2", "MET_SHORT": "i2", "MET_UINT": "u4",
    "MET_INT": "i4", "MET_ULONG": "u4", "MET_LONG": "i4", "MET_ULONG_LONG": "u8", "MET_LONG_LONG": "i8",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
LAST = "ElementDataFile"  # the key of the last line
LOCAL = "LOCAL"


def is_one(file: ScanBytes) -> bool:
    """True if it begins as a header that names its values."""
    head = bytes(file.data[: text_header.LONGEST])
    return BEGINS.match(head) is not None and LAST.encode() in head


def open_scan(file: ScanBytes) -> ArrayScan:
    """The array; Refused if it cannot be a scan."""
    keys, end = _header(bytes(file.data[: text_header.LONGEST]))
    if keys.get("ObjectType", "Image").lower() != "image":
        raise Refused("not_oct", "the MetaImage header is of another object than an image")
    if keys.get("BinaryData", "True").lower() != "true":
        raise Refused("unreadable", "values are written as text (BinaryData), want bytes")
    _check_channels(keys.get("ElementNumberOfChannels", "1"))
    axes = text_header.sizes(keys.get("NDims", ""), "NDims", 1)[0]
    shape = text_header.sizes(keys.get("DimSize", ""), "DimSize", axes)
    dtype = _dtype(keys)
    data, offset = file.data, end
    if (name := keys[LAST]) != LOCAL:
        if name.startswith("LIST") or "%" in name:
            raise Refused("unreadable", "each B-scan is in a file of its own, want one file of values")
        data, offset = file.beside(name), 0
    packing = "zlib" if keys.get("CompressedData", "False").lower() == "true" else "raw"
    skipped = keys.get("HeaderSize", "0")
    if packing == "raw" and skipped == "-1":
        offset = text_header.last_bytes(data, shape, dtype)
    elif skipped != "-1":
        offset += text_header.sizes(skipped, "HeaderSize", 1)[0]
    spacing = keys.get("ElementSpacing") or keys.get("ElementSize", "")
    told = text_header.numbers(spacing, "ElementSpacing", axes)
    return text_header.scan_of(StoredValues(data, offset, shape, dtype, packing, told), file.axes)


def values_name(head: bytes) -> str:
    """The file beside it in which a header says that its values lie; empty if it names none."""
    try:
        name = _header(head)[0][LAST]
    except Refused:
        return ""
    return "" if name == LOCAL else name


def _header(head: bytes) -> tuple[Mapping[str, str], int]:
    """Values by key, and where the header ends."""
    keys: dict[str, str] = {}
    offset = 0
    while (stop := head.find(b"\n", offset)) >= 0 or offset < len(head):
        stop = len(head) if stop < 0 else stop
        key, mark, value = head[offset:stop].decode("latin-1").partition("=")
        offset = min(stop + 1, len(head))
        if mark:
            keys[key.strip()] = value.strip()
            if key.strip() == LAST:
                return keys, offset
    raise Refused("truncated", f"the header ends without {LAST}")


def _check_channels(text: str) -> None:
    (channels,) = text_header.sizes(text, "ElementNumberOfChannels", 1)
    if channels in SAMPLES:
        raise Refused("not_oct", f"{channels} samples a pixel, want grey levels")
    if channels != 1:
        raise Refused("several_volumes", f"{channels} numbers for each voxel, want one")


def _dtype(keys: Mapping[str, str]) -> np.dtype:
    name = keys.get("ElementType", "").upper()
    if name not in TYPES:
        raise Refused("unreadable", "ElementType is none of MetaIO's for one number a voxel")
    msb = keys.get("BinaryDataByteOrderMSB") or keys.get("ElementByteOrderMSB") or "False"
    return np.dtype((">" if msb.lower() == "true" else "<") + TYPES[name])
