"""Fields at places of a file's bytes: read within its bounds, or Refused as what the file then is."""

import struct
from collections.abc import Sized
from typing import Any

from octshard.prep.readers.range_bytes import RangeBytes
from octshard.prep.refusals import Refused
from octshard.storage.checksum import Buffer


def unpack(data: Buffer | RangeBytes, layout: struct.Struct, start: int, name: str) -> tuple[Any, ...]:
    """The numbers and bytes of `layout` from byte `start`; Refused `truncated` if the file ends before."""
    check_inside(data, start, layout.size, name)
    return layout.unpack(bytes(data[start : start + layout.size]))


def unpack_part(part: Buffer | RangeBytes, layout: struct.Struct, start: int, name: str) -> tuple[Any, ...]:
    """As `unpack`, of a part of the file that says its own size; Refused `unreadable` if it is too small."""
    if start + layout.size > len(part):
        raise Refused("unreadable", f"{name}: {len(part)} bytes, want {start + layout.size} at least")
    return layout.unpack(bytes(part[start : start + layout.size]))


def check_inside(data: Sized, start: int, size: int, name: str, private: str = "") -> None:
    """Refused `truncated` if `size` bytes from `start` are not all in the file. name: what they are."""
    if start + size > len(data):
        detail = f"{name}: bytes {start} to {start + size}, the file ends at {len(data)}"
        raise Refused("truncated", detail, (private,))


def text(field: bytes) -> str:
    """ASCII up to the first zero byte, without what does not print."""
    letters = field.split(b"\0", 1)[0].decode("ascii", "ignore")
    return "".join(letter for letter in letters if letter.isprintable()).strip()
