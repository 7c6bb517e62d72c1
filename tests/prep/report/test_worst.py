"""Which files and volumes are shown as the worst: few, grave ones, of many kinds, by the rows alone."""

import dataclasses

from octshard.dataset.tables import SampleRow
from octshard.prep.report import worst

ROW = SampleRow("k", "p", "d", "", "", "often", "", "L", "train", "s", frames=10)


def refused(reason: str, number: int) -> SampleRow:
    return dataclasses.replace(ROW, status="refused", reason=reason, source=f"{number}.dcm")


def stored(key: str, *flags: str, **facts: object) -> SampleRow:
    return dataclasses.replace(ROW, key=key, flags=flags, **facts)  # type: ignore[arg-type]


def test_refused_files_come_by_gravity_and_one_of_each_reason_first() -> None:
    rows = [
        *(refused("geometry_mixed", i) for i in range(5)),
        *(refused("truncated", i) for i in range(10, 12)),
        refused("frame_count", 20),
        refused("unreadable", 30),
        *(refused(name, 40) for name in ("missing_file", "not_dicom", "decoder_crash")),  # nothing to draw
        ROW,
    ]
    names = [(row.reason, row.source) for row in worst.refused(rows, 9)]  # two of a reason at most
    assert names == [
        ("unreadable", "30.dcm"), ("truncated", "10.dcm"), ("frame_count", "20.dcm"),
        ("geometry_mixed", "0.dcm"), ("truncated", "11.dcm"), ("geometry_mixed", "1.dcm"),
    ]  # fmt: skip
    assert worst.refused(rows[::-1], 3) == worst.refused(rows, 9)[:3]


def test_flagged_volumes_come_by_their_flags_then_by_what_they_lack() -> None:
    rows = [
        stored("a", "saturated"),
        stored("b", "saturated", "constant"),
        stored("c", "blank_frames", blank_frames=2),
        stored("d", "blank_frames", blank_frames=5, no_retina_frames=1),
        stored("e", "saturated", retina_found=0.1),
        stored("f", "slow_axis_flipped", "frames_sorted"),  # ask for nothing
        stored("g"),
        dataclasses.replace(refused("truncated", 1), flags=("saturated",)),
    ]
    assert [row.key for row in worst.flagged(rows, 3)] == ["b", "d", "c"]
    assert [row.key for row in worst.flagged(rows[::-1], 9)] == ["b", "d", "c", "e", "a"]
    assert worst.flagged(rows[5:], 9) == []
