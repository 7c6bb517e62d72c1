"""Bytes of an array's values: as they lie in a file, or inflated, as many as a header declares and no more.

Memory grows with what is there, never with what is declared.
"""

import bz2
import gzip
import io
import zlib
from collections.abc import Callable, Sequence
from typing import IO

import numpy as np

from octshard.imaging.volume import product
from octshard.prep.refusals import Refused
from octshard.storage.checksum import Buffer

PIECE = 2**20  # bytes read at once
FEED = 2**16  # bytes given to an inflater at once
ANY_WBITS = 32 + zlib.MAX_WBITS  # zlib or gzip, whichever it is
RATIO, FREELY = 1_100, 2**26  # bytes a packed one can become (deflate's most), and bytes allowed at any ratio
MOST_AXES = 32  # of an array that NumPy can hold, at least


class BufferFile(io.RawIOBase):
    """Bytes in memory as a file that is read, without a copy."""

    def __init__(self, data: Buffer) -> None:
        self._data, self._at = memoryview(data), 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """As files do."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._data)}[whence]
        if start + offset < 0:
            raise ValueError(f"seek to {start + offset}")
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        """The place of the next byte."""
        return self._at

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """As many bytes as there are and have room."""
        piece = self._data[self._at : self._at + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


class BufferReader(io.BufferedReader):
    """`BufferFile` with read-ahead. Asked for more bytes than there are, it takes no memory for these."""

    def __init__(self, data: Buffer) -> None:
        super().__init__(BufferFile(data))
        self._size = len(data)

    def read(self, size: int | None = -1, /) -> bytes:
        """As files do."""
        rest = max(0, self._size - self.tell())
        return super().read(rest if size is None or size < 0 else min(size, rest))


def open_buffer(data: Buffer) -> BufferReader:
    """The bytes as a file."""
    return BufferReader(data)


def gunzip(data: Buffer) -> IO[bytes]:
    """The inflated content of gzip, of one member or several, as a file."""
    return gzip.GzipFile(fileobj=open_buffer(data))  # type: ignore[return-value]


def bunzip2(data: Buffer) -> IO[bytes]:
    """The same of bzip2."""
    return bz2.BZ2File(open_buffer(data))  # type: ignore[return-value]


class _Inflater(io.RawIOBase):
    """zlib or gzip as a file: as much is inflated as is asked for."""

    def __init__(self, data: Buffer) -> None:
        self._data, self._at, self._engine = data, 0, zlib.decompressobj(ANY_WBITS)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        while not self._engine.eof:
            feed = self._engine.unconsumed_tail
            if not feed:
                feed = bytes(self._data[self._at : self._at + FEED])
                self._at += len(feed)
            if not feed:
                raise EOFError
            if piece := self._engine.decompress(feed, len(buffer)):
                buffer[: len(piece)] = piece
                return len(piece)
        return 0


def inflate(data: Buffer) -> IO[bytes]:
    """The inflated content of zlib or gzip, as a file."""
    return io.BufferedReader(_Inflater(data))


def read_exactly(open_file: Callable[[], IO[bytes]], count: int, skipped: int = 0) -> bytearray:
    """`count` bytes behind the first `skipped`; Refused as `check_size`, or `decoder_error` if damaged."""
    content = bytearray()
    try:
        with open_file() as file:
            while len(content) < skipped + count and (
                piece := file.read(min(PIECE, skipped + count - len(content)))
            ):
                content += piece
            more = len(file.read(PIECE).rstrip(b"\0"))
    except EOFError:
        raise Refused("truncated", "its compressed data is cut off") from None
    except (OSError, ValueError, zlib.error) as error:
        text = " ".join(str(error).split())
        raise Refused("decoder_error", f"compressed data: {text}", (text,)) from None
    check_size(len(content) + more - skipped, count)
    del content[:skipped]
    return content


def check_ratio(packed: int, declared: int, where: str = "") -> None:
    """Refused `decoder_error` if no packing makes so few bytes of so many."""
    if declared > max(FREELY, RATIO * packed):
        raise Refused("decoder_error", f"{where}{packed} bytes cannot become the {declared} declared")


def check_size(stored: int, declared: int) -> None:
    """Refused `truncated` if bytes are missing, `unreadable` if there are more than are declared."""
    if stored < declared:
        raise Refused("truncated", f"{max(0, stored)} bytes of values, want {declared}")
    if stored > declared:
        raise Refused(
            "unreadable", f"{stored - declared} bytes or more behind its {declared} bytes of values"
        )


def values_at(
    data: Buffer, offset: int, shape: Sequence[int], dtype: np.dtype, *, fortran: bool
) -> np.ndarray:
    """The array whose values begin at `offset` of the bytes, a view; zeros may follow it."""
    count = value_count(shape, dtype)
    stored = len(data) - offset
    if stored > count and not any(data[offset + count : offset + count + PIECE]):
        stored = count
    check_size(stored, count)
    flat = np.frombuffer(data, dtype, product(shape), offset) if count else np.empty(0, dtype)
    return flat.reshape(tuple(shape), order="F" if fortran else "C")


def value_count(shape: Sequence[int], dtype: np.dtype) -> int:
    """Bytes of an array of this shape; Refused `unreadable` for what is no shape."""
    if len(shape) > MOST_AXES or any(n < 0 for n in shape):
        raise Refused("unreadable", f"an array of {len(shape)} axes, of lengths {tuple(shape[:8])}")
    return product(shape) * dtype.itemsize
