"""The bytes of a file that need not be read whole: a slice reads nothing, and `bytes` of it reads it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

PIECE = 2**20  # bytes that going through them reads at once


@dataclass(frozen=True)
class RangeBytes:
    """Bytes `start` to `stop` of a seekable file."""

    file: BinaryIO
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, part: slice) -> "RangeBytes":
        first, last, _ = part.indices(len(self))
        return RangeBytes(self.file, self.start + first, self.start + max(first, last))

    def __bytes__(self) -> bytes:
        self.file.seek(self.start)
        return self.file.read(len(self))

    def __iter__(self) -> Iterator[int]:
        for first in range(0, len(self), PIECE):
            yield from bytes(self[first : first + PIECE])
