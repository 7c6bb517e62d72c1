"""Chains of pages: those that tifffile writes are walked as it walks them, others end."""

import io
import struct

import numpy as np
import pytest
import tifffile

from octshard.prep.readers import tiff_directory
from octshard.prep.refusals import Refused


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_pages_lie_where_tifffile_says(bigtiff: bool, byteorder: str) -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((5, 8, 9), np.uint8), bigtiff=bigtiff, byteorder=byteorder)
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as opened:
        expected = [page.offset for page in opened.pages]
    assert tiff_directory.page_offsets(file.getvalue()) == expected


def directory(*entries: tuple[int, int, int, int], onward: int) -> bytes:
    packed = b"".join(struct.pack("<HHLL", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + packed + struct.pack("<L", onward)


def test_a_circle_ends() -> None:
    for onward in (8, 14):
        data = b"II*\0\x08\0\0\0" + directory(onward=14) + directory(onward=onward)
        with pytest.raises(Refused, match=r"^unreadable: its pages lead in a circle"):
            tiff_directory.page_offsets(data)


def test_more_pages_than_any_scan_has_end() -> None:
    count = tiff_directory.MOST_PAGES + 1
    chain = b"".join(directory(onward=14 + 6 * i) for i in range(count))
    with pytest.raises(Refused, match=r"^unreadable: .* more than 10000$"):
        tiff_directory.page_offsets(b"II*\0\x08\0\0\0" + chain)


def test_tags_that_share_bytes_end() -> None:
    entry = (273, 4, 30, 8)  # 120 bytes; the file has 116
    chain = b"".join(directory(entry, onward=26 + 18 * i if i < 5 else 0) for i in range(6))
    with pytest.raises(Refused, match=r"^unreadable: tags up to page 2 hold more bytes than the file$"):
        tiff_directory.page_offsets(b"II*\0\x08\0\0\0" + chain)


@pytest.mark.parametrize("cut", [4, 8, 9, 13])
def test_a_chain_that_leaves_the_file_is_cut_off(cut: int) -> None:
    data = b"II*\0\x08\0\0\0" + directory(onward=0)
    with pytest.raises(Refused, match=rf"^truncated: its directory of pages goes on at byte \d+ of {cut}$"):
        tiff_directory.page_offsets(data[:cut])
