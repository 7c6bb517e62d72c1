"""Files of one scan as one: in order, alike and all there, or refused with what contradicts."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

from octshard.prep.dicom import header, joined_header
from octshard.prep.dicom.header import Header
from octshard.prep.refusals import Refused
from tests.support.made_release import scan
from tests.support.scan_parts import concatenation, single_frames

SILENT = dataclasses.replace(scan(), locations=())


def parsed(files: list[bytes]) -> list[Header]:
    return [header.parse(data) for data in files]


def refusal(files: list[bytes]) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        joined_header.order_of(parsed(files))
    return caught.value.reason, caught.value.detail


def test_parts_are_put_in_order_whatever_order_they_come_in() -> None:
    parts = parsed(concatenation(scan(), 2, 1, 3))
    for order in itertools.permutations(range(3)):
        shuffled = [parts[i] for i in order]
        assert [order[i] for i in joined_header.order_of(shuffled)] == [0, 1, 2]


def test_the_offset_tells_the_order_where_parts_have_no_number() -> None:
    parts = parsed(
        concatenation(scan(), 2, 1, 3, InConcatenationNumber=None, InConcatenationTotalNumber=None)
    )
    assert joined_header.order_of(parts[::-1]) == [2, 1, 0]


def test_the_whole_says_what_the_scan_in_one_file_says() -> None:
    whole = header.parse(concatenation(scan(), 6)[0])
    for files in (concatenation(scan(), 2, 1, 3), single_frames(scan())):
        joined = joined_header.join(parsed(files))
        assert joined.shape == whole.shape == (6, 20, 24)
        assert joined.measures == whole.measures
        assert not joined.concatenation.is_part
        assert np.array_equal(joined.locations, whole.locations)
        assert joined.placement.numbers_F.tolist() == [1, 2, 3, 4, 5, 6]


def test_single_frames_are_numbered_by_their_instances() -> None:
    joined = joined_header.join(parsed(single_frames(SILENT)))
    assert joined.placement.numbered_by == "InstanceNumber"
    assert joined.placement.numbers_F.tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("kept", "detail"),
    [
        ((0, 2), "of 3 parts 2 are not there"),
        ((1, 2), "of 3 parts 1 are not there"),
        ((0,), "of 3 parts 2, 3 are not there"),
    ],
)
def test_a_missing_part_is_named(kept: tuple[int, ...], detail: str) -> None:
    parts = concatenation(scan(), 2, 1, 3)
    assert refusal([parts[i] for i in kept]) == ("part_of_scan", detail)


def test_a_last_part_that_is_missing_is_seen_by_the_total_alone() -> None:
    parts = concatenation(scan(), 2, 1, 3, InConcatenationTotalNumber=None)
    assert joined_header.order_of(parsed(parts[:2])) == [0, 1]  # nothing says that there are more
    assert refusal([parts[0], parts[2]])[0] == "part_of_scan"


def test_a_part_that_is_twice_there_is_refused() -> None:
    parts = concatenation(scan(), 2, 1, 3)
    assert refusal([*parts, parts[1]]) == (
        "part_of_scan",
        f"SOPInstanceUID {scan().sop_instance_uid}.2 is there twice, want each part once",
    )
    again = concatenation(scan(), 2, 1, 3, SOPInstanceUID="2.25.5")[1]
    assert refusal([*parts, again]) == (
        "part_of_scan",
        "part 2 of the concatenation is there twice, want it once",
    )


def test_offsets_that_do_not_fit_are_refused() -> None:
    parts = concatenation(scan(), 2, 1, 3)
    parts[1] = concatenation(scan(), 2, 1, 3, ConcatenationFrameOffsetNumber=3)[1]
    told = "file 2 begins at frame 3 by ConcatenationFrameOffsetNumber, and the parts before it hold 2"
    assert refusal(parts) == ("part_of_scan", told)


NARROW = dataclasses.replace(scan(), voxels_DHW=scan().voxels_DHW[:, :, :20])


@pytest.mark.parametrize(
    ("other", "values", "detail"),
    [
        (NARROW, {}, "Columns of file 2 is 20, that of the first 24"),
        (dataclasses.replace(scan(), eye="R"), {}, "the eye of file 2 is 'R', that of the first 'L'"),
        (
            scan(),
            {"ConcatenationUID": "2.25.7"},
            "ConcatenationUID of file 2 is '2.25.7', that of ",
        ),
        (scan(), {"FrameOfReferenceUID": None}, "FrameOfReferenceUID of file 2 is none, that of the first "),
        (scan(), {"SeriesInstanceUID": "2.25.8"}, "SeriesInstanceUID of file 2 is '2.25.8', that of the "),
        (
            scan(),
            {"InConcatenationTotalNumber": 4},
            "InConcatenationTotalNumber of file 2 is 4, that of ",
        ),
        (
            dataclasses.replace(scan(), pixel_spacing_mm=(0.01, 0.03)),
            {},
            "PixelMeasures (shared) of file 2 are 0.01 x 0.03 x 0.04 x ? mm, of the first 0.01 x 0.02 x",
        ),
        (
            dataclasses.replace(scan(), slice_thickness_mm=0.05),
            {},
            "PixelMeasures (shared) of file 2 are 0.01 x 0.02 x 0.05 x ? mm, of the first ",
        ),
    ],
)
def test_parts_that_contradict_each_other_are_refused(
    other: Any, values: dict[str, Any], detail: str
) -> None:
    parts = concatenation(scan(), 2, 1, 3)
    parts[1] = concatenation(other, 2, 1, 3, **values)[1]
    reason, told = refusal(parts)
    assert (reason, told[: len(detail)]) == ("parts_differ", detail)


def test_files_that_are_no_parts_are_not_joined() -> None:
    whole = concatenation(scan(), 6, ConcatenationUID=None, InConcatenationNumber=None)[0]
    other = concatenation(scan(2), 6, ConcatenationUID=None, InConcatenationNumber=None)[0]
    reason, detail = refusal([whole, other])
    wanted = "want its parts, or single frames of one series"
    assert (reason, detail) == ("parts_differ", f"2 files of 6 + 6 frames are no concatenation, {wanted}")
    assert refusal(single_frames(scan(), SeriesInstanceUID=None))[0] == "parts_differ"
    assert refusal(single_frames(scan(), InstanceNumber=4)) == (
        "part_of_scan",
        "InstanceNumber 4 is there twice, want each frame once",
    )


def test_a_place_that_stands_in_the_shared_groups_of_a_single_frame_is_its_own() -> None:
    files = single_frames(scan())
    parts = parsed(files)
    moved = [
        dataclasses.replace(
            part, groups=dataclasses.replace(part.groups, frames=(), common=part.groups.frames[0])
        )
        for part in parts
    ]
    assert np.array_equal(joined_header.join(moved).locations, joined_header.join(parts).locations)


@pytest.mark.parametrize("number", [2**16 - 1, 2**53 - 1])
def test_a_number_of_a_damaged_part_costs_nothing(number: int) -> None:
    parts = parsed(concatenation(scan(), 2, 1, 3, InConcatenationTotalNumber=None))
    odd = dataclasses.replace(parts[2].concatenation, part=number)
    with pytest.raises(
        Refused, match=rf"of {number} parts 3, 4, 5, 6, 7, 8, 9, 10 and {number - 11} more are"
    ):
        joined_header.order_of([*parts[:2], dataclasses.replace(parts[2], concatenation=odd)])
