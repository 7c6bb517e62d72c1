"""A scan in several DICOM files is stored as the same scan in one; what is wrong with a part is refused."""

import dataclasses
import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from click.testing import CliRunner
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as Items

from octshard.cli.main import cli
from octshard.config.prep import PrepConfig
from octshard.dataset import tables
from octshard.dataset.tables import SampleRow
from octshard.imaging.volume import SampleKey, Volume
from octshard.prep.convert import sample
from octshard.prep.convert.sample import ConvertTask
from octshard.prep.plan import Member
from octshard.prep.readers import dicom, recognise
from octshard.prep.readers.scan import Scan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import REASONS, Refused
from octshard.storage import store
from tests.support.changed_dicom import changed, changed_bytes
from tests.support.made_release import RASTER, scan
from tests.support.memory_source import MemorySource, entry
from tests.support.scan_parts import concatenation, single_frames

CFG = PrepConfig(target_spacing=[0.04, 0.01, 0.02], image_size=[6, 20, 24])
NAMES = tuple(f"{i}.dcm" for i in range(9))


def converted(files: Sequence[bytes], parts: str | None = None) -> tuple[SampleRow, Volume | None]:
    """The row of 0.dcm; parts: as its row says them, by default all others."""
    named = "/".join(NAMES[1 : len(files)]) if parts is None else parts
    listed = dataclasses.replace(entry("P1/0.dcm"), sop_instance_uid="", parts=named)
    member = Member(SampleKey("1001", "topcon_triton", "macula", "L", "0"), listed)
    source = MemorySource({f"P1/{name}": data for name, data in zip(NAMES, files, strict=False)})
    return sample.row_and_volume(ConvertTask(member, "train-000000.tar", "train"), CFG, source)


@pytest.mark.parametrize("encoding", ["native", "j2k"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_concatenation_is_stored_as_the_scan_in_one_file(encoding: str, order: tuple[int, ...]) -> None:
    whole = dataclasses.replace(scan(), encoding=encoding)
    expected_row, expected = converted(concatenation(whole, 6))
    parts = concatenation(whole, 2, 1, 3)
    row, volume = converted([parts[i] for i in order])
    assert volume is not None
    assert expected is not None
    assert np.array_equal(volume.voxels_DHW, expected.voxels_DHW)
    same = ("geometry", "spacing_in", "spacing_source", "flags", "frames", "status", "eye")
    assert [getattr(row, name) for name in same] == [getattr(expected_row, name) for name in same]


@pytest.mark.parametrize("locations", [RASTER, ()])
def test_single_frames_of_a_series_are_stored_as_one_scan(locations: Sequence[np.ndarray]) -> None:
    files = single_frames(dataclasses.replace(scan(), locations=tuple(locations)))
    row, volume = converted([files[i] for i in (3, 1, 0, 5, 4, 2)])
    assert volume is not None
    assert np.array_equal(volume.voxels_DHW, scan().voxels_DHW)
    assert (row.geometry, row.frames) == ("raster" if len(locations) else "unknown", 6)
    assert row.flags == (() if len(locations) else ("geometry_unknown",))


def test_instances_against_places_sort_or_contradict_as_in_one_file() -> None:
    """InstanceNumber counts frames in the order in which they were filed, locations say where they lie."""
    mixed = dataclasses.replace(scan(), locations=tuple(RASTER[i] for i in (0, 2, 4, 1, 3, 5)))
    row, _ = converted(single_frames(mixed))
    assert row.reason == "geometry_uneven"


def test_a_lost_frame_is_seen_by_its_number() -> None:
    files = single_frames(dataclasses.replace(scan(), locations=()))
    row, _ = converted(files[:2] + files[3:])
    assert (row.reason, "InstanceNumber goes from 2 to 4" in row.detail) == ("geometry_uneven", True)
    row, _ = converted((single_frames(scan()))[:2] + single_frames(scan())[3:])
    assert row.reason == "geometry_uneven"  # by the lines


def test_both_eyes_in_a_series_are_no_scan() -> None:
    files = single_frames(scan())
    files[2] = single_frames(dataclasses.replace(scan(), eye="R"))[2]
    assert converted(files)[0].reason == "parts_differ"


def test_what_is_wrong_with_a_part_is_said_with_its_name() -> None:
    parts = concatenation(scan(), 2, 1, 3)
    row, _ = converted([parts[0], parts[1][:-100], parts[2]])
    assert (row.reason, row.detail.partition(":")[0]) == ("truncated", "1.dcm")
    row, _ = converted([parts[0], b"text", parts[2]])
    assert (row.reason, row.detail.partition(":")[0]) == ("not_dicom", "1.dcm")
    row, _ = converted(parts, parts="1.dcm/8.dcm")
    told = "8.dcm, a part of the scan, is not beside its first file"
    assert (row.reason, row.detail) == ("part_of_scan", told)
    row, _ = converted([*parts, parts[2]])
    assert row.reason == "part_of_scan"
    row, _ = converted(parts, parts="")
    wanted = "want a row of the first part whose column parts names the others"
    assert (row.reason, row.detail) == ("part_of_scan", f"part 1 of 3 of a concatenation, {wanted}")


def test_a_part_that_declares_more_frames_than_it_holds_is_refused_before_they_are_counted_on() -> None:
    parts = concatenation(scan(), 2, 1, 3)
    parts[1] = concatenation(scan(), 2, 1, 3, NumberOfFrames=2**62)[1]
    row, _ = converted(parts)
    assert (row.reason, row.detail) == ("frame_count", f"part 2: {2**62} frames declared, 1 stored")


def test_the_digest_of_a_scan_is_that_of_all_its_files() -> None:
    one, other = concatenation(scan(), 2, 4), concatenation(scan(2), 2, 4)
    digests = {converted([one[0], second])[0].source_xxh3 for second in (one[1], other[1])}
    assert len(digests) == 2


def test_frames_of_parts_come_in_any_order() -> None:
    parts = concatenation(scan(), 2, 1, 3)
    file = ScanBytes(parts[0], "0.dcm", folder=lambda name: parts[NAMES.index(name)], parts=NAMES[1:3])
    opened = dicom.open_scan(file)
    for order in [(5, 0, 3, 1, 4, 2), (2,), (4, 3)]:
        frames = list(opened.frames(order=order))
        assert np.array_equal(frames, scan().voxels_DHW[list(order)])
    opened.check(6 * 20 * 24)
    with pytest.raises(Refused, match="too_large"):
        opened.check(6 * 20 * 24 - 1)


def test_as_many_files_as_b_scans_are_not_held_open(tmp_path: Path) -> None:
    for name, data in zip(NAMES, single_frames(scan()), strict=False):
        (tmp_path / name).write_bytes(data)

    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    first = store.map(str(tmp_path / NAMES[0]))
    opened = dicom.open_scan(
        ScanBytes(first, NAMES[0], folder=lambda name: store.map(str(tmp_path / name)), parts=NAMES[1:6])
    )
    assert (opened.facts.frames, open_files()) == (6, before + 1)


def test_other_formats_have_no_parts() -> None:
    with pytest.raises(Refused, match="unreadable: its row names parts of the scan, which DICOM has"):
        recognise.open_scan(ScanBytes(b"\x93NUMPY" + bytes(99), "a.npy", parts=("b.npy",)))


def opened(files: Sequence[bytes]) -> Scan:
    folder = dict(zip(NAMES, files, strict=False))
    return dicom.open_scan(
        ScanBytes(files[0], NAMES[0], folder=folder.__getitem__, parts=NAMES[1 : len(files)])
    )


def rescaled(slopes: Sequence[float], intercepts: Sequence[float]) -> Callable[[Any, int], None]:
    def change(item: Any, i: int) -> None:
        pair = Dataset()
        pair.RescaleSlope, pair.RescaleIntercept, pair.RescaleType = str(slopes[i]), str(intercepts[i]), "US"
        item.PixelValueTransformationSequence = Items([pair])

    return change


@pytest.mark.parametrize(("encoding", "photometric"), [("native", "MONOCHROME1"), ("j2k", "MONOCHROME2")])
@pytest.mark.parametrize(
    ("slopes", "intercepts"),
    [
        ((0.5, 1, 0.25, 0.5, 1, 0.5), (0,) * 6),
        ((1, 1, 2, 1, 1, 1), (0,) * 6),
        ((1,) * 6, (0, -20, 0, 7, 0, 0)),
        ((1e-3,) * 5 + (2e-3,), (0,) * 6),
        ((1, 1, -1, 1, 1, 300), (0,) * 6),
        ((1,) * 6, (0,) * 6),
    ],
)
def test_parts_are_mapped_over_one_range_as_frames_of_one_file(
    slopes: Sequence[float], intercepts: Sequence[float], encoding: str, photometric: str
) -> None:
    whole, told = dataclasses.replace(scan(), encoding=encoding), {"PhotometricInterpretation": photometric}
    expected = list(opened([changed(whole, rescaled(slopes, intercepts), **told)]).frames())
    assert len({frame.dtype for frame in expected}) == 1
    singles = [
        changed_bytes(part, RescaleSlope=str(slope), RescaleIntercept=str(intercept))
        for part, slope, intercept in zip(single_frames(whole, **told), slopes, intercepts, strict=True)
    ]
    in_parts = [
        changed_bytes(part, rescaled(slopes[start:], intercepts[start:]))
        for start, part in zip((0, 2, 3), concatenation(whole, 2, 1, 3, **told), strict=True)
    ]
    for files in (singles, singles[::-1], in_parts):
        frames = list(opened(files).frames())
        assert {frame.dtype for frame in frames} == {expected[0].dtype}
        np.testing.assert_array_equal(frames, expected)


def test_bits_that_only_one_part_has_are_in_the_range_of_all() -> None:
    """BitsStored is 8 of 16, but the codestreams of one part hold 12 bits, all of which are kept."""
    told = {"BitsAllocated": 16, "PhotometricInterpretation": "MONOCHROME1"}
    plain = single_frames(dataclasses.replace(scan(), encoding="j2k"), **told)
    frame_HW = scan().voxels_DHW[1].astype(np.uint16) * 16
    code = bytes(imagecodecs.jpeg2k_encode(frame_HW, level=0, bitspersample=12, codecformat="j2k"))
    ds = pydicom.dcmread(io.BytesIO(plain[1]))
    ds.PixelData = encapsulate([code])
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=False)
    frames = list(opened([plain[0], out.getvalue(), *plain[2:]]).frames())
    expected = 4095 - scan().voxels_DHW.astype(np.uint16)
    expected[1] = 4095 - frame_HW
    np.testing.assert_array_equal(frames, expected)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [("PixelRepresentation", 1, "1, that of the first 0"), ("BitsStored", 7, "7, ")],
)
def test_parts_whose_numbers_mean_other_things_are_refused(name: str, value: int, told: str) -> None:
    files = single_frames(scan())
    files[2] = single_frames(scan(), **{name: value})[2]
    with pytest.raises(Refused, match=f"parts_differ: {name} of file 3 is {told}"):
        opened(files)


def test_slopes_that_no_range_holds_are_refused() -> None:
    files = single_frames(scan())
    for i, intercept in enumerate(("-1.7e308", "5e307")):
        files[i] = single_frames(scan(), RescaleSlope="5e305", RescaleIntercept=intercept)[i]
    with pytest.raises(Refused, match="parts_differ: all parts together: rescale slope and intercept"):
        opened(files)


HEAD = "person_id\tfilepath\tdevice\tparts\n"
ROWS = "P1\tP1/0.dcm\ttopcon_triton\t1.dcm/2.dcm\nP2\tP2/0.dcm\ttopcon_triton\t1.dcm\n"


def release(root: Path, *, zipped: bool) -> Path:
    """Of two people, the scan of each in several files."""
    files = {"P1": concatenation(scan(), 2, 1, 3), "P2": concatenation(scan(2, "P2"), 2, 4)}
    root.mkdir()
    (root / "manifest.tsv").write_text(HEAD + ROWS)
    members = {f"{p}/{i}.dcm": data for p, parts in files.items() for i, data in enumerate(parts)}
    if zipped:
        with zipfile.ZipFile(root / "topcon_triton.zip", "w") as archive:
            for path, data in members.items():
                archive.writestr(path, data)
        return root
    for path, data in members.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(data)
    return root


def built(src: Path, dst: Path, *options: str) -> dict[str, SampleRow]:
    words = ["prep", "shard", str(src), str(dst), "--device", "all", "--workers", "1", "--split", "hash"]
    result = CliRunner().invoke(cli, [*words, *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return {row.source: row for row in tables.open_dataset(str(dst / "topcon_triton")).rows}


@pytest.mark.slow
def test_a_release_of_parts_unpacked_or_zipped_and_a_part_that_changes(tmp_path: Path) -> None:
    unpacked = release(tmp_path / "unpacked", zipped=False)
    rows = built(unpacked, tmp_path / "a")
    assert {row.status for row in rows.values()} == {"ok"}
    zipped = built(release(tmp_path / "zipped", zipped=True), tmp_path / "b", "--from-zip")
    assert {path: row.xxh3 for path, row in rows.items()} == {path: row.xxh3 for path, row in zipped.items()}
    other = concatenation(scan(3), 2, 1, 3)[1]
    part = unpacked / "P1" / "1.dcm"
    assert len(other) == part.stat().st_size
    part.write_bytes(other)
    again = built(unpacked, tmp_path / "a")
    assert [again[path].sha256 == rows[path].sha256 for path in ("P1/0.dcm", "P2/0.dcm")] == [False, True]


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_damage_to_a_part_is_a_row(count: int) -> None:
    """In front of the pixels, and cut off."""
    rng, kinds = np.random.default_rng(5), (concatenation(scan(), 2, 1, 3), single_frames(scan()))
    reasons = set()
    for number in range(count):
        files = list(kinds[number % 2])
        which = int(rng.integers(len(files)))
        data = bytearray(files[which])
        pixels = data.index(b"\xe0\x7f\x10\x00")
        for at in rng.integers(132, pixels + 12, rng.integers(1, 4)):
            data[at] = rng.integers(256)
        files[which] = bytes(data[: rng.integers(len(data))] if number % 10 == 0 else data)
        reasons.add(converted(files)[0].reason)
    assert {"", "truncated", "unreadable", "parts_differ"} <= reasons <= {"", *REASONS}
