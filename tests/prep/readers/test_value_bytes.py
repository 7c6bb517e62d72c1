"""Bytes as files: as `io.BytesIO` has them, and no more memory than there are bytes."""

import io

import pytest

from octshard.prep.readers import value_bytes
from octshard.rng import rng_for


def test_a_library_that_asks_for_what_a_header_declares_gets_what_is_there() -> None:
    file = value_bytes.open_buffer(b"0123456789")
    assert file.read(3) == b"012"
    assert file.read(2**44) == b"3456789"  # which no machine has
    assert (file.read(2**44), file.read(), file.read(None)) == (b"", b"", b"")
    file.seek(2**44)
    assert file.read(1) == b""


@pytest.mark.parametrize("seed", range(5))
def test_reads_and_seeks_are_those_of_bytes_in_memory(seed: int) -> None:
    rng = rng_for("reads", seed)
    data = rng.bytes(50_000)
    ours, theirs = value_bytes.open_buffer(data), io.BytesIO(data)
    for _ in range(200):
        at, size = int(rng.integers(60_000)), int(rng.integers(-1, 9_000))
        if rng.random() < 0.5:
            assert ours.seek(at) == theirs.seek(at)
        assert ours.read(size) == theirs.read(size)
        assert ours.tell() == theirs.tell()
