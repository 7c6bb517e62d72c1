"""The bytes of a file, and its checksums by other libraries."""

import dataclasses
import zlib

import pytest
import xxhash

from octshard.prep.convert.source_file import FileFacts, read_file
from octshard.prep.refusals import Refused
from tests.support.memory_source import MemorySource, entry


@pytest.mark.parametrize("data", [b"", b"DICM", bytes(range(256)) * 100])
def test_size_and_checksums(data: bytes) -> None:
    file = read_file(entry("a.dcm"), MemorySource({"a.dcm": data}))
    assert file.data == data
    assert file.facts == FileFacts(len(data), zlib.crc32(data), xxhash.xxh3_128(data).hexdigest())


def test_a_file_that_is_not_there_or_not_named_is_missing() -> None:
    with pytest.raises(Refused, match=r"^missing_file: no object at a\.dcm$"):
        read_file(entry("a.dcm"), MemorySource({}))
    with pytest.raises(Refused, match=r"^missing_file: the manifest names no file$"):
        read_file(dataclasses.replace(entry("a.dcm"), path=""), MemorySource({"": b"data"}))
