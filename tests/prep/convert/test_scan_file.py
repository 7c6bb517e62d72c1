"""One DICOM file as a Volume: as written, and in the shape of shards exactly what prep itself stores."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import octshard
from octshard.cli.main import cli
from octshard.config.prep import PrepConfig
from octshard.dataset import sample, tables
from octshard.dataset.preparation import prep_config, preparations
from octshard.errors import OctshardError
from octshard.imaging.intensity import to_uint8
from octshard.prep.convert import scan_file
from octshard.prep.dicom import writer
from octshard.prep.refusals import Refused
from octshard.rng import rng_for
from octshard.storage import store
from tests.support.array_files import SILENT, TELLING
from tests.support.image_files import b_scans
from tests.support.made_release import RASTER, File, scan, unpacked
from tests.support.scan_folder import write

FLIPPED = tuple(RASTER[::-1])
SERPENTINE = tuple(path if i % 2 == 0 else path[::-1] for i, path in enumerate(RASTER))
RADIAL = tuple(
    np.array([[500 - 200 * np.sin(a), 500 - 200 * np.cos(a)], [500 + 200 * np.sin(a), 500 + 200 * np.cos(a)]])
    for a in np.arange(6) * np.pi / 6
)


def written(folder: Path, made: writer.Scan, name: str = "a.dcm") -> Path:
    (folder / name).write_bytes(writer.write(made))
    return folder / name


def test_the_voxels_and_the_spacing_are_those_of_the_file(tmp_path: Path) -> None:
    volume = octshard.open_volume(written(tmp_path, scan()))
    np.testing.assert_array_equal(volume.voxels_DHW, scan().voxels_DHW)
    assert volume.spacing_mm == pytest.approx((0.04, 0.01, 0.02))
    assert (volume.voxels_DHW.dtype, volume.geometry) == (np.uint8, "raster")


def test_the_key_names_no_person(tmp_path: Path) -> None:
    path = written(tmp_path, scan(participant="Doe"), "Doe_Jane.dcm")
    key = octshard.open_volume(path).key
    assert (key.participant, key.device, key.protocol, key.eye) == ("", "topcon_triton", "", "L")
    assert str(key).startswith("x-topcon_triton-x-L-")
    unknown = dataclasses.replace(scan(), model="OCT")
    (tmp_path / "Doe" / "scans").mkdir(parents=True)
    assert octshard.open_volume(written(tmp_path / "Doe" / "scans", unknown)).key.device == "unknown"


def test_frames_come_in_the_order_in_which_prep_stores_them(tmp_path: Path) -> None:
    voxels = scan().voxels_DHW
    flipped = octshard.open_volume(written(tmp_path, dataclasses.replace(scan(), locations=FLIPPED)))
    np.testing.assert_array_equal(flipped.voxels_DHW, voxels[::-1])
    serpentine = octshard.open_volume(written(tmp_path, dataclasses.replace(scan(), locations=SERPENTINE)))
    expected = np.stack([frame if i % 2 == 0 else frame[:, ::-1] for i, frame in enumerate(voxels)])
    np.testing.assert_array_equal(serpentine.voxels_DHW, expected)


def test_remote_files_open_too(tmp_path: Path) -> None:
    store.write("memory://scan-file/a.dcm", writer.write(scan()))
    remote = octshard.open_volume("memory://scan-file/a.dcm")
    np.testing.assert_array_equal(remote.voxels_DHW, scan().voxels_DHW)


@pytest.mark.parametrize("kind", TELLING)
def test_other_formats_open_with_the_spacing_that_they_tell(kind: str, tmp_path: Path) -> None:
    files = TELLING[kind](scan().voxels_DHW, (0.04, 0.01, 0.02))
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        store.write(f"memory://scan-file/{kind}/{name}", data)
    for folder in (str(tmp_path), f"memory://scan-file/{kind}"):
        volume = octshard.open_volume(f"{folder}/{next(iter(files))}")
        np.testing.assert_array_equal(volume.voxels_DHW, scan().voxels_DHW)
        assert volume.spacing_mm == pytest.approx((0.04, 0.01, 0.02), abs=1e-12)


@pytest.mark.parametrize("kind", SILENT)
def test_other_formats_without_spacing_are_not_given_one(kind: str, tmp_path: Path) -> None:
    ((name, data),) = SILENT[kind](scan().voxels_DHW, (0.04, 0.01, 0.02)).items()
    (tmp_path / name).write_bytes(data)
    with pytest.raises(OctshardError, match=rf"{name}: the file does not say its voxel spacing"):
        octshard.open_volume(tmp_path / name)


def test_what_prep_refuses_is_an_error_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    whole = writer.write(scan())
    radial = writer.write(dataclasses.replace(scan(), locations=RADIAL))
    for data, reason in ((b"JFIF" * 99, "not_dicom"), (whole[:-9], "truncated"), (radial, "geometry_radial")):
        path.write_bytes(data)
        with pytest.raises(OctshardError, match=rf"^{path}: {reason}: ") as raised:
            octshard.open_volume(path)
        assert isinstance(raised.value.__cause__, Refused)
        assert raised.value.__cause__.reason == reason
    path.write_bytes(radial)
    assert scan_file.open_scan(path, PrepConfig(include_geometry=["radial"])).layout.geometry.kind == "radial"


def test_pixels_that_do_not_decode_are_an_error_with_its_reason(tmp_path: Path) -> None:
    data = bytearray(writer.write(dataclasses.replace(scan(), encoding="j2k")))
    at = data.index(b"\xff\x4f\xff\x51")  # the first codestream
    data[at + 8 : at + 12] = (25).to_bytes(4)  # its width; the header says 24
    (tmp_path / "a.dcm").write_bytes(data)
    with pytest.raises(OctshardError, match=r"a.dcm: decoder_error: frame 1: .*20 x 25"):
        octshard.open_volume(tmp_path / "a.dcm")


def test_no_file_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.dcm", "memory://scan-file/nothing.dcm", "memory://scan-file/nothing/"):
        with pytest.raises(OctshardError, match="no such file, want a scan file"):
            octshard.open_volume(path)
    with pytest.raises(OctshardError, match=r"empty: no image in the folder \(.png, "):
        octshard.open_volume(tmp_path)


@pytest.mark.parametrize("ending", ["", "/"])
def test_a_folder_is_a_scan_of_its_images(tmp_path: Path, ending: str) -> None:
    write(tmp_path, b_scans(scan().voxels_DHW))
    with pytest.raises(OctshardError, match="does not say its voxel spacing"):
        octshard.open_volume(f"{tmp_path}{ending}")
    file = scan_file.open_scan(f"{tmp_path}{ending}", PrepConfig())
    np.testing.assert_array_equal(np.stack(list(file.scan.frames())), scan().voxels_DHW)


def test_a_file_without_spacing_is_not_given_one(tmp_path: Path) -> None:
    made = dataclasses.replace(scan(), measures="none", pixel_spacing_mm=None, slice_thickness_mm=None)
    path = written(tmp_path, made)
    with pytest.raises(OctshardError, match="does not say its voxel spacing"):
        octshard.open_volume(path)
    cfg = PrepConfig(image_size=[4, 8, 8])
    volume = scan_file.stored_volume(scan_file.open_scan(path, cfg), cfg)  # stretched, as prep does
    assert volume.voxels_DHW.shape == (4, 8, 8)


def test_a_volume_that_would_be_too_large_is_refused_as_in_prep(tmp_path: Path) -> None:
    cfg = PrepConfig(target_spacing=[1e-6, 1e-6, 1e-6])
    opened = scan_file.open_scan(written(tmp_path, scan()), cfg)
    with pytest.raises(OctshardError, match=r"a.dcm: too_large: spacing .* want at most 400000000"):
        scan_file.stored_volume(opened, cfg)


def files() -> list[File]:
    """Scans that prep treats in different ways, one person each."""
    wide = np.sort(rng_for("wide").integers(0, 256, (6, 64, 96), dtype=np.uint8), axis=1)
    unknown = {"measures": "none", "pixel_spacing_mm": None, "slice_thickness_mm": None}
    made = [
        scan(1, "1"),
        dataclasses.replace(scan(2, "2"), locations=FLIPPED),
        dataclasses.replace(scan(3, "3"), locations=SERPENTINE),
        dataclasses.replace(scan(4, "4"), voxels_DHW=wide, encoding="j2k", locations=FLIPPED),
        dataclasses.replace(scan(5, "5"), **unknown),
    ]
    return [File(one, writer.write(one)) for one in made]


@pytest.mark.parametrize(
    "settings",
    ["decode: exact", "decode: fast", "fit: resize"],
)
def test_in_the_shape_of_shards_it_is_what_prep_stores(tmp_path: Path, settings: str) -> None:
    root = unpacked(tmp_path / "release", files(), {str(i): "train" for i in range(1, 6)})
    config = tmp_path / "prep.yaml"
    config.write_text(f"target_spacing: [0.09, 0.03, 0.05]\nimage_size: [4, 8, 8]\nworkers: 1\n{settings}\n")
    command = [
        "prep",
        "shard",
        str(root),
        str(tmp_path / "shards"),
        "--device",
        "all",
        "--config",
        str(config),
    ]
    done = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert done.exit_code == 0
    folder = str(tmp_path / "shards" / "topcon_triton")
    dataset = tables.open_dataset(folder)
    cfg = prep_config(*preparations([dataset]))
    levels = set()
    for row in dataset.rows:
        stored = sample.read(folder, row).voxels_DHW
        volume, _ = to_uint8(scan_file.stored_volume(scan_file.open_scan(root / row.source, cfg), cfg))
        np.testing.assert_array_equal(volume.voxels_DHW, stored)
        assert volume.spacing_mm == row.spacing_out
        levels.add(row.decoded_level)
    assert len(dataset.rows) == 5
    assert (max(levels) > 0) == (settings == "decode: fast")  # else `fast` would not have been tried
