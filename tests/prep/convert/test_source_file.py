"""The bytes of a file, and its checksums by other libraries."""

import dataclasses
import zlib

import pytest
import xxhash

from octshard.prep.convert.source_file import Companions, FileFacts, read_file
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


def test_files_with_one_header_and_other_companions_have_other_digests() -> None:
    source = MemorySource({"p/1/a.raw": b"1", "p/2/a.raw": b"2", "a.raw": b"1"})
    digests = []
    for path in ("p/1/a.mhd", "p/2/a.mhd", "a.mhd"):
        companions = Companions(entry(path), source)
        assert companions.joint_xxh3("own") == "own"
        companions.read("a.raw")
        digests.append(companions.joint_xxh3("own"))
    assert digests[0] == digests[2] != digests[1]
    with pytest.raises(FileNotFoundError):
        Companions(entry("p/1/a.mhd"), source).read("b.raw")


def test_a_folder_without_its_slash_is_told_of_it() -> None:
    source = MemorySource({"OCT/7/1.png": b"1"})
    with pytest.raises(Refused, match=r"no object at OCT/7; a folder that is one scan has a / at its end$"):
        read_file(dataclasses.replace(entry("a"), path="OCT/7"), source)
    assert read_file(dataclasses.replace(entry("a"), path="OCT/7/"), source).facts.source_bytes == 1


def test_a_row_has_no_digest_of_the_names_in_a_private_folder() -> None:
    """Who guesses names and sizes would see that he is right. Those of a file are of its content."""
    source = MemorySource({"OCT/7/1.png": b"1", "OCT/a.npy": b"2"})
    folder, file = (dataclasses.replace(entry("a"), path=path) for path in ("OCT/7/", "OCT/a.npy"))
    for listed in (folder, file):
        facts = read_file(listed, source).facts
        assert facts.for_row(listed) == facts._asdict()
    facts = read_file(folder, source).facts
    private = facts.for_row(dataclasses.replace(folder, source_id="s1"))
    assert private == {"source_bytes": 1, "source_crc32": None, "source_xxh3": ""}
    facts = read_file(file, source).facts
    assert facts.for_row(dataclasses.replace(file, source_id="s1")) == facts._asdict()
