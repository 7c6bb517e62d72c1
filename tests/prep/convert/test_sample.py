"""The stages of a conversion: what the row of a refused file still says, twins, the audit of decode=fast."""

import dataclasses
import io
from dataclasses import fields

import numpy as np
import pydicom
import pytest

from octshard.config.prep import PrepConfig
from octshard.dataset.tables import SampleRow
from octshard.imaging.volume import SampleKey
from octshard.prep import duplicates
from octshard.prep.convert import sample
from octshard.prep.convert.sample import Converted, ConvertTask
from octshard.prep.dicom import writer
from octshard.prep.dicom.attributes import LISTED
from octshard.prep.plan import Member
from octshard.prep.refusals import Refused
from octshard.prep.release.entry import Entry
from tests.support.made_release import RASTER, scan
from tests.support.memory_source import MemorySource, entry

CFG = PrepConfig(target_spacing=[0.08, 0.04, 0.04], image_size=[4, 8, 8])
MANIFEST = {
    "key", "participant", "device", "manufacturer", "model", "protocol", "region", "eye", "split", "source",
    "sop_instance_uid",
}  # fmt: skip
BYTES = {"source_bytes", "source_crc32", "source_xxh3"}
FORMAT = {"format"}
HEADER = {"format", "transfer_syntax", "frames", "rows", "cols", "bits"}
LAYOUT = {"spacing_in", "spacing_source", "geometry"}
VOXELS = {"decoded_level", "blank_frames", "no_retina_frames"}
REFUSED = {"status", "reason", "detail"}


def task_of(*paths: str) -> ConvertTask:
    """The last of these files, of which the others are earlier twins."""
    group = tuple(entry(path) for path in paths)
    key = SampleKey("1001", "topcon_triton", "macula", "L", "0")
    member = Member(key, group[-1], len(group) - 1, group, shares_uid=len(group) > 1)
    return ConvertTask(member, "train-000000.tar", "train")


def converted(data: bytes | None, cfg: PrepConfig = CFG) -> Converted:
    return sample.convert(task_of("a.dcm"), cfg, MemorySource({} if data is None else {"a.dcm": data}))


def filled(row: SampleRow) -> set[str]:
    """The columns that differ from what a row says of a file of which nothing is known."""
    blank = {field.name: field.default for field in fields(SampleRow)}
    return {name for name, value in blank.items() if getattr(row, name) != value}


def written(**values: object) -> bytes:
    return writer.write(dataclasses.replace(scan(), **values))


def broken_codestream() -> bytes:
    """The second of six JPEG 2000 frames has no size."""
    data = bytearray(written(encoding="j2k"))
    second = data.index(b"\xff\x4f\xff\x51", data.index(b"\xff\x4f\xff\x51") + 4)
    data[second + 4 : second + 60] = bytes(56)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "cfg", "reason", "columns"),
    [
        (None, {}, "missing_file", set()),
        (b"no DICOM", {}, "not_dicom", BYTES),
        (written()[:-100], {}, "truncated", BYTES | FORMAT),
        (written(), {"max_voxels": 2879}, "too_large", BYTES | HEADER),
        (written(locations=(RASTER[0],) * 6), {}, "geometry_line", BYTES | HEADER | LAYOUT),
        (written(), {"max_output_voxels": 179}, "too_large", BYTES | HEADER | LAYOUT),
        (broken_codestream(), {}, "decoder_error", BYTES | HEADER | LAYOUT),
    ],
)
def test_a_refused_row_keeps_what_the_stages_before_said(
    data: bytes | None, cfg: dict[str, int], reason: str, columns: set[str]
) -> None:
    """6 x 20 x 24 = 2880 voxels come, 3 x 5 x 12 = 180 would be stored."""
    row, tar_slice = converted(data, dataclasses.replace(CFG, **cfg))
    assert (row.status, row.reason, tar_slice) == ("refused", reason, b"")
    assert filled(row) == MANIFEST | columns | REFUSED


def test_flags_of_a_file_refused_after_its_layout_are_kept() -> None:
    row, _ = converted(written(eye="R", locations=(RASTER[0],) * 5 + (np.empty((0, 2)),)))
    assert (row.reason, row.flags) == (
        "geometry_line",
        ("eye_differs_from_manifest", "frame_locations_missing"),
    )


def test_a_sound_file_fills_the_other_columns_too() -> None:
    row, tar_slice = converted(written())
    packed = {"shape_out", "spacing_out", "dtype", "mean", "std", "p01", "p99", "nbytes", "sha256", "xxh3"}
    packed |= {"retina_found", "shard"}
    assert filled(row) == MANIFEST | BYTES | HEADER | LAYOUT | VOXELS | packed
    assert (row.status, row.shard, row.nbytes) == ("ok", "train-000000.tar", len(tar_slice))
    assert (row.decoded_level, row.assumed_spacing, row.fast_psnr_db) == (0, 0, None)


def test_a_task_refused_unseen_says_what_the_manifest_says() -> None:
    row, tar_slice = sample.refused(task_of("a.dcm"), Refused("decoder_crash", "twice"))
    assert (filled(row), row.reason, tar_slice) == (MANIFEST | REFUSED, "decoder_crash", b"")


def test_a_duplicate_keeps_all_that_decoding_told() -> None:
    source = MemorySource(dict.fromkeys(("a.dcm", "b.dcm"), written()))
    row, tar_slice = sample.convert(task_of("a.dcm", "b.dcm"), CFG, source)
    assert (row.reason, row.detail) == ("duplicate", "same SOPInstanceUID or path as a.dcm")
    voxels = {"shape_out", "spacing_out", "dtype", "mean", "std", "p01", "p99", "sha256", "retina_found"}
    assert filled(row) == MANIFEST | BYTES | HEADER | LAYOUT | VOXELS | voxels | REFUSED
    assert tar_slice == b""


def test_the_first_twin_that_is_sound_makes_a_duplicate() -> None:
    sound = written()
    files = {"a.dcm": broken_codestream(), "b.dcm": sound[:-100], "d.dcm": sound, "e.dcm": sound}
    paths = ("a.dcm", "b.dcm", "c.dcm", "d.dcm", "e.dcm")
    task, source = task_of(*paths), MemorySource(files)
    assert sample.convert(task, CFG, source).row.detail.endswith(" as d.dcm")
    crashed = dataclasses.replace(task, crashed_paths=frozenset(["d.dcm"]))
    assert sample.convert(crashed, CFG, source).row.status == "ok"


@pytest.mark.parametrize(("detail", "status"), [("", "ok"), ("same bytes as x.dcm", "refused")])
def test_a_settled_task_reads_no_twin(detail: str, status: str) -> None:
    task = dataclasses.replace(task_of("a.dcm", "b.dcm"), duplicate_of=detail)

    class Alone(MemorySource):
        def read(self, entry: Entry) -> bytes:
            assert entry.path == "b.dcm"
            return super().read(entry)

    row, _ = sample.convert(task, CFG, Alone({"b.dcm": written()}))
    assert (row.status, row.detail) == (status, detail)


def test_other_bytes_under_one_uid_are_no_duplicate_and_have_a_key_of_their_own() -> None:
    source = MemorySource({"a.dcm": written(), "b.dcm": written(voxels_DHW=np.flip(scan().voxels_DHW, 2))})
    rows = [sample.convert(task_of(*paths), CFG, source).row for paths in (("a.dcm",), ("a.dcm", "b.dcm"))]
    assert [row.status for row in rows] == ["ok", "ok"]
    assert rows[0].key != rows[1].key
    assert rows[0].key.rsplit("-", 1)[0] == rows[1].key.rsplit("-", 1)[0]


def test_fast_decoding_is_audited_where_levels_were_left_out() -> None:
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)[None].repeat(6, 0)
    lines = tuple(np.array([[640.0 + 40 * i, 0.0], [640.0 + 40 * i, 1280.0]]) for i in range(6))  # 1 px: 1 um
    data = written(voxels_DHW=smooth, encoding="j2k", locations=lines)
    cfg = dataclasses.replace(CFG, decode="fast", target_spacing=[0.08, 0.04, 0.08])
    task, source = dataclasses.replace(task_of("a.dcm"), audit=True), MemorySource({"a.dcm": data})
    row, _ = sample.convert(task, cfg, source)
    assert (row.decoded_level, row.flags) == (2, ("decoded_fast",))
    assert row.fast_psnr_db is not None
    assert 30 < row.fast_psnr_db < 99
    assert sample.convert(dataclasses.replace(task, audit=False), cfg, source).row.fast_psnr_db is None
    exact, _ = sample.convert(task, dataclasses.replace(cfg, decode="exact"), source)
    assert (exact.decoded_level, exact.fast_psnr_db, exact.flags) == (0, None, ())


def filed(order: tuple[int, ...], encoding: str = "native") -> bytes:
    """The scan with its frames, and all that they say, in another order; frames 1, 3, 5 run backwards."""
    lines = [path if i % 2 == 0 else path[::-1] for i, path in enumerate(RASTER)]
    voxels = scan().voxels_DHW.copy()
    voxels[1::2] = voxels[1::2, :, ::-1]
    data = written(
        voxels_DHW=voxels[list(order)], locations=tuple(lines[i] for i in order), encoding=encoding
    )
    ds = pydicom.dcmread(io.BytesIO(data))
    for item, i in zip(ds.PerFrameFunctionalGroupsSequence, order, strict=True):
        item.FrameContentSequence[0].InStackPositionNumber = i + 1
        item.FrameContentSequence[0].DimensionIndexValues = [1, i + 1]
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


@pytest.mark.parametrize("encoding", ["native", "j2k"])
def test_a_file_out_of_order_gives_the_voxels_of_one_in_order(encoding: str) -> None:
    in_order, shuffled = (filed(order, encoding) for order in ((0, 1, 2, 3, 4, 5), (0, 2, 4, 1, 3, 5)))
    row, _ = converted(in_order)
    sorted_row, _ = converted(shuffled)
    assert (row.status, row.flags) == ("ok", ("frames_mirrored",))
    assert (sorted_row.status, sorted_row.flags) == ("ok", ("frames_mirrored", "frames_sorted"))
    assert sorted_row.sha256 == row.sha256 == converted(written())[0].sha256


def test_a_refused_order_names_both_sources() -> None:
    ds = pydicom.dcmread(io.BytesIO(written()))
    for item, i in zip(ds.PerFrameFunctionalGroupsSequence, (0, 2, 4, 1, 3, 5), strict=True):
        item.FrameContentSequence[0].InStackPositionNumber = i + 1
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    row, data = converted(out.getvalue())
    assert (row.reason, data) == ("frame_order", b"")
    assert (
        row.detail == "frames come in one order by InStackPositionNumber, in another by DimensionIndexValues"
    )


def test_the_values_behind_flags_stand_beside_those_of_the_grey_levels() -> None:
    row, _ = converted(written(slice_thickness_mm=0.08))
    assert row.flags == ("slice_step_from_locations", "slice_thickness_is_not_step")
    assert row.detail == "step 0.04 mm by frame locations; SliceThickness (shared) 0.08"


TEXTS = [name for name, (_, vr) in LISTED.items() if vr in (b"UI", b"CS", b"DS", b"IS", b"LO")]
NAMES = {"Manufacturer", "ManufacturerModelName"}  # columns of the table, in the words of the file


@pytest.mark.parametrize("keyword", sorted({*TEXTS} - NAMES))
@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_a_name_in_any_field_of_a_header_reaches_no_row(keyword: str, everywhere: bool) -> None:
    """As anonymisers overlook it: a person's name where DICOM wants a number, a code or a UID."""
    dataset = pydicom.dcmread(io.BytesIO(written()))
    tag, vr = LISTED[keyword]
    name = pydicom.DataElement(tag, "LO" if vr == b"LO" else vr.decode(), None, already_converted=True)
    name._value = "MUELLER ANNA"
    shared = dataset.SharedFunctionalGroupsSequence[0]
    frames = dataset.PerFrameFunctionalGroupsSequence
    items = [shared, *frames, *(item[0] for group in (shared, *frames) for item in group if item.VR == "SQ")]
    for item in [dataset, *(items if everywhere else [])]:
        if item is dataset or tag in item:
            item[tag] = name
    out = io.BytesIO()
    dataset.save_as(out)
    assert b"MUELLER ANNA" in out.getvalue()
    row, _ = converted(out.getvalue())
    assert "MUELLER" not in repr(row)
    assert "ANNA" not in repr(row)


def test_a_name_as_transfer_syntax_reaches_no_row() -> None:
    data = written()
    assert data.count(b"1.2.840.10008.1.2.1\0") == 1
    row, _ = converted(data.replace(b"1.2.840.10008.1.2.1\0", b"MUELLER ANNA VON UND "[:20]))
    assert row.reason in ("unsupported_syntax", "unreadable")
    assert "MUELLER" not in repr(row)


@pytest.mark.parametrize("source_id", ["", "s1"])
def test_a_number_as_transfer_syntax_or_class_reaches_no_row_where_paths_are_private(source_id: str) -> None:
    data = written()
    for uid in (b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.5.1.4.1.1.77.1.5.4"):
        task = task_of("a.dcm")
        listed = dataclasses.replace(task.member.entry, source_id=source_id)
        task = dataclasses.replace(task, member=dataclasses.replace(task.member, entry=listed))
        source = MemorySource({"a.dcm": data.replace(uid, b"40817263".ljust(len(uid), b"\0"))})
        row, _ = sample.convert(task, CFG, source)
        assert row.reason in ("unsupported_syntax", "unreadable", "not_oct")
        assert ("40817263" in repr(row)) == (not source_id)


def test_a_path_with_escapes_is_shown_escaped_in_the_detail() -> None:
    task = task_of("a\x1b[31m.dcm")
    assert sample.convert(task, CFG, MemorySource({})).row.detail == "no object at a\\x1b[31m.dcm"


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("first", ["\x1b[31m.dcm", "a" * 2000 + ".dcm", "bytes.dcm"])
def test_what_a_duplicate_says_is_what_the_build_expects(first: str, private: bool) -> None:
    """Else its shard would be made again and again."""
    ids = ("s1", "s2") if private else ("", "")
    paths = (first, "same/path.dcm")
    group = tuple(
        dataclasses.replace(entry(path), source_id=source_id)
        for path, source_id in zip(paths, ids, strict=True)
    )
    key = SampleKey("1001", "topcon_triton", "macula", "L", "0")
    members = [Member(key, one, rank, group, shares_uid=rank > 0) for rank, one in enumerate(group)]
    source = MemorySource(dict.fromkeys(paths, writer.write(scan())))
    rows = [
        sample.convert(ConvertTask(member, "train-000000.tar", "train"), CFG, source).row
        for member in members
    ]
    assert [row.reason for row in rows] == ["", "duplicate"]
    details = duplicates.resolve(zip(members, rows, strict=True))
    assert not [
        row for member, row in zip(members, rows, strict=True) if duplicates.is_stale(member, row, details)
    ]
    settled = sample.convert(
        ConvertTask(members[1], "train-000000.tar", "train", duplicate_of=details[members[1]]), CFG, source
    )
    assert settled.row.detail == rows[1].detail
