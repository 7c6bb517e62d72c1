"""Slices of a file as those of bytes, and what they read."""

import io
from collections.abc import Iterator

import pytest

from octshard.prep.readers import range_bytes
from octshard.prep.readers.range_bytes import RangeBytes

DATA = bytes(range(100))


class Counted(io.BytesIO):
    """Keeps the ranges that are read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.ranges: list[tuple[int, int]] = []

    def read(self, size: int | None = -1) -> bytes:
        self.ranges.append((self.tell(), size or 0))
        return super().read(size)


def slices() -> Iterator[slice]:
    for first in (None, 0, 3, 60, 100, 150, -5):
        for last in (None, 0, 2, 61, 100, 150, -3):
            yield slice(first, last)


@pytest.mark.parametrize("part", list(slices()))
def test_a_slice_is_that_of_bytes_and_reads_when_it_is_asked_for(part: slice) -> None:
    file = Counted(DATA)
    whole = RangeBytes(file, 10, 90)
    cut = whole[part]
    assert (len(cut), file.ranges) == (len(DATA[10:90][part]), [])
    assert bytes(cut) == DATA[10:90][part]
    assert bytes(cut[1:][:4]) == DATA[10:90][part][1:][:4]
    assert all(start >= 10 and start + size <= 90 for start, size in file.ranges)


def test_going_through_it_reads_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_bytes, "PIECE", 30)
    file = Counted(DATA)
    assert bytes(iter(RangeBytes(file, 5, 95))) == DATA[5:95]
    assert file.ranges == [(5, 30), (35, 30), (65, 30)]
    file.ranges.clear()
    assert any(RangeBytes(file, 1, 100))
    assert file.ranges == [(1, 30)]
