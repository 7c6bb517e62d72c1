"""Maps as NumPy and nibabel write them come back; whatever else the bytes are ends as one line."""

import gzip
import io
import sys

import numpy as np
import pytest

from octshard.errors import OctshardError, UsageError
from octshard.eval.dense import map_file

nibabel = pytest.importorskip("nibabel")
SHAPE = (4, 5, 6)
SHAPES = {SHAPE: "file grid (D, H, W)", (2, 5, 6): "stored grid (D, H, W)"}
VALUES = np.arange(120, dtype=np.uint8).reshape(SHAPE)


def npy(array: np.ndarray, **more: bool) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **more)
    return file.getvalue()


def nifti(array: np.ndarray, sizes: tuple[float, ...] = (0.1, 0.2, 0.3), unit: str = "mm") -> bytes:
    image = nibabel.Nifti1Image(array, np.diag([*sizes, 1.0]))
    image.header.set_zooms(sizes + (1.0,) * (array.ndim - 3))
    image.header.set_xyzt_units(unit)
    return image.to_bytes()


def read(tmp_path, name: str, data: bytes) -> map_file.MapFile:
    (tmp_path / name).write_bytes(data)
    return map_file.read(str(tmp_path / name), SHAPES)


def test_an_npy_comes_back(tmp_path):
    for array in (VALUES, np.asfortranarray(VALUES), VALUES[:2].astype(np.float64)):
        result = read(tmp_path, "a.npy", npy(array))
        np.testing.assert_array_equal(result.values, array)
        assert result.spacing_mm is None


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("micron", 1e-3), ("meter", 1e3), ("unknown", 1)])
def test_a_nifti_comes_back_with_its_sizes_in_mm(tmp_path, name, unit, factor):
    data = nifti(VALUES, unit=unit)
    result = read(tmp_path, name, gzip.compress(data) if name.endswith("gz") else data)
    np.testing.assert_array_equal(result.values, VALUES)
    assert result.spacing_mm == pytest.approx([0.1 * factor, 0.2 * factor, 0.3 * factor])


def test_a_nifti_of_version_two_and_one_with_a_time_axis_of_one(tmp_path):
    second = nibabel.Nifti2Image(VALUES, np.eye(4)).to_bytes()
    np.testing.assert_array_equal(read(tmp_path, "a.nii", second).values, VALUES)
    np.testing.assert_array_equal(read(tmp_path, "a.nii", nifti(VALUES[..., None])).values, VALUES)


def test_sizes_of_one_say_nothing(tmp_path):
    assert read(tmp_path, "a.nii", nifti(VALUES, (1.0, 1.0, 1.0))).spacing_mm is None


@pytest.mark.parametrize("ending", ["npy", "nii"])
def test_another_shape_names_all_that_fit(tmp_path, ending):
    data = (npy if ending == "npy" else nifti)(VALUES.T.copy())
    with pytest.raises(
        OctshardError, match=r"shape \(6, 5, 4\), want file grid \(D, H, W\) \(4, 5, 6\) or stored"
    ):
        read(tmp_path, f"a.{ending}", data)


def test_a_header_that_claims_terabytes_is_another_shape(tmp_path):
    data = npy(VALUES).replace(b"(4, 5, 6), }", b"(4, 5, 6000000000000), }")
    with pytest.raises(OctshardError, match="want file grid"):
        read(tmp_path, "a.npy", data)


def test_a_gz_that_never_ends_is_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr(map_file, "LONGEST_HEADER", 1000)
    with pytest.raises(OctshardError, match="more than 2920 bytes, want a map of one scan"):
        read(tmp_path, "a.nii.gz", gzip.compress(bytes(10**6)))


@pytest.mark.parametrize("name", ["a.npy", "a.nii", "a.nii.gz"])
def test_no_damage_is_a_traceback(tmp_path, name):
    data = npy(VALUES) if name == "a.npy" else nifti(VALUES)
    data = gzip.compress(data, mtime=0) if name.endswith("gz") else data
    step = max(1, len(data) // 60)
    cuts = [data[:n] for n in range(0, len(data), step)]
    flips = [data[:i] + bytes([data[i] ^ 0x88]) + data[i + 1 :] for i in range(0, len(data), step)]
    ends = []
    for damaged in (*cuts, *flips, b"", b"hello", npy(np.array([{}], dtype=object), allow_pickle=True)):
        try:
            read(tmp_path, name, damaged)
        except OctshardError as error:
            ends.append(str(error))
    assert not [line for line in ends if "\n" in line]
    assert any("not a whole" in line for line in ends)


def test_without_nibabel_a_line_says_how_to_add_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(UsageError, match=r"nibabel, which reads NIfTI, is not here .*pip install.*monai"):
        read(tmp_path, "a.nii", b"")
