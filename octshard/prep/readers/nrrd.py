"""NRRD: a header of `field: value` lines, its values behind it, or in a file beside it (.nhdr).

It tells the voxel spacing, and nothing of the eye. Layout: https://teem.sourceforge.net/nrrd/format.html
"""

import math
import re
from collections.abc import Mapping

import numpy as np

from octshard.prep.readers import text_header
from octshard.prep.readers.array_scan import SAMPLES, ArrayScan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.readers.text_header import StoredValues
from octshard.prep.refusals import Refused
from octshard.storage.checksum import Buffer

MAGIC = re.compile(rb"NRRD000[1-5]\r?\n")
END = re.compile(rb"\r?\n\r?\n")
TYPES = {
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i1": ("signed char", "int8", "int8_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
DTYPES = {name: dtype for dtype, names in TYPES.items() for name in names}
PACKINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
MM = {"mm": 1.0, "um": 1e-3, "µm": 1e-3, "micron": 1e-3, "microns": 1e-3, "cm": 10.0, "m": 1e3, "": 1.0}
OTHER_UNIT = math.nan
SPATIAL = {"domain", "space", "???", "none", ""}  # kinds of an axis along which voxels lie
VECTOR = re.compile(r"none|\(([^()]*)\)")


def is_one(file: ScanBytes) -> bool:
    """True if it begins as NRRD does."""
    return MAGIC.match(bytes(file.data[:10])) is not None


def open_scan(file: ScanBytes) -> ArrayScan:
    """The array; Refused if it cannot be a scan."""
    fields, end = _header(bytes(file.data[: text_header.LONGEST]))
    axes = text_header.sizes(fields.get("dimension", ""), "dimension", 1)[0]
    shape = text_header.sizes(fields.get("sizes", ""), "sizes", axes)
    _check_kinds(fields.get("kinds", "").lower().split(), shape)
    dtype = _dtype(fields)
    packing = PACKINGS.get(fields.get("encoding", "raw").lower(), "")
    if not packing:
        raise Refused("unreadable", "its encoding is none of raw, gzip and bzip2")
    data, offset = _values_file(file, fields, end)
    skipped = fields.get("byteskip", "0")
    if packing == "raw" and skipped == "-1":
        offset = text_header.last_bytes(data, shape, dtype)
    else:
        offset = _behind_lines(
            data, offset, text_header.sizes(fields.get("lineskip", "0"), "line skip", 1)[0]
        )
        offset += text_header.sizes(skipped, "byte skip", 1)[0] if packing == "raw" else 0
    return text_header.scan_of(
        StoredValues(data, offset, shape, dtype, packing, _spacing(fields, axes)), file.axes
    )


def values_name(head: bytes) -> str:
    """The file beside it in which a header says that its values lie; empty if it names none."""
    try:
        return _header(head)[0].get("datafile", "").removeprefix("./")
    except Refused:
        return ""


def _header(head: bytes) -> tuple[Mapping[str, str], int]:
    """Values by field (names without blanks), and where the header ends: a blank line, or with the file."""
    found = END.search(head)
    if found is None and len(head) == text_header.LONGEST:
        raise Refused("unreadable", f"the header has no end in its first {text_header.LONGEST} bytes")
    text = head[: found.start() if found else len(head)].decode("utf-8", "replace")
    fields = {}
    for line in text.splitlines()[1:]:
        name, mark, value = line.partition(": ")
        if mark and not line.startswith("#") and ":=" not in name:
            fields[name.lower().replace(" ", "")] = value.strip()
    return fields, found.end() if found else len(head)


def _values_file(file: ScanBytes, fields: Mapping[str, str], end: int) -> tuple[Buffer, int]:
    name = fields.get("datafile", "")
    if not name:
        return file.data, end
    if name.startswith("LIST") or "%" in name:
        raise Refused("unreadable", "each B-scan is in a file of its own, want one file of values")
    return file.beside(name.removeprefix("./")), 0


def _behind_lines(data: Buffer, offset: int, lines: int) -> int:
    """The place behind so many lines; Refused `truncated` if there are fewer."""
    for _ in range(lines):
        place = bytes(data[offset : offset + text_header.LONGEST]).find(b"\n")
        if place < 0:
            raise Refused("truncated", "there are fewer lines than line skip says")
        offset += place + 1
    return offset


def _check_kinds(kinds: list[str], shape: tuple[int, ...]) -> None:
    """Refused for axes along which numbers of one voxel lie."""
    for kind, size in zip(kinds, shape, strict=False):
        if kind not in SPATIAL and size > 1:
            if size in SAMPLES:
                raise Refused("not_oct", f"{size} samples a pixel, want grey levels")
            raise Refused("several_volumes", f"{size} numbers for each voxel, want one")


def _dtype(fields: Mapping[str, str]) -> np.dtype:
    name = " ".join(fields.get("type", "").lower().split())
    if name not in DTYPES:
        raise Refused("unreadable", "its type is none of whole numbers and floats")
    dtype = DTYPES[name]
    order = fields.get("endian", "").lower()
    if dtype[1] != "1" and order not in ("little", "big"):
        raise Refused("unreadable", "endian is neither little nor big")
    return np.dtype((">" if order == "big" else "<") + dtype)


def _spacing(fields: Mapping[str, str], axes: int) -> tuple[float | None, ...]:
    """mm along each axis, nan in a unit that is no length; by the directions, else by the spacings."""
    lengths: list[float | None]
    if text := fields.get("spacedirections", ""):
        lengths = [_norm(found[1]) for found in VECTOR.finditer(text)]
        if len(lengths) != axes:
            raise Refused("unreadable", f"space directions holds {len(lengths)} vectors, want {axes}")
        units = _units(fields.get("spaceunits", ""))
    else:
        lengths = list(text_header.numbers(fields.get("spacings", ""), "spacings", axes))
        units = _units(fields.get("units", ""))
    units += [""] * (len(lengths) - len(units))
    return tuple(
        None if length is None else length * MM.get(unit, OTHER_UNIT)
        for length, unit in zip(lengths, units, strict=False)
    )


def _norm(vector: str | None) -> float | None:
    if vector is None:
        return None
    words = vector.replace(",", " ")
    return math.hypot(*text_header.numbers(words, "space directions", len(words.split())))


def _units(text: str) -> list[str]:
    return [unit.lower().strip() for unit in re.findall(r'"([^"]*)"', text)]
