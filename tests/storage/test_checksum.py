"""Checksums against a second implementation, and against the published value of an empty input."""

import zlib

from hypothesis import given
from hypothesis import strategies as st

from octshard.storage import checksum


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_crc32_is_zlibs_and_continues(first: bytes, second: bytes) -> None:
    assert checksum.crc32(first) == zlib.crc32(first)
    assert checksum.crc32(memoryview(second), checksum.crc32(first)) == zlib.crc32(first + second)


def test_xxh3_of_nothing_is_the_published_value() -> None:
    """XXH3_64bits and XXH3_128bits of an empty input with seed 0, from xxHash's own sanity test."""
    assert checksum.xxh3(b"") == "2d06800538d394c2"
    assert checksum.xxh3_128(b"") == "99aa06d3014798d86001c324468d497f"


def test_one_flipped_bit_changes_every_sum() -> None:
    for sum_of in (checksum.crc32, checksum.xxh3, checksum.xxh3_128):
        assert sum_of(b"\0" * 99) != sum_of(b"\0" * 98 + b"\1")
