"""Real OCT pixels in an AI-READI-shaped release with the defects that real ones have: ZIPs -> shards."""

import io
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest

from octshard.config.prep import PrepConfig
from octshard.dataset import sample, shard, stored_band, tables
from octshard.dataset.tables import SampleRow
from octshard.imaging.retina_band import BLOCK
from octshard.prep import verify
from octshard.prep.build import run
from octshard.prep.dicom import decode
from octshard.prep.dicom import header as dicom
from octshard.prep.release import unzip
from octshard.storage import store

pytestmark = [pytest.mark.realdata]


@pytest.fixture(scope="module")
def unpacked(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, unzip.UnzipReport]:
    dst = tmp_path_factory.mktemp("dicom")
    return dst, unzip.unzip(str(realdata), str(dst), unzip.Limits(2, 256_000_000))


@pytest.fixture(scope="module")
def shards(unpacked: tuple[Path, unzip.UnzipReport], tmp_path_factory: pytest.TempPathFactory) -> Path:
    dst = tmp_path_factory.mktemp("shards")
    run.shard(PrepConfig(src=str(unpacked[0]), dst=str(dst), workers=1), ["all"])
    return dst


def rows(shards: Path, device: str) -> list[SampleRow]:
    return list(tables.open_dataset(str(shards / device)).rows)


def test_unzip_reports_the_one_missing_file_and_nothing_else(
    unpacked: tuple[Path, unzip.UnzipReport],
) -> None:
    dst, report = unpacked
    assert len(report.written) == 12
    assert [path.rsplit("/", 2)[1] for path in report.missing] == ["7005"]
    assert (report.refused, report.unlisted, report.skipped) == ((), (), ())
    assert all((dst / path).is_file() for path in report.written)


def test_the_triton_gives_five_volumes_and_five_named_refusals(shards: Path) -> None:
    found = rows(shards, "topcon_triton")
    assert Counter(row.status for row in found) == {"ok": 5, "refused": 5}
    assert {(row.participant, row.eye): row.reason for row in found if row.status != "ok"} == {
        ("7002", "R"): "truncated",
        ("7003", "L"): "no_pixel_data",
        ("7003", "R"): "frame_count",
        ("7004", "R"): "not_dicom",
        ("7005", "L"): "missing_file",
    }
    stored = {(row.participant, row.eye): row for row in found if row.status == "ok"}
    assert {who: row.assumed_spacing for who, row in stored.items()} == {
        ("1001", "L"): 0, ("4001", "R"): 0, ("7001", "L"): 0, ("7002", "L"): 0, ("7004", "L"): 1,
    }  # fmt: skip
    assert stored["7004", "L"].shape_out == (64, 384, 384)
    assert stored["7001", "L"].protocol == "triton_3d_radial"
    assert stored["7001", "L"].geometry == "raster"  # whatever its name says


def test_the_retina_is_found_in_every_volume_and_is_brighter_than_what_lies_above(shards: Path) -> None:
    for device in ("heidelberg_spectralis", "topcon_maestro2", "topcon_triton", "zeiss_cirrus"):
        folder = str(shards / device)
        for row in (row for row in rows(shards, device) if row.status == "ok"):
            stored = sample.read(folder, row)
            d, h, w = stored.voxels_DHW.shape
            band = stored_band.from_json(stored.meta, (d, h, w), row.key)
            assert band is not None
            assert row.retina_found == band.share > 0.9, row.key
            first_DQ, last_DQ = (
                band.rows_DQ2[..., i].astype(int).repeat(BLOCK, axis=1)[:, :w] for i in (0, 1)
            )
            row_H1 = np.arange(h)[:, None]
            inside_DHW = (row_H1 >= first_DQ[:, None]) & (row_H1 < last_DQ[:, None])
            above_DHW = (row_H1 < first_DQ[:, None]) & (first_DQ[:, None] >= 0)
            grey_DHW = stored.voxels_DHW
            assert grey_DHW[inside_DHW].mean() > 2.5 * grey_DHW[above_DHW].mean(), row.key
            if not row.assumed_spacing:  # healthy retinas have 0.2 to 0.4 mm, a macular hole more beside it
                thick_um = (
                    1000 * stored.meta["spacing_mm"][1] * np.median((last_DQ - first_DQ)[first_DQ >= 0])
                )
                assert 200 < thick_um < 1200, row.key


def test_the_cirrus_step_is_that_of_a_square_scan(shards: Path) -> None:
    (row,) = rows(shards, "zeiss_cirrus")
    assert row.spacing_in == pytest.approx((0.03, 0.01, 0.00735))
    assert "slice_thickness_is_column_spacing" in row.flags


@pytest.mark.parametrize("device", ["heidelberg_spectralis", "topcon_maestro2"])
def test_the_other_devices_give_their_volume(shards: Path, device: str) -> None:
    (row,) = rows(shards, device)
    # these scans run from inferior to superior, as real Heidelberg ones do. Their pixels are real, their
    # frame locations are not: they say another step than the thickness, and are believed
    flags = ("slice_step_from_locations", "slice_thickness_is_not_step", "slow_axis_flipped")
    assert (row.status, row.flags, row.spacing_source) == ("ok", flags, "shared")
    step_mm = 500 / (row.frames - 1) * row.cols * 0.011182 / 512  # 512 px long lines over 500 px
    assert row.spacing_in == pytest.approx((step_mm, 0.003872, 0.011182))


def test_splits_are_the_releases(shards: Path) -> None:
    told = {"1001": "train", "4001": "train", "7001": "val", "7002": "test"}
    for row in rows(shards, "topcon_triton"):
        assert row.split == told.get(row.participant, row.split)


def test_verify_finds_nothing(shards: Path) -> None:
    for device in ("heidelberg_spectralis", "topcon_maestro2", "topcon_triton", "zeiss_cirrus"):
        assert verify.verify(str(shards / device), True, lambda *told: None) == []


def test_two_workers_give_the_same_bytes(
    unpacked: tuple[Path, unzip.UnzipReport], shards: Path, tmp_path: Path
) -> None:
    cfg = PrepConfig(src=str(unpacked[0]), dst=str(tmp_path), workers=2)
    run.shard(cfg, ["topcon_triton"])
    for file in (path for path in (shards / "topcon_triton").iterdir() if path.name != tables.RUN_INFO):
        assert (tmp_path / "topcon_triton" / file.name).read_bytes() == file.read_bytes()


def test_decoded_frames_equal_pydicoms_pixel_array(realdata: Path) -> None:
    """One scan of each encoding: JPEG 2000 lossless and lossy."""
    with zipfile.ZipFile(realdata / "topcon_triton" / "topcon_triton.zip") as archive:
        for name in archive.namelist():
            if not name.startswith(("7002/7002_triton_macula_6x6_oct_l", "7001")):
                continue
            data = archive.read(name)
            header = dicom.read_header(data, 10**9)
            found = np.stack(list(decode.frames(data, header)))
            assert (found == pydicom.dcmread(io.BytesIO(data)).pixel_array).all()


def test_a_resampled_volume_is_the_box_average_of_its_source(
    unpacked: tuple[Path, unzip.UnzipReport], shards: Path
) -> None:
    """The Cirrus volume by a second method: exact overlap of voxel boxes, axis by axis, in float64."""
    (row,) = rows(shards, "zeiss_cirrus")
    data = (unpacked[0] / row.source).read_bytes()
    volume = np.stack(list(decode.frames(data, dicom.read_header(data, 10**9)))).astype(np.float64)
    for axis, n_out in enumerate(row.shape_out or ()):
        cumulative = np.concatenate([np.zeros_like(volume.take([0], axis)), volume.cumsum(axis)], axis)
        edges = np.arange(n_out + 1) * volume.shape[axis] / n_out
        below = np.minimum(edges.astype(int), volume.shape[axis] - 1)
        share = np.expand_dims(edges - below, tuple(i for i in range(3) if i != axis))
        at_edges = cumulative.take(below, axis) + share * volume.take(below, axis)
        volume = np.diff(at_edges, axis=axis) * n_out / volume.shape[axis]
    assert row.offset is not None
    assert row.nbytes is not None
    piece = store.read_range(str(shards / "zeiss_cirrus" / row.shard), row.offset, row.offset + row.nbytes)
    stored = shard.unpack(piece, row.key, row.xxh3, "cirrus").voxels_DHW
    assert "slow_axis_flipped" in row.flags
    assert np.abs(stored - volume[::-1]).max() <= 0.5 + 1e-3
