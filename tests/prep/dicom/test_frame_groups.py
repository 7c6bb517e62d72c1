"""What frames say of their place, read from files that pydicom wrote; what makes no sense is missing."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from octshard.prep.dicom import header as dicom
from octshard.prep.dicom import writer
from octshard.prep.dicom.header import Concatenation, Header
from octshard.prep.scan_facts import Placement
from tests.support.made_release import scan


def read(change: Callable[[Any], None]) -> Header:
    ds = pydicom.dcmread(io.BytesIO(writer.write(scan())))
    change(ds)
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=False)
    return dicom.read_header(out.getvalue(), 10**9)


def placement(change: Callable[[Any, int], None]) -> Placement:
    def all_frames(ds: Any) -> None:
        for i, item in enumerate(ds.PerFrameFunctionalGroupsSequence):
            change(item, i)

    return read(all_frames).placement


def item(**values: Any) -> Items:
    group = Dataset()
    for name, value in values.items():
        setattr(group, name, value)
    return Items([group])


def test_what_a_frame_says() -> None:
    def change(frame: Any, i: int) -> None:
        frame.PlanePositionSequence = item(ImagePositionPatient=[1, 2, f"{0.05 * i:.4g}"])
        frame.PlaneOrientationSequence = item(ImageOrientationPatient=[1, 0, 0, 0, 0.6, 0.8])
        frame.FrameContentSequence[0].StackID = "A" if i < 4 else "B"
        frame.FrameContentSequence[0].TemporalPositionIndex = 1 + i // 3
        frame.FrameAnatomySequence = item(FrameLaterality="R")

    told = placement(change)
    assert told.numbers_F.tolist() == [1, 2, 3, 4, 5, 6]
    assert told.indices_FK.tolist() == [[1, i + 1] for i in range(6)]
    assert told.positions_F3 == pytest.approx(np.array([[1, 2, 0.05 * i] for i in range(6)]))
    assert told.normal_3 == pytest.approx((0, -0.8, 0.6))
    assert (told.stacks, told.times, told.eyes) == (("A", "B"), ("1.0", "2.0"), ("R",))


def test_empty_items_say_nothing() -> None:
    told = dicom.read_header(writer.write(scan()), 10**9).placement
    assert np.isnan(told.positions_F3).all()
    assert (told.normal_3, told.times, told.eyes) == (None, (), ())


def test_words_and_wrong_counts_are_missing_and_refuse_nothing() -> None:
    def change(frame: Any, i: int) -> None:
        frame.PlanePositionSequence = item(ImagePositionPatient=["0", "0"] if i else ["0", "0", "1"])
        frame.FrameContentSequence[0].DimensionIndexValues = [1, i + 1, 7] if i == 2 else [1, i + 1]

        if i == 4:  # the bits of the whole number 5 as a fraction
            frame.FrameContentSequence[0]["InStackPositionNumber"] = DataElement(0x00209057, "FL", 7e-45)

    told = placement(change)
    assert np.isfinite(told.positions_F3).all(axis=1).tolist() == [True] + [False] * 5
    assert np.array_equal(told.numbers_F, [1, 2, 3, 4, np.nan, 6], equal_nan=True)
    assert np.isnan(told.indices_FK[2]).all()
    assert told.indices_FK.shape == (6, 2)


@pytest.mark.parametrize(
    "orientations", [[(1, 0, 0, 0, 1, 0), (0, 0, 1, 0, 1, 0)], [(2, 0, 0, 0, 1, 0)], [(0,) * 6]]
)
def test_frames_that_are_not_parallel_have_no_normal(orientations: list[tuple[float, ...]]) -> None:
    def change(frame: Any, i: int) -> None:
        frame.PlaneOrientationSequence = item(
            ImageOrientationPatient=list(orientations[i % len(orientations)])
        )

    assert placement(change).normal_3 is None


def test_shared_items_hold_for_all_frames() -> None:
    def change(ds: Any) -> None:
        shared = ds.SharedFunctionalGroupsSequence[0]
        shared.PlaneOrientationSequence = item(ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
        shared.FrameAnatomySequence = item(FrameLaterality="L")

    told = read(change).placement
    assert told.normal_3 == pytest.approx((-1, 0, 0))
    assert told.eyes == ("L",)


def test_the_eye_of_the_frames_where_the_image_names_none() -> None:
    def change(ds: Any) -> None:
        ds.ImageLaterality = ""
        ds.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = item(FrameLaterality="R")

    assert read(change).eye == "R"


def test_a_concatenation() -> None:
    def change(ds: Any) -> None:
        ds.ConcatenationUID, ds.InConcatenationNumber, ds.InConcatenationTotalNumber = "1.2.3", 2, 3
        ds.ConcatenationFrameOffsetNumber = 64

    assert read(change).concatenation == Concatenation("1.2.3", 2, 3, 64)
    assert read(lambda ds: None).concatenation == Concatenation()
    words = read(lambda ds: ds.add(DataElement(0x00209162, "LO", "first")))
    assert words.concatenation == Concatenation()


def test_damage_inside_a_place_is_a_place_that_is_missing() -> None:
    """Pixels do not depend on it, so it refuses nothing."""
    data = bytearray(writer.write(scan()))
    for at in range(len(data)):  # items of PlanePositionSequence, whose tags become others
        if data[at : at + 6] == b"\x20\x00\x13\x91SQ" and data[at + 8 : at + 12] != bytes(4):
            data[at + 14 : at + 16] = b"\x28\xe0"
    placement_read = dicom.read_header(bytes(data), 10**9).placement
    assert placement_read.numbers_F.tolist() == [1, 2, 3, 4, 5, 6]


def test_absurd_numbers_are_missing() -> None:
    def change(frame: Any, i: int) -> None:
        frame.PlaneOrientationSequence = item(ImageOrientationPatient=["1e200"] * 6)
        frame.FrameContentSequence[0]["InStackPositionNumber"] = DataElement(
            0x00209057, "FD", 1e300 * (i - 3)
        )

    told = placement(change)
    assert told.normal_3 is None
    assert np.isnan(told.numbers_F).tolist() == [True] * 3 + [False] + [True] * 2
