"""Volumes out of shards: what other readers and prep itself read back, and what is refused before a byte."""

import gzip
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import octshard
from octshard.dataset import sample, shard, tables
from octshard.dataset.tables import SampleRow, ShardInfo
from octshard.errors import UsageError
from octshard.export import volume_file, volumes
from octshard.export.volumes import VolumeRequest
from octshard.rng import rng_for
from octshard.storage import store
from tests.support.tiny_run import BLACK, SHAPE, STEP, odd_wide, voxels_of, write_dataset

DEVICE = "topcon_triton"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Shards of two scans, and the row of a file that was refused."""
    there = tmp_path_factory.mktemp("shards")
    place = str(there / DEVICE)
    rows, slices, at = [], [], 0
    for number in range(2):
        key = f"100{number}-{DEVICE}-3d_macula-L-{number}beccc3e0c"
        voxels_DHW = rng_for("volumes", number).integers(0, 256, (5, 7, 9), dtype=np.uint8)
        slices.append(shard.pack(key, {}, voxels_DHW, 1))
        row = SampleRow(
            key, f"100{number}", DEVICE, "Topcon", "Triton", "3d_macula", "Macula", "L", "train",
            f"oct/100{number}.dcm", shard="train-000000.tar", offset=at, nbytes=len(slices[-1]),
            xxh3=shard.slice_digest(slices[-1]), shape_out=(5, 7, 9), spacing_out=(0.05, 0.0123, 0.017),
        )  # fmt: skip
        rows.append(row)
        at += len(slices[-1])
    bad = SampleRow("bad", "9", DEVICE, "", "", "", "", "", "train", "", status="refused", reason="truncated")
    with store.open_write(store.join(place, "train-000000.tar")) as file:
        sums = shard.write(file, slices)
    infos = [ShardInfo("train-000000.tar", DEVICE, "train", 2, sums.bytes, sums.sha256)]
    tables.write_rows(store.join(place, tables.SAMPLES), [*rows, bad])
    tables.write_shards(store.join(place, tables.SHARDS), infos)
    tables.write_info(store.join(place, tables.INFO), {"counts": {"train": 2}})
    return str(there)


@pytest.fixture(scope="module")
def stored(folder: str) -> list[SampleRow]:
    return tables.open_dataset(f"{folder}/{DEVICE}").samples("train")


def voxels(folder: str, row: SampleRow) -> np.ndarray:
    return sample.read(f"{folder}/{DEVICE}", row).voxels_DHW


def export(folder: str, keys: list[str], out: Path, form: str = "", *, replace: bool = False) -> list[str]:
    return list(volumes.export(VolumeRequest(folder, keys, str(out), form, replace)))


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nii"])
def test_prep_reads_a_nifti_as_it_was_stored(folder, stored, tmp_path, name):
    pytest.importorskip("nibabel")
    (line,) = export(folder, [stored[0].key], tmp_path / name)
    volume = octshard.open_volume(str(tmp_path / name))
    np.testing.assert_array_equal(volume.voxels_DHW, voxels(folder, stored[0]))
    assert volume.spacing_mm == stored[0].spacing_out == (0.05, 0.0123, 0.017)
    assert "0.05 x 0.0123 x 0.017 mm" in line


def test_itk_shows_a_nifti_along_its_own_axes(folder, stored, tmp_path):
    itk = pytest.importorskip("SimpleITK")
    pytest.importorskip("nibabel")
    export(folder, [stored[0].key], tmp_path / "scan.nii.gz")
    image = itk.ReadImage(str(tmp_path / "scan.nii.gz"))
    np.testing.assert_array_equal(itk.GetArrayFromImage(image), voxels(folder, stored[0]))
    assert image.GetSpacing() == pytest.approx((0.017, 0.0123, 0.05))
    np.testing.assert_allclose(image.GetDirection(), np.eye(3).ravel(), atol=1e-6)
    np.testing.assert_allclose(image.GetOrigin(), 0, atol=1e-6)


def test_the_affine_has_the_lengths_of_the_metatensor(folder, stored, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    export(folder, [stored[0].key], tmp_path / "scan.nii")
    image = nibabel.load(tmp_path / "scan.nii")
    dz, dy, dx = stored[0].spacing_out
    np.testing.assert_allclose(image.affine, np.diag([-dx, -dy, dz, 1]), atol=1e-7)
    assert image.header["sform_code"] == image.header["qform_code"] == 1
    assert image.header.get_xyzt_units()[0] == "mm"


def test_an_assumed_spacing_comes_back_as_none(stored, tmp_path):
    pytest.importorskip("nibabel")
    row, voxels_DHW = replace(stored[0], assumed_spacing=1), np.ones((2, 3, 4), np.uint8)
    (tmp_path / "a.nii").write_bytes(volume_file.nifti(row, voxels_DHW, gzipped=False))
    with pytest.raises(octshard.OctshardError, match="spacing"):
        octshard.open_volume(str(tmp_path / "a.nii"))
    facts = json.loads(volume_file.description(row, voxels_DHW))
    assert (facts["spacing_mm"], facts["spacing_assumed"]) == (None, True)


def test_the_same_volume_gives_the_same_bytes_and_names_no_person(stored):
    pytest.importorskip("nibabel")
    row, voxels_DHW = replace(stored[0], key="k", participant="1001"), np.ones((2, 3, 4), np.uint8)
    first, second = (volume_file.nifti(row, voxels_DHW, gzipped=True) for _ in range(2))
    assert first == second
    assert b"1001" not in gzip.decompress(first) + volume_file.description(row, voxels_DHW)


def test_an_axis_too_long_for_the_first_version_is_written_in_the_second(stored):
    nibabel = pytest.importorskip("nibabel")
    voxels_DHW = np.arange(40_000, dtype=np.uint16).reshape(1, 1, 40_000)
    image = nibabel.Nifti2Image.from_bytes(volume_file.nifti(stored[0], voxels_DHW, gzipped=False))
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, voxels_DHW)


def test_npy_of_several_keys_each_with_its_facts(folder, stored, tmp_path):
    keys = [row.key for row in stored]
    assert len(export(folder, [*keys, keys[0]], tmp_path / "out", "npy")) == 2
    for row in stored:
        array = np.load(tmp_path / "out" / f"{row.key}.npy")
        np.testing.assert_array_equal(array, voxels(folder, row))
        facts = json.loads((tmp_path / "out" / f"{row.key}.json").read_text())
        assert (facts["key"], facts["device"], facts["eye"]) == (row.key, DEVICE, "L")
        assert (facts["axes"], facts["shape"]) == ("dhw", list(array.shape))
        assert facts["spacing_mm"] == [0.05, 0.0123, 0.017]
        assert not {"participant", "source", "acquired"} & set(facts)


def test_png_of_every_b_scan_and_none_of_an_older_longer_volume(folder, stored, tmp_path):
    key = stored[0].key
    export(folder, [key], tmp_path)
    (tmp_path / key / "00099.png").write_bytes(b"old")
    export(folder, [key], tmp_path, "png", replace=True)
    frames = [np.asarray(Image.open(path)) for path in sorted((tmp_path / key).iterdir())]
    np.testing.assert_array_equal(np.stack(frames), voxels(folder, stored[0]))


def test_a_png_keeps_sixteen_bits():
    bscan_HW = np.array([[0, 257], [40_000, 65_535]], np.uint16)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(volume_file.png(bscan_HW)))), bscan_HW)


def test_sixteen_bits_come_out_level_by_level_with_what_is_black_and_white(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    url = write_dataset(tmp_path / DEVICE, {"train": 2}, is_wide=odd_wide)
    (row,) = (row for row in tables.open_dataset(url).samples("train") if row.dtype == "uint16")
    levels = voxels_of(row.key, SHAPE).astype(np.uint16) * STEP + BLACK
    scale = [BLACK, BLACK + 255 * STEP]
    for name in ("a.nii.gz", "a.nii"):
        export(str(tmp_path), [row.key], tmp_path / name)
        image = nibabel.load(tmp_path / name)
        assert image.get_data_dtype() == np.uint16
        np.testing.assert_array_equal(np.asarray(image.dataobj).transpose(), levels)
        assert [image.header["cal_min"], image.header["cal_max"]] == scale
    export(str(tmp_path), [row.key], tmp_path / "a.npy")
    array = np.load(tmp_path / "a.npy")
    assert array.dtype == np.uint16
    np.testing.assert_array_equal(array, levels)
    facts = json.loads((tmp_path / "a.json").read_text())
    assert (facts["dtype"], facts["source_levels"]) == ("uint16", scale)
    export(str(tmp_path), [row.key], tmp_path / "png")
    frames = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "png" / row.key).iterdir())]
    np.testing.assert_array_equal(np.stack(frames), levels)


@pytest.mark.parametrize("name", ["scan.npy", "folder"])
def test_what_is_there_stays_without_replace(folder, stored, tmp_path, name):
    keys = [stored[0].key]
    export(folder, keys, tmp_path / name)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=r"is there already.*--replace"):
        export(folder, keys, tmp_path / name)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    export(folder, keys, tmp_path / name, replace=True)


def test_a_foreign_folder_is_not_touched(folder, stored, tmp_path):
    (tmp_path / stored[0].key).mkdir()
    (tmp_path / stored[0].key / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"'notes.txt', which is no B-scan"):
        export(folder, [stored[0].key], tmp_path, replace=True)


def test_other_keys_are_said_to_be_wrong_before_anything_is_written(folder, stored, tmp_path):
    key, out = stored[0].key, tmp_path / "out"
    (refused,) = tables.open_dataset(f"{folder}/{DEVICE}").refused
    for wrong, text in (
        (key[:-1] + "_", f"did you mean {key}"),
        (key[-10:], f"did you mean {key}"),
        ("", "the keys stand in samples.parquet"),
        (refused.key, "was refused: truncated"),
    ):
        with pytest.raises(UsageError, match=text):
            export(folder, [key, wrong], out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("count", "name", "form", "text"),
    [
        (2, "a.npy", "", "one file, and 2 keys"),
        (1, "a.npy", "png", "want the same of both"),
        (1, "", "", "want a place"),
    ],
)
def test_a_place_that_does_not_agree(folder, stored, tmp_path, count, name, form, text):
    out = tmp_path / name if name else ""
    with pytest.raises(UsageError, match=text):
        export(folder, [row.key for row in stored[:count]], out, form)
    assert not list(tmp_path.iterdir())


def test_slices_that_are_no_stack_have_no_affine(stored, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    row = replace(stored[0], slice_axis="degrees", slice_places="0 90", geometry="radial")
    row = replace(row, spacing_out=(1.0, 0.0123, 0.017))
    (tmp_path / "a.nii").write_bytes(volume_file.nifti(row, np.ones((2, 3, 4), np.uint8), gzipped=False))
    assert nibabel.load(tmp_path / "a.nii").header.get_xyzt_units()[0] == "unknown"
    facts = json.loads(volume_file.description(row, np.ones((2, 3, 4), np.uint8)))
    assert (facts["spacing_mm"], facts["spacing_assumed"]) == (None, False)
    assert facts["pixel_spacing_mm"] == [0.0123, 0.017]
    assert (facts["slice_axis"], facts["slice_places"]) == ("degrees", [0.0, 90.0])
