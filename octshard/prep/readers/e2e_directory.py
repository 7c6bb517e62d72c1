"""The directory of a Heidelberg .e2e or .sdb file: which pieces of data it holds, and where.

A chain of directories, each with entries that point at containers of data. Layout as uocte, LibE2E and eyepy
have found it out and publish it; little endian.
"""

import struct
from typing import NamedTuple, TypeVar

import numpy as np

from octshard.prep.readers import byte_fields
from octshard.prep.readers.range_bytes import RangeBytes
from octshard.prep.refusals import Refused
from octshard.storage.checksum import Buffer

MAGIC, PREFIX = b"CMDb", b"E2EMultipleVolumeFile"
PREFIX_BYTES = 64  # of a file with several volumes; all positions count from behind it
DIRECTORY = struct.Struct("<12s I 20x 4I")  # magic, version; number of entries, current, previous, id
DIRECTORY_MAGIC, CONTAINER_MAGIC = b"MDbDir\0", b"MDbData\0"
MAIN_AT, CONTAINER_BYTES = 36, 60
ENTRY = np.dtype(
    [
        ("pos", "<u4"), ("start", "<u4"), ("size", "<u4"), ("zero", "<u4"), ("patient", "<i4"),
        ("study", "<i4"), ("series", "<i4"), ("slice", "<i4"), ("ind", "<u2"), ("flags", "<u2"),
        ("type", "<u4"), ("id", "<u4"),
    ]
)  # fmt: skip


Body = memoryview | RangeBytes
B = TypeVar("B", memoryview, RangeBytes)


class Piece(NamedTuple):
    """A piece of data. scan: ids of patient, study and series; slice: -1 where it is about the whole scan."""

    scan: tuple[int, int, int]
    slice: int
    start: int  # of its container
    size: int  # of its content


def is_one(data: Buffer) -> bool:
    """True if the file begins as one of these."""
    return bytes(data[: len(MAGIC)]) == MAGIC or bytes(data[: len(PREFIX)]) == PREFIX


def body_of(data: B) -> B:
    """The part of the file from which positions count."""
    return data[PREFIX_BYTES if bytes(data[: len(PREFIX)]) == PREFIX else 0 :]


def pieces(body: Body, types: frozenset[int]) -> dict[int, list[Piece]]:
    """The pieces of these types; Refused `truncated`, or `unreadable` if the chain is broken."""
    found: dict[int, list[Piece]] = {kind: [] for kind in types}
    position = byte_fields.unpack(body, DIRECTORY, MAIN_AT, "the main directory")[3]
    visited: set[int] = set()
    total = 0
    while position:
        if position in visited:
            raise Refused("unreadable", f"the directory at byte {position} comes before itself")
        visited.add(position)
        magic, _, count, _, before, _ = byte_fields.unpack(body, DIRECTORY, position, "a directory")
        _check_magic(body, position, magic, DIRECTORY_MAGIC)
        first = position + DIRECTORY.size
        byte_fields.check_inside(body, first, count * ENTRY.itemsize, f"{count} entries of a directory")
        total += count
        if total * ENTRY.itemsize > len(body):
            raise Refused("unreadable", f"directories hold {total} entries, more than the file has room for")
        entries = np.frombuffer(bytes(body[first : first + count * ENTRY.itemsize]), ENTRY)
        for entry in entries[(entries["start"] > entries["pos"]) & np.isin(entries["type"], list(types))]:
            _, start, size, _, patient, study, series, part = entry.tolist()[:8]
            found[int(entry["type"])].append(Piece((patient, study, series), part, start, size))
        position = before
    return found


def check_inside(body: Body, piece: Piece, name: str) -> None:
    """Refused `truncated` if the file ends before a piece does."""
    byte_fields.check_inside(body, piece.start, CONTAINER_BYTES + piece.size, name)


def content(body: B, piece: Piece, name: str) -> B:
    """The bytes of a piece; Refused `truncated` or `unreadable`. name: what it is."""
    check_inside(body, piece, name)
    _check_magic(body, piece.start, bytes(body[piece.start : piece.start + 12]), CONTAINER_MAGIC)
    return body[piece.start + CONTAINER_BYTES :][: piece.size]


def _check_magic(body: Body, start: int, magic: bytes, wanted: bytes) -> None:
    """`truncated` where there are zeros, as at the end of a broken download."""
    if magic.startswith(wanted):
        return
    if not any(body[start:]):
        raise Refused("truncated", f"only zeros from byte {start} to the end at {len(body)}")
    name = wanted.rstrip(b"\0").decode()
    there = repr(magic[:8])
    raise Refused("unreadable", f"at byte {start} stands {there}, want {name}", (there,))
