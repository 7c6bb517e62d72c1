"""Shards that lie: tar headers, pax, sparse members and links, hostile JSON, zstd frames that hold too much.

Three samples, `s-0` to `s-2`; the damage is to one of them or between them. The header's own checksum is
mended, so that the lie is read.
"""

import tarfile
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from octshard.dataset import shard
from octshard.rng import rng_for
from tests.support.damage.case import Rng

SHAPE = (4, 12, 10)
BLOCK = 512


class TarDamage(NamedTuple):
    """A damaged shard: the slices of its samples, and the whole."""

    text: str
    slices: tuple[bytes, ...]  # as a table that agrees with the damage would have them
    data: bytes


Mutator = Callable[[list[bytes], Rng], TarDamage]


def voxels(number: int) -> np.ndarray:
    """Of sample `number` before damage."""
    return np.sort(rng_for("shard", number).integers(0, 256, SHAPE, np.uint8), axis=1)


@lru_cache
def sound() -> tuple[bytes, ...]:
    """The slices of the three samples."""
    return tuple(shard.pack(f"s-{i}", {"spacing_mm": [1.0, 1.0, 1.0]}, voxels(i), 3) for i in range(3))


def whole(slices: list[bytes], text: str, end: bytes = bytes(2 * BLOCK)) -> TarDamage:
    """The tar of these slices."""
    return TarDamage(text, tuple(slices), b"".join(slices) + end)


def member(
    name: str, data: bytes, *, kind: bytes = b"0", size: int | bytes | None = None, link: str = ""
) -> bytes:
    """One member; size: what its header claims, a number in octal or the very bytes of the field."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.type, info.linkname = len(data), 0o644, kind, link
    head = bytearray(info.tobuf(tarfile.USTAR_FORMAT, "ascii", "replace"))
    if size is not None:
        field = size if isinstance(size, bytes) else b"%011o\0" % size
        head[124:136] = field.ljust(12, b"\0")[:12]
    return summed(head) + data + bytes(-len(data) % BLOCK)


def summed(head: bytearray) -> bytes:
    """A header with the checksum that belongs to it."""
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)
