"""One shard's plan -> a tar and its rows: every entry gives a row, and a row says what became of it."""

import dataclasses
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import webdataset

from octshard.config.prep import PrepConfig
from octshard.dataset import shard, tables
from octshard.dataset.tables import SampleRow, ShardInfo
from octshard.imaging.intensity import histogram, moments
from octshard.prep.build import shard_writer
from octshard.prep.convert import sample
from octshard.prep.convert.sample import ConvertTask
from octshard.prep.dicom import writer
from octshard.prep.plan import ShardPlan, plan
from octshard.prep.release.aireadi import read_release
from octshard.prep.release.entry import Entry
from octshard.prep.release.source import FolderSource, Source
from octshard.storage import store
from tests.support.made_release import RASTER, File, changed, scan, sound, unpacked

CFG = PrepConfig(target_spacing=[0.08, 0.04, 0.04], image_size=[4, 8, 8])


def one_plan(tmp_path: Path, files: list[File]) -> tuple[ShardPlan, Source]:
    """All files in one train shard."""
    root = unpacked(tmp_path / "release", files, {file.scan.participant: "train" for file in files})
    release = read_release(str(root))
    (made,) = plan(release.entries, release.splits, CFG)
    return made, FolderSource(str(root))


def build_here(one: ShardPlan, cfg: PrepConfig, reader: Source, out: Path) -> ShardInfo:
    """In this process."""
    made = (sample.convert(task, cfg, reader) for task in shard_writer.tasks(one, {}))
    return shard_writer.build_shard(one, made, str(out), lambda row: None)


def built(tmp_path: Path, files: list[File], cfg: PrepConfig = CFG) -> dict[str, SampleRow]:
    """SOPInstanceUID -> row, from the rows on disk."""
    made, reader = one_plan(tmp_path, files)
    build_here(made, cfg, reader, tmp_path / "out")
    return {
        row.sop_instance_uid: row
        for row in tables.read_rows(str(tmp_path / "out" / f"{made.name}.rows.parquet"))
    }


def only(tmp_path: Path, file: File, cfg: PrepConfig = CFG) -> SampleRow:
    (row,) = built(tmp_path, [file], cfg).values()
    return row


def voxels(tmp_path: Path, row: SampleRow) -> np.ndarray:
    assert row.offset is not None
    assert row.nbytes is not None
    data = store.read_range(str(tmp_path / "out" / row.shard), row.offset, row.offset + row.nbytes)
    return shard.unpack(data, row.key, row.xxh3, "test").voxels_DHW


def variant(**values: Any) -> File:
    made = dataclasses.replace(scan(), **values)
    return File(made, writer.write(made))


def edit(change: Callable[[Any], None]) -> File:
    def rewrite(data: bytes) -> bytes:
        ds = pydicom.dcmread(io.BytesIO(data))
        change(ds)
        out = io.BytesIO()
        ds.save_as(out, enforce_file_format=True)
        return out.getvalue()

    return changed(1, rewrite)


def test_a_volume_is_stored_resampled_and_its_row_tells_all(tmp_path: Path) -> None:
    file = sound(1)
    row = only(tmp_path, file)
    found = voxels(tmp_path, row)
    # 6 x 20 x 24 at (0.04, 0.01, 0.02) to (0.08, 0.04, 0.04): blocks of 2 x 4 x 2, averaged
    wanted = file.scan.voxels_DHW.reshape(3, 2, 5, 4, 12, 2).mean(axis=(1, 3, 5), dtype=np.float64)
    assert np.abs(found - wanted).max() <= 0.5 + 1e-4
    assert (row.status, row.reason, row.detail, row.flags) == ("ok", "", "", ())
    assert (row.frames, row.rows, row.cols, row.bits) == (6, 20, 24, 8)
    assert (row.spacing_in, row.spacing_source, row.assumed_spacing) == ((0.04, 0.01, 0.02), "shared", 0)
    assert (row.shape_out, row.geometry, row.dtype) == ((3, 5, 12), "raster", "uint8")
    assert row.spacing_out == pytest.approx((0.08, 0.04, 0.04))
    assert (row.protocol, row.region, row.eye, row.split) == ("triton_3d_macula", "Macula", "L", "train")
    assert (row.source, row.source_bytes) == (file.path, len(file.data or b""))
    assert row.sha256 == hashlib.sha256(found.tobytes()).hexdigest()
    assert (row.mean, row.std, row.p01, row.p99) == tuple(moments(histogram(found)))
    assert row.transfer_syntax == "1.2.840.10008.1.2.1"


def test_every_kind_of_file_gives_exactly_one_row(tmp_path: Path) -> None:
    twin = dataclasses.replace(sound(1, "4001"), data=sound(1).data)
    files = [
        sound(1),
        twin,
        changed(2, lambda data: None),
        changed(3, lambda data: data[: len(data) // 2]),
        changed(4, lambda data: b"version https://git-lfs"),
        sound(5),
    ]
    made, reader = one_plan(tmp_path, files)
    told: list[tables.SampleRow] = []
    samples = (sample.convert(task, CFG, reader) for task in shard_writer.tasks(made, {}))
    info = shard_writer.build_shard(made, samples, str(tmp_path / "out"), told.append)
    rows = tables.read_rows(str(tmp_path / "out" / "train-000000.rows.parquet"))
    assert [row.source for row in rows] == [member.entry.path for member in made.members]
    assert sorted(row.reason for row in rows) == [
        "",
        "",
        "duplicate",
        "missing_file",
        "not_dicom",
        "truncated",
    ]
    assert [row.source for row in told] == [row.source for row in rows]
    assert info.samples == 2
    stored = [row for row in rows if row.status == "ok"]
    assert [row.offset for row in stored] == [0, stored[0].nbytes]
    assert all(row.shard == "" and row.offset is None for row in rows if row.status != "ok")
    (duplicate,) = (row for row in rows if row.reason == "duplicate")
    assert files[0].path in duplicate.detail


def twins(*data: bytes | None) -> list[File]:
    """Files of several people in path order, with the UID of the first, and these bytes."""
    people = [f"{person}001" for person in (1, 4, 7)]
    scans = [dataclasses.replace(scan(), participant=person) for person in people]
    return [File(made, each) for made, each in zip(scans, data, strict=False)]


def reasons(tmp_path: Path, files: list[File], splits: dict[str, str], cfg: PrepConfig = CFG) -> list[str]:
    """Reason of every file's row, whatever shards the plan has."""
    root = unpacked(tmp_path, files, splits)
    release = read_release(str(root))
    shards = plan(release.entries, release.splits, cfg)
    reader = FolderSource(str(root))
    rows = [sample.convert(task, cfg, reader).row for one in shards for task in shard_writer.tasks(one, {})]
    found = {row.source: row.reason for row in rows}
    assert len(found) == len(files)
    return [found[file.path] for file in files]


@pytest.mark.parametrize("second", ["train", "val"])
def test_the_first_sound_twin_is_kept_wherever_it_lies(tmp_path: Path, second: str) -> None:
    whole = sound(1).data
    assert whole is not None
    cases: list[tuple[list[bytes | None], list[str]]] = [
        ([whole, whole, whole], ["", "duplicate", "duplicate"]),
        ([None, whole, whole], ["missing_file", "", "duplicate"]),
        ([whole[:-100], None, whole], ["truncated", "missing_file", ""]),
        ([whole, None, whole[:-100]], ["", "missing_file", "truncated"]),
        ([None, None, None], ["missing_file"] * 3),
    ]
    splits = {"1001": "train", "4001": second, "7001": "train"}
    for i, (data, wanted) in enumerate(cases):
        for size in (1, 10**9):  # apart and together
            cfg = dataclasses.replace(CFG, shard_bytes=size)
            assert reasons(tmp_path / f"{i}-{size}", twins(*data), splits, cfg) == wanted


def test_a_name_too_long_for_a_tar_does_not_end_the_run(tmp_path: Path) -> None:
    made = dataclasses.replace(scan(), participant="P" * 60)
    row = only(tmp_path, File(made, writer.write(made), "heidelberg_spectralis"))
    assert (row.status, row.participant) == ("ok", "P" * 60)
    assert voxels(tmp_path, row).shape == row.shape_out


def test_absurd_numbers_do_not_end_the_run(tmp_path: Path) -> None:
    def change(ds: Any) -> None:
        measures = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.PixelSpacing, measures.SliceThickness = ["1e308", "1e308"], "1e308"

    file = edit(change)
    file = dataclasses.replace(file, scan=dataclasses.replace(file.scan, pixel_spacing_mm=(1e308, 1e308)))
    assert only(tmp_path, file).assumed_spacing == 1


def test_a_small_rescale_slope_keeps_the_intensities_and_is_flagged(tmp_path: Path) -> None:
    def change(ds: Any) -> None:
        ds.RescaleSlope, ds.RescaleIntercept = "0.003921568627", "0"

    row = only(tmp_path, edit(change))
    assert row.flags == ("mapped_to_uint8",)
    assert len(np.unique(voxels(tmp_path, row))) > 50


def test_webdataset_reads_the_tar(tmp_path: Path) -> None:
    rows = built(tmp_path, [sound(1), sound(2)])
    tar = str(tmp_path / "out" / "train-000000.tar")
    samples = list(webdataset.WebDataset(tar, shardshuffle=False, empty_check=False))
    assert {sample["__key__"] for sample in samples} == {row.key for row in rows.values()}
    assert {"json", "vol.zst"} <= set(samples[0])


def test_the_same_plan_gives_the_same_bytes(tmp_path: Path) -> None:
    files = [sound(1), sound(2), changed(3, lambda data: None)]
    for name in ("a", "b"):
        built(tmp_path / name, files)
    for name in ("train-000000.tar", "train-000000.rows.parquet", "train-000000.done.json"):
        assert (tmp_path / "a" / "out" / name).read_bytes() == (tmp_path / "b" / "out" / name).read_bytes()


def test_a_plan_of_refusals_alone_makes_rows_but_no_tar(tmp_path: Path) -> None:
    made, reader = one_plan(tmp_path, [changed(1, lambda data: None)])
    info = build_here(made, CFG, reader, tmp_path / "out")
    assert (info.samples, info.bytes) == (0, 0)
    assert not (tmp_path / "out" / "train-000000.tar").exists()
    assert shard_writer.read_built(made, str(tmp_path / "out")) is not None


def test_finished_means_done_rows_and_tar_agree(tmp_path: Path) -> None:
    made, reader = one_plan(tmp_path, [sound(1), sound(2)])
    out = tmp_path / "out"
    assert shard_writer.read_built(made, str(out)) is None
    info = build_here(made, CFG, reader, out)
    assert shard_writer.read_built(made, str(out)) == (
        info,
        tables.read_rows(str(out / "train-000000.rows.parquet")),
    )
    for suffix in (".tar", ".rows.parquet", ".done.json"):
        file = out / f"train-000000{suffix}"
        whole = file.read_bytes()
        file.write_bytes(whole[:-1])
        assert shard_writer.read_built(made, str(out)) is None, suffix
        file.unlink()
        assert shard_writer.read_built(made, str(out)) is None, suffix
        file.write_bytes(whole)
    table = out / "train-000000.rows.parquet"
    whole = table.read_bytes()
    for place in range(0, len(whole), 211):  # the same size, one byte changed
        table.write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        assert shard_writer.read_built(made, str(out)) is None, place
    table.write_bytes(whole)
    done = out / "train-000000.done.json"
    said = done.read_bytes()
    for text in ("[]", "null", "{}", '{"rows_sha256": 1}'):
        done.write_text(text)
        assert shard_writer.read_built(made, str(out)) is None, text
    done.write_bytes(said)
    assert shard_writer.read_built(made, str(out)) is not None
    other = dataclasses.replace(made, members=made.members[:1])
    assert shard_writer.read_built(other, str(out)) is None


def test_without_spacing_the_volume_is_stretched_to_image_size(tmp_path: Path) -> None:
    file = variant(pixel_spacing_mm=None, slice_thickness_mm=None, measures="none")
    row = only(tmp_path, file)
    assert (row.assumed_spacing, row.spacing_in, row.spacing_source) == (1, (1.0, 1.0, 1.0), "none")
    assert row.shape_out == (4, 8, 8)
    assert row.spacing_out == pytest.approx((6 / 4, 20 / 8, 24 / 8))


def test_the_manifest_gives_what_the_file_lacks(tmp_path: Path) -> None:
    made = scan()
    bare = File(made, writer.write(dataclasses.replace(made, measures="none")))
    row = only(tmp_path, bare)
    assert (row.spacing_in, row.spacing_source) == ((0.04, 0.01, 0.02), "manifest")


def test_resize_stores_at_image_size_and_keeps_the_extent(tmp_path: Path) -> None:
    row = only(tmp_path, sound(1), dataclasses.replace(CFG, fit="resize"))
    assert row.shape_out == (4, 8, 8)
    assert row.spacing_out == pytest.approx((6 * 0.04 / 4, 20 * 0.01 / 8, 24 * 0.02 / 8))


def test_geometries_are_refused_by_name_unless_included(tmp_path: Path) -> None:
    turn = np.linspace(0, 2 * np.pi, 100)
    circle = 500 + 100 * np.stack([np.sin(turn), np.cos(turn)], axis=1)
    half = 300 * np.stack([np.sin(np.arange(6) * np.pi / 6), np.cos(np.arange(6) * np.pi / 6)], axis=1)
    radial = tuple(np.stack([500 - end, 500 + end]) for end in half)
    kinds = {
        "radial": radial,
        "circle": (circle,) * 6,
        "line": (RASTER[0],) * 6,
        "uneven": (*RASTER[:3], *(path - [45.0, 0.0] for path in RASTER[3:])),
        "mixed": (*radial[:4], circle, circle),
    }
    for kind, paths in kinds.items():
        row = only(tmp_path / kind, variant(locations=paths))
        assert (row.status, row.reason, row.geometry, row.frames) == ("refused", f"geometry_{kind}", kind, 6)
        wanted = dataclasses.replace(CFG, include_geometry=[kind])
        assert only(tmp_path / f"{kind} included", variant(locations=paths), wanted).status == "ok"


def test_unknown_geometry_is_a_volume_with_a_flag(tmp_path: Path) -> None:
    row = only(tmp_path, variant(locations=()))
    assert (row.status, row.geometry, row.flags) == ("ok", "unknown", ("geometry_unknown",))


def test_where_file_and_manifest_disagree_is_flagged(tmp_path: Path) -> None:
    def change(ds: Any) -> None:
        ds.ImageLaterality = "R"
        ds.SOPInstanceUID = "2.25.1"

    row = only(tmp_path, edit(change))
    assert row.flags == ("eye_differs_from_manifest", "uid_differs_from_manifest")
    assert (row.eye, row.sop_instance_uid) == ("L", scan().sop_instance_uid)
    smaller = File(scan(), writer.write(dataclasses.replace(scan(), voxels_DHW=scan().voxels_DHW[:, :16])))
    assert only(tmp_path / "b", smaller).flags == ("shape_differs_from_manifest",)


def test_wider_input_is_mapped_to_uint8_and_says_how(tmp_path: Path) -> None:
    levels = np.linspace(100, 4000, 6 * 20 * 24).astype("<u2")

    def widen(ds: Any) -> None:
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
        ds.PixelData = levels.tobytes()

    row = only(tmp_path, edit(widen))
    assert (row.status, row.bits, row.dtype, row.flags) == ("ok", 12, "uint8", ("mapped_to_uint8",))
    found = voxels(tmp_path, row)
    assert (found.min(), found.max()) == (0, 255)
    assert "became 0 to 255" in row.detail


def test_a_constant_volume_is_flagged(tmp_path: Path) -> None:
    row = only(tmp_path, variant(voxels_DHW=np.full((6, 20, 24), 7, np.uint8)))
    assert (row.status, row.flags, row.std) == ("ok", ("blank_frames", "constant"), 0.0)
    assert (row.blank_frames, row.no_retina_frames) == (6, 0)


def test_a_spacing_that_asks_for_terabytes_is_refused(tmp_path: Path) -> None:
    row = only(
        tmp_path,
        variant(pixel_spacing_mm=(1.5, 1.5), slice_thickness_mm=3.0),
        dataclasses.replace(CFG, max_output_voxels=100_000),
    )
    assert row.reason == "too_large"
    assert {"implausible_axial_spacing", "implausible_lateral_spacing", "implausible_slice_spacing"} == set(
        row.flags
    )


def test_a_row_without_path_is_a_missing_file(tmp_path: Path) -> None:
    made, reader = one_plan(tmp_path, [sound(1)])
    member = dataclasses.replace(made.members[0], entry=dataclasses.replace(made.members[0].entry, path=""))
    row, data = sample.convert(ConvertTask(member, "train-000000.tar", "train"), CFG, reader)
    assert (row.reason, data) == ("missing_file", b"")


def test_a_failing_store_stops_the_run_instead_of_refusing(tmp_path: Path) -> None:
    class Failing(FolderSource):
        def read(self, entry: Entry) -> bytes:
            raise store.StoreError("gs://bucket: gave up")

    made, _ = one_plan(tmp_path, [sound(1)])
    with pytest.raises(store.StoreError):
        build_here(made, CFG, Failing(""), tmp_path / "out")
    assert not (tmp_path / "out" / "train-000000.tar").exists()
