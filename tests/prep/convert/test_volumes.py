"""Files that hold several volumes: which frames are whose, and each stored as if it were filed alone."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from octshard.config.prep import PrepConfig
from octshard.dataset.tables import SampleRow
from octshard.imaging.volume import SampleKey, Volume
from octshard.prep.convert import sample, volumes
from octshard.prep.convert.sample import ConvertTask
from octshard.prep.convert.scan_file import open_volume
from octshard.prep.dicom import header, writer
from octshard.prep.plan import Member
from octshard.prep.refusals import Refused
from tests.support.changed_dicom import changed, label
from tests.support.made_release import RASTER, scan
from tests.support.memory_source import MemorySource, entry

CFG = PrepConfig(target_spacing=[0.04, 0.01, 0.02], image_size=[6, 20, 24])
FIRST = scan(1)
SECOND = dataclasses.replace(scan(2), sop_instance_uid=FIRST.sop_instance_uid)
WHOSE = "LRLLRLRRLRRL"  # frames of both eyes as they are filed


def filed(whose: str, mark: Callable[[Any, str], None], **values: object) -> bytes:
    """FIRST's frames where `whose` has its first letter, SECOND's elsewhere; each says so by `mark`."""
    frames = {whose[0]: iter(FIRST.voxels_DHW)}
    frames |= {letter: iter(SECOND.voxels_DHW) for letter in set(whose) - {whose[0]}}
    lines = {letter: iter(RASTER) for letter in whose}
    both = dataclasses.replace(
        FIRST,
        voxels_DHW=np.stack([next(frames[letter]) for letter in whose]),
        locations=tuple(next(lines[letter]) for letter in whose),
        **values,
    )
    seen = dict.fromkeys(whose, 0)

    def frame(item: Any, i: int) -> None:
        seen[whose[i]] += 1
        item.FrameContentSequence[0].InStackPositionNumber = seen[whose[i]]
        del item.FrameContentSequence[0].DimensionIndexValues
        mark(item, whose[i])

    return changed(both, frame)


def by_eye(item: Any, letter: str) -> None:
    label(item, eye=letter)


def by_stack(item: Any, letter: str) -> None:
    label(item, stack=f"stack {letter}")


def by_time(item: Any, letter: str) -> None:
    label(item, time=ord(letter))


def converted(data: bytes, path: str, cfg: PrepConfig = CFG) -> tuple[SampleRow, Volume | None]:
    listed = dataclasses.replace(entry(path), eye="")
    member = Member(SampleKey("1001", "topcon_triton", "macula", "", "0"), listed)
    return sample.row_and_volume(
        ConvertTask(member, "train-000000.tar", "train"), cfg, MemorySource({path: data})
    )


@pytest.mark.parametrize("encoding", ["native", "j2k"])
@pytest.mark.parametrize(("mark", "eyes"), [(by_eye, "LR"), (by_stack, "LL"), (by_time, "LL")])
def test_each_volume_is_stored_as_if_it_were_filed_alone(
    mark: Callable[[Any, str], None], eyes: str, encoding: str
) -> None:
    data = filed(WHOSE, mark, encoding=encoding)
    for number, (alone, eye) in enumerate(zip((FIRST, SECOND), eyes, strict=True), start=1):
        row, volume = converted(data, f"a.dcm#volume-{number}")
        expected_row, expected = converted(writer.write(alone), "a.dcm")
        assert volume is not None
        assert expected is not None
        assert np.array_equal(volume.voxels_DHW, expected.voxels_DHW)
        same = ("geometry", "spacing_in", "spacing_source", "flags", "frames", "status")
        assert [getattr(row, name) for name in same] == [getattr(expected_row, name) for name in same]
        assert row.eye == eye


@pytest.mark.parametrize(
    ("mark", "detail"),
    [
        (by_eye, "frames of both eyes (FrameLaterality): volume-1 (L, 6 B-scans), volume-2 (R, 6 B-scans)"),
        (by_stack, "2 values of StackID: volume-1 (6 B-scans), volume-2 (6 B-scans)"),
        (by_time, "2 values of TemporalPositionIndex: volume-1 (6 B-scans), volume-2 (6 B-scans)"),
    ],
)
def test_the_file_alone_is_refused_with_the_rows_to_write(
    mark: Callable[[Any, str], None], detail: str
) -> None:
    row, _ = converted(filed(WHOSE, mark), "a.dcm")
    wanted = "want a row for each, its filepath ending in #volume-1 and so on"
    assert (row.reason, row.detail) == ("several_volumes", f"{detail}; {wanted}")


def test_volumes_of_a_file_are_no_duplicates_of_each_other() -> None:
    data = filed(WHOSE, by_stack)
    digests = {converted(data, f"a.dcm{part}")[0].source_xxh3 for part in ("", "#volume-1", "#volume-2")}
    assert len(digests) == 3


def test_eye_stack_and_time_split_together() -> None:
    """Both eyes, of the right one two stacks, of whose first two times."""
    labels = [("L", "1", 1)] * 2 + [("R", "1", 1), ("R", "1", 2)] * 2 + [("R", "2", 1)] * 2

    def frame(item: Any, i: int) -> None:
        eye, stack, time = labels[i]
        label(item, eye=eye, stack=stack, time=time)

    made = dataclasses.replace(scan(), voxels_DHW=np.zeros((8, 4, 4), np.uint8), locations=())
    parts = volumes.volumes_of(header.parse(changed(made, frame)))
    assert [part.frames for part in parts] == [(0, 1), (2, 4), (3, 5), (6, 7)]
    assert [part.label.eye for part in parts] == ["L", "R", "R", "R"]


@pytest.mark.parametrize(
    "labels",
    [
        ["L", "R", "L", "R", "L", ""],  # one says nothing
        ["L", "R", "L", "R", "L", "B"],
    ],
)
def test_frames_that_do_not_say_whose_they_are_are_not_split(labels: Sequence[str]) -> None:
    data = changed(scan(), lambda item, i: label(item, eye=labels[i]))
    assert volumes.volumes_of(header.parse(data)) == ()
    row, _ = converted(data, "a.dcm")
    assert (row.reason, row.detail) == (
        "several_volumes",
        "frames of both eyes (FrameLaterality), want those of one",
    )
    row, _ = converted(data, "a.dcm#volume-1")
    held = "one volume, or frames that do not say which they are of"
    assert (row.reason, row.detail) == ("unreadable", f"no volume-1 in the file; it holds {held}")


def test_a_number_that_is_not_there_names_those_that_are() -> None:
    data = filed(WHOSE, by_eye)
    for number in (0, 3):
        row, _ = converted(data, f"a.dcm#volume-{number}")
        held = "volume-1 (L, 6 B-scans), volume-2 (R, 6 B-scans)"
        assert (row.reason, row.detail) == ("unreadable", f"no volume-{number} in the file; it holds {held}")


def test_a_label_of_its_own_for_every_frame_makes_no_volumes() -> None:
    data = changed(scan(), lambda item, i: label(item, stack=str(i), time=i + 1))
    assert volumes.volumes_of(header.parse(data)) == ()
    assert converted(data, "a.dcm")[0].status == "ok"


def test_frames_that_a_header_only_declares_are_not_counted_out() -> None:
    data = changed(scan(), lambda item, i: label(item, eye="LR"[i % 2]), NumberOfFrames=2**62)
    assert volumes.names_in(data) == []
    for path in ("a.dcm", "a.dcm#volume-1"):
        assert converted(data, path)[0].reason == "frame_count"


def test_lines_and_circles_are_split_by_their_stacks() -> None:
    """A Spectralis scan of the optic disc: radial lines, then circles; as a whole it is mixed."""
    turn = np.linspace(0, 2 * np.pi, 64)
    circles = [r * np.stack([np.sin(turn), np.cos(turn)], axis=1) + 200 for r in (50.0, 60.0, 70.0)]
    angles = np.deg2rad([0, 30, 60, 90, 120, 150])
    lines = [np.array([[200 - 80 * np.sin(a), 200 - 80 * np.cos(a)],
                       [200 + 80 * np.sin(a), 200 + 80 * np.cos(a)]]) for a in angles]  # fmt: skip
    made = dataclasses.replace(
        scan(), voxels_DHW=np.zeros((9, 4, 64), np.uint8), locations=(*lines, *circles)
    )
    data = changed(made, lambda item, i: label(item, stack="1" if i < 6 else "2"))
    assert converted(data, "a.dcm")[0].reason == "geometry_mixed"
    for number, geometry in enumerate(("radial", "circle"), start=1):
        row, _ = converted(data, f"a.dcm#volume-{number}")
        assert (row.geometry, row.reason) == (geometry, f"geometry_{geometry}")


def test_spacings_are_those_of_the_volume() -> None:
    """Frames of the second stack lie farther apart."""

    def frame(item: Any, i: int) -> None:
        label(item, stack="ab"[i // 6])
        item.FrameContentSequence[0].InStackPositionNumber = i % 6 + 1
        item.PixelMeasuresSequence[0].SliceThickness = "0.05" if i < 6 else "0.1"

    twelve = np.concatenate([FIRST.voxels_DHW, SECOND.voxels_DHW])
    made = dataclasses.replace(FIRST, voxels_DHW=twelve, locations=(), measures="per_frame")
    data = changed(made, frame)
    steps = [converted(data, f"a.dcm#volume-{n}")[0].spacing_in for n in (1, 2)]
    assert steps == [(0.05, 0.01, 0.02), (0.1, 0.01, 0.02)]


def test_one_volume_of_a_file_opens_by_itself(tmp_path: Path) -> None:
    (tmp_path / "exam").write_bytes(filed(WHOSE, by_eye))  # files may have any name
    volume = open_volume(f"{tmp_path}/exam#volume-2")
    assert np.array_equal(volume.voxels_DHW, SECOND.voxels_DHW)
    assert volume.key.eye == "R"


@pytest.mark.parametrize(
    ("told", "detail"),
    [
        ({"stacks": ("1", "2")}, "2 values of StackID, want one volume in a file"),
        ({"times": ("1", "2", "3")}, "3 values of TemporalPositionIndex, want one volume in a file"),
    ],
)
def test_several_stacks_or_times_are_several_volumes(told: dict[str, Any], detail: str) -> None:
    one = header.parse(writer.write(scan()))
    several = dataclasses.replace(one, placement=dataclasses.replace(one.placement, labels=(), **told))
    for kind in ("raster", "unknown", "uneven"):
        with pytest.raises(Refused) as caught:
            volumes.check_is_one(several, kind)
        assert (caught.value.reason, caught.value.detail) == ("several_volumes", detail)
    for kind in ("radial", "circle", "mixed"):  # have stacks of their own, and a refusal of their own
        volumes.check_is_one(several, kind)


def test_a_stack_for_each_frame_of_a_raster_is_a_number_in_the_wrong_place() -> None:
    one = header.parse(writer.write(scan()))

    def with_stacks(**values: object) -> header.Header:
        placement = dataclasses.replace(one.placement, stacks=tuple("123456"), **values)  # type: ignore[arg-type]
        return dataclasses.replace(one, placement=placement)

    volumes.check_is_one(with_stacks(numbers_F=np.full(6, np.nan)), "raster")
    volumes.check_is_one(with_stacks(), "unknown")  # InStackPositionNumber counts them too
    with pytest.raises(Refused, match="6 values of StackID"):
        volumes.check_is_one(with_stacks(numbers_F=np.full(6, np.nan)), "unknown")
