"""Which names are the B-scans of one scan."""

import pytest

from octshard.prep.readers.image_series import Series, series_of
from octshard.prep.refusals import Refused


def test_names_that_differ_in_one_number_are_a_series_in_its_order() -> None:
    names = ["scan2_0010.PNG", "scan2_0009.png", "scan2_0011.png"]
    assert series_of(names) == Series(("scan2_0009.png", "scan2_0010.PNG", "scan2_0011.png"), (9, 10, 11), ())


def test_two_spellings_of_an_ending_are_one() -> None:
    assert series_of(["1.jpg", "2.jpeg", "3.JPG"]).names == ("1.jpg", "2.jpeg", "3.JPG")
    assert series_of(["1.tiff", "2.tif"]).numbers == (1, 2)


def test_images_of_other_names_are_left_out() -> None:
    """As of OLIVES, whose folders of an eye hold the fundus twice, and 49 B-scans."""
    b_scans = [f"TREXJ_{i:06d}.tif" for i in range(49)]
    series = series_of(["fundus_OD_W0.tif", "fundus_W0.png", *b_scans])
    assert (series.names, series.numbers) == (tuple(b_scans), tuple(range(49)))
    assert series.others == ("fundus_OD_W0.tif", "fundus_W0.png")


def test_one_image_alone_is_a_series() -> None:
    assert series_of(["b-scan.png"]) == Series(("b-scan.png",), (0,), ())


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], "empty: no image in the folder"),
        (["OD_1.png", "OD_2.png", "OS_1.png", "OS_2.png"], "several_volumes: images of 2 series: 2 as OD_1"),
        (["1.png", "2.png", "1.bmp", "2.bmp"], "several_volumes: images of 2 series"),
        (["1.png", "01.png"], "frame_order: names differ in no numbers, as 1.png and 01.png"),
        (["a.png", "A.PNG"], "frame_order: names differ in no numbers"),
        (["a.png", "b.png"], "frame_order: images are not numbered alike: a.png, b.png"),
        (["1.png", "2.png", "a.png", "b.png"], "frame_order: images are not numbered alike"),
        (["CNV-7-1.png", "CNV-8-2.png", "CNV-8-3.png"], "frame_order: names differ in 2 numbers, as CNV-7-1"),
        (["1000000000000000000.png", "2000000000000000001.png"], "frame_order: names differ in 2 numbers"),
    ],
)  # fmt: skip
def test_what_is_no_series_is_refused(names: list[str], text: str) -> None:
    with pytest.raises(Refused) as refused:
        series_of(names)
    assert text in str(refused.value)
