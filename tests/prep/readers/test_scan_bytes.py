"""Files beside a file: those in its folder, and no others."""

import pytest

from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused

FILES = {"a.raw": b"1", "..raw": b"2", "a b.raw": b"3"}


@pytest.mark.parametrize("name", FILES)
def test_a_file_in_the_folder_is_read(name: str) -> None:
    assert ScanBytes(b"", "x/a.mhd", folder=FILES.__getitem__).beside(name) == FILES[name]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a.raw", "/a.raw", "b/a.raw", "..\\a.raw", "C:a.raw", "a\0.raw", "a.raw/"]
)
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    asked: list[str] = []

    def folder(name: str) -> bytes:
        asked.append(name)
        return b""

    with pytest.raises(Refused, match="unreadable: its pixels are said to lie in another folder"):
        ScanBytes(b"", folder=folder).beside(name)
    assert not asked


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(
        Refused, match=r"no_pixel_data: its pixels are said to lie in a.raw, which is not there"
    ):
        ScanBytes(b"").beside("a.raw")
