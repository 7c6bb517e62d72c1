"""Maps on the stored grid: against SimpleITK's nearest neighbour, in the order of frames that prep gave."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK

from octshard.config.dense import MapConfig
from octshard.dataset.tables import SampleRow
from octshard.errors import OctshardError, UsageError
from octshard.eval.dense import stored_map

FILE, STORED = (7, 20, 9), (3, 8, 13)
ROW = SampleRow(
    "key", "1", "d", "m", "m", "p", "Macula", "L", "train", "a.dcm",
    frames=7, rows=20, cols=9, spacing_in=(0.3, 0.01, 0.13), shape_out=STORED, spacing_out=(0.7, 0.025, 0.09),
)  # fmt: skip
CFG = MapConfig()
LABELS = np.random.default_rng(0).integers(0, 5, FILE).astype(np.uint8)


@pytest.fixture
def save(tmp_path):
    def to(array: np.ndarray, name: str = "a.npy") -> str:
        np.save(tmp_path / name, array)
        return str(tmp_path / name)

    return to


def nifti(path: str, array: np.ndarray, sizes: tuple[float, ...]) -> str:
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(array, np.diag([*sizes, 1.0])), path)
    return path


def by_simpleitk(labels_DHW: np.ndarray) -> np.ndarray:
    """The same extent on the stored grid: voxel edges coincide."""
    image = SimpleITK.GetImageFromArray(labels_DHW)
    image.SetOrigin([0.5] * 3)  # a voxel long
    factors = [n / m for n, m in zip(FILE, STORED, strict=True)]
    filter_ = SimpleITK.ResampleImageFilter()
    filter_.SetInterpolator(SimpleITK.sitkNearestNeighbor)
    filter_.SetSize(STORED[::-1])
    filter_.SetOutputSpacing(factors[::-1])
    filter_.SetOutputOrigin([f / 2 for f in factors[::-1]])
    return SimpleITK.GetArrayFromImage(filter_.Execute(image))


def test_labels_are_those_of_the_nearest_voxel(save):
    np.testing.assert_array_equal(stored_map.labels_of(save(LABELS), ROW, CFG), by_simpleitk(LABELS))


def test_a_map_of_the_stored_volume_stays(save):
    stored = LABELS[:3, :8, :1].repeat(13, axis=2)
    flipped = replace(ROW, flags=("slow_axis_flipped", "frames_sorted", "frames_mirrored"))
    for row in (ROW, flipped):
        np.testing.assert_array_equal(stored_map.labels_of(save(stored), row, CFG), stored)
        np.testing.assert_array_equal(
            stored_map.labels_of(save(stored), row, replace(CFG, grid="stored")), stored
        )


def test_frames_that_prep_turned_round_are_turned_round(save):
    row = replace(ROW, flags=("slow_axis_flipped",))
    expected = by_simpleitk(np.ascontiguousarray(LABELS[::-1]))
    np.testing.assert_array_equal(stored_map.labels_of(save(LABELS), row, CFG), expected)
    assert (expected != by_simpleitk(LABELS)).any()


@pytest.mark.parametrize("flag", ["frames_sorted", "frames_mirrored"])
def test_a_map_of_a_file_whose_frames_moved_is_refused(save, flag):
    with pytest.raises(OctshardError, match=rf"whose frames prep moved \({flag}\); want a map of the stored"):
        stored_map.labels_of(save(LABELS), replace(ROW, flags=(flag,)), CFG)


def test_where_both_grids_fit_and_differ_the_user_says_which(save):
    row = replace(ROW, shape_out=FILE, spacing_out=ROW.spacing_in, flags=("slow_axis_flipped",))
    with pytest.raises(
        UsageError, match=r"fits the file and the stored volume.*want grid=file or grid=stored"
    ):
        stored_map.labels_of(save(LABELS), row, CFG)
    of_file, of_stored = (
        stored_map.labels_of(save(LABELS), row, replace(CFG, grid=grid)) for grid in ("file", "stored")
    )
    np.testing.assert_array_equal(of_file, LABELS[::-1])
    np.testing.assert_array_equal(of_stored, LABELS)
    plain = stored_map.labels_of(save(LABELS), replace(row, flags=()), CFG)
    np.testing.assert_array_equal(plain, LABELS)


@pytest.mark.parametrize("axes", ["whd", "dhw"])
def test_nifti_in_either_order_of_axes(tmp_path, axes):
    order = slice(None, None, -1) if axes == "whd" else slice(None)
    array = LABELS.T.copy() if axes == "whd" else LABELS
    url = nifti(f"{tmp_path}/a.nii.gz", array, ROW.spacing_in[order])
    labels = stored_map.labels_of(url, ROW, replace(CFG, axes=axes))
    np.testing.assert_array_equal(labels, by_simpleitk(LABELS))
    with pytest.raises(OctshardError, match=r"want file grid \([DW], H, [DW]\)"):
        stored_map.labels_of(url, ROW, replace(CFG, axes="dhw" if axes == "whd" else "whd"))


def test_other_voxel_sizes_are_another_scan(tmp_path):
    url = nifti(f"{tmp_path}/a.nii", LABELS, (0.3, 0.01, 0.2))
    with pytest.raises(
        OctshardError, match=r"voxels of 0.3 x 0.01 x 0.2 mm, want those of key: file 0.3 x 0.01 x 0.13 mm"
    ):
        stored_map.labels_of(url, ROW, replace(CFG, axes="dhw"))
    no_stack = replace(ROW, slice_axis="degrees", spacing_in=(1.0, 0.01, 0.2))  # 1 mm is no step
    stored_map.labels_of(url, no_stack, replace(CFG, axes="dhw"))
    with pytest.raises(OctshardError, match=r"want those of key: file [?] x 0.01 x 0.3 mm"):
        stored_map.labels_of(url, replace(no_stack, spacing_in=(1.0, 0.01, 0.3)), replace(CFG, axes="dhw"))
    unknown = replace(ROW, assumed_spacing=1)  # prep did not know them either
    stored_map.labels_of(url, unknown, replace(CFG, axes="dhw"))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (LABELS + 0.5, "values from 0.5 to 4.5, want whole numbers, 0 to 254"),
        (LABELS.astype(np.int16) - 1, "values from -1 to 3, want whole"),
        (LABELS.astype(np.int16) + 255, "values from 255 to 259"),
        (np.where(LABELS > 0, np.nan, 0.0), "values that are no numbers"),
        (LABELS.astype("U1"), "values that are no numbers, want labels"),
        (LABELS[:6], r"shape \(6, 20, 9\), want file grid \(D, H, W\) \(7, 20, 9\) or stored grid"),
        (LABELS[0], r"shape \(20, 9\), want file grid"),
    ],
)
def test_what_are_no_labels_is_said(save, array, message):
    with pytest.raises(OctshardError, match=message):
        stored_map.labels_of(save(array), ROW, CFG)


def test_a_row_of_an_old_table_knows_its_stored_grid_alone(save):
    row = replace(ROW, frames=None)
    with pytest.raises(OctshardError, match=r"want stored grid \(D, H, W\) \(3, 8, 13\)$"):
        stored_map.labels_of(save(LABELS), row, CFG)
    with pytest.raises(OctshardError, match="the shape of its file is not recorded"):
        stored_map.labels_of(save(LABELS), row, replace(CFG, grid="file"))


def test_what_is_measured_is_averaged(save):
    """From 6 x 4 to 3 x 2: means of 2 x 2, in shares of the greatest of the type."""
    row = replace(ROW, frames=6, cols=4, shape_out=(3, 8, 2))
    picture = np.arange(24, dtype=np.uint8).reshape(6, 4) * 10
    expected = picture.reshape(3, 2, 2, 2).mean(axis=(1, 3)) / 255
    np.testing.assert_allclose(stored_map.en_face_of(save(picture), row, CFG), expected, rtol=1e-6)
    turned = replace(row, flags=("slow_axis_flipped",))
    np.testing.assert_allclose(stored_map.en_face_of(save(picture), turned, CFG), expected[::-1], rtol=1e-6)


def test_a_volume_of_flow_is_seen_from_above(save):
    volume = np.random.default_rng(1).random(STORED)
    np.testing.assert_allclose(stored_map.en_face_of(save(volume), ROW, CFG), volume.mean(axis=1), rtol=1e-6)


@pytest.mark.parametrize("array", [np.full((7, 9), 1.5), np.full((7, 9), -1, np.int16)])
def test_flow_beyond_its_range_is_said(save, array):
    with pytest.raises(OctshardError, match="want whole numbers from 0, or shares from 0 to 1"):
        stored_map.en_face_of(save(array), ROW, CFG)
