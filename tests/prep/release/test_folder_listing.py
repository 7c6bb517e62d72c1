"""The listing of a folder that is one scan: as people count, and both directions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octshard.prep.refusals import Refused
from octshard.prep.release import folder_listing
from octshard.prep.release.folder_listing import HEADER, Image

NAMES = ["10.png", "2.png", "1.png", "b10.png", "b9.png", "a.png", "B11.png"]


def test_names_come_as_people_count_whatever_the_order_of_the_store() -> None:
    listing = folder_listing.write(Image(name, len(name)) for name in NAMES)
    ordered = ["1.png", "2.png", "10.png", "a.png", "b9.png", "b10.png", "B11.png"]
    assert [image.name for image in folder_listing.read(listing)] == ordered
    assert folder_listing.write(Image(name, len(name)) for name in reversed(NAMES)) == listing
    assert folder_listing.total_bytes(folder_listing.read(listing)) == sum(map(len, NAMES))


@given(st.dictionaries(st.text(min_size=1), st.integers(0, 2**40)))
def test_any_names_go_round(sizes: dict[str, int]) -> None:
    images = {Image(name, size) for name, size in sizes.items()}
    assert set(folder_listing.read(folder_listing.write(images))) == images


@pytest.mark.parametrize("name", ["1.png", "1.BMP", "a.jpeg", "x.nii.gz", "1.tiff"])
def test_an_image_is_told_by_its_ending(name: str) -> None:
    assert folder_listing.is_image(name)


@pytest.mark.parametrize(
    "name", [".DS_Store", "._1.png", ".1.png", "Thumbs.db", "notes.txt", "png", "1.png.txt"]
)
def test_hidden_and_other_files_are_no_images(name: str) -> None:
    assert not folder_listing.is_image(name)


@pytest.mark.parametrize(
    "lines", [b"{", b"[1]", b"[1, 2]", b'["a", "b"]', b'["a", 1, 2]', b"\xff", b"[" * 5000]
)
def test_a_damaged_listing_is_refused(lines: bytes) -> None:
    with pytest.raises(Refused, match=r"unreadable: the listing of the folder is damaged"):
        folder_listing.read(HEADER + lines + b"\n")
