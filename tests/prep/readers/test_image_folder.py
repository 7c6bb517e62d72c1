"""A folder of B-scans as one scan: the bytes of the same volume as DICOM, and folders that are none."""

import dataclasses
import io

import numpy as np
import pytest

from octshard.dataset.tables import SampleRow
from octshard.prep.dicom import writer
from octshard.prep.readers import image_folder, recognise
from octshard.prep.readers.scan import Scan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from octshard.prep.release import folder_listing
from octshard.prep.release.folder_listing import Image
from tests.support import array_files
from tests.support.array_files import WRITERS
from tests.support.device_files.conversion import converted
from tests.support.image_files import b_scans, below, encoded
from tests.support.made_release import scan

FOLDER = "OCT/10001/"
VOXELS = scan().voxels_DHW
ROW = {"eye": "L", "pixel_mm": (0.01, 0.02), "slice_mm": 0.04}
KINDS = {"npy": "npy", "nii": "nifti", "mha": "metaimage", "nrrd": "nrrd"}


def row_of(files: dict[str, bytes], **values: object) -> SampleRow:
    return converted(FOLDER, b"", below(FOLDER, files), **{**ROW, **values}).row


def opened(files: dict[str, bytes]) -> Scan:
    listing = folder_listing.write(Image(name, len(data)) for name, data in files.items())
    return recognise.open_scan(ScanBytes(listing, FOLDER, folder=files.__getitem__))


def in_dicom(voxels_DHW: np.ndarray) -> SampleRow:
    silent = {"measures": "none", "pixel_spacing_mm": None, "slice_thickness_mm": None, "locations": ()}
    data = writer.write(dataclasses.replace(scan(), voxels_DHW=voxels_DHW, **silent))
    return converted("a.dcm", data, **ROW).row


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", ""), ("BMP", ""), ("TIFF", ""), ("PNG", "RGB"), ("BMP", "RGBA")]
)
def test_the_voxels_are_those_of_the_same_volume_in_dicom(kind: str, mode: str) -> None:
    expected, row = in_dicom(VOXELS), row_of(b_scans(VOXELS, kind, first=7, mode=mode))
    assert (row.status, row.detail, row.format) == ("ok", expected.detail, "images")
    assert (row.sha256, row.shape_out, row.flags) == (expected.sha256, expected.shape_out, expected.flags)
    assert (row.spacing_in, row.spacing_source) == ((0.04, 0.01, 0.02), "manifest")


def test_sixteen_bits_and_twelve_images_whose_names_sort_otherwise() -> None:
    wide = np.concatenate([VOXELS, VOXELS[::-1]]).astype(np.uint16) * 100
    files = b_scans(wide)
    assert sorted(files)[1] == "10.png"
    expected = converted("a.npy", array_files.npy(wide, (1, 1, 1))["a.npy"], **ROW).row
    assert (row_of(files).sha256, expected.status) == (expected.sha256, "ok")


@pytest.mark.parametrize("ending", KINDS)
def test_a_file_of_another_format_for_each_b_scan(ending: str) -> None:
    files = {}
    for i, image_HW in enumerate(VOXELS):
        ((_, data),) = WRITERS[KINDS[ending]](image_HW[None], (0.04, 0.01, 0.02)).items()
        files[f"b{i}.{ending}"] = data
    row = row_of(files)
    assert (row.sha256, row.format) == (in_dicom(VOXELS).sha256, "images")


def test_floats_of_all_files_are_mapped_by_one_map() -> None:
    values = VOXELS.astype(np.float32) / 7 - np.arange(len(VOXELS), dtype=np.float32)[:, None, None]
    files = {}
    for i, image_HW in enumerate(values):
        np.save(file := io.BytesIO(), image_HW)
        files[f"{i}.npy"] = file.getvalue()
    frames = np.stack(list(opened(files).frames()))
    expected = (values - values.min()) / np.ptp(values) * 65535
    np.testing.assert_allclose(frames, expected, atol=0.51)
    assert "levels_rescaled" in row_of(files).flags


def test_rows_and_columns_change_places_where_the_manifest_says_so() -> None:
    turned = b_scans(VOXELS.transpose(0, 2, 1))
    assert row_of(turned, axes="dwh").sha256 == in_dicom(VOXELS).sha256


def test_the_digest_is_of_every_image() -> None:
    files = b_scans(VOXELS)
    other = {**files, "6.png": encoded(255 - VOXELS[5])}
    digests = {row_of(made).source_xxh3 for made in (files, other, dict(reversed(files.items())))}
    assert len(digests) == 2
    assert row_of(files).source_bytes == sum(map(len, files.values()))


def test_hidden_and_other_files_do_not_count_and_images_of_other_names_are_flagged() -> None:
    files = b_scans(VOXELS)
    others = {".DS_Store": b"1", "._1.png": b"2", "Thumbs.db": b"3", "notes.txt": b"4", ".hidden.png": b"5"}
    assert row_of({**files, **others}) == row_of(files)
    row = row_of({**files, "fundus.png": encoded(VOXELS[0])})
    assert (row.flags, row.sha256) == (("geometry_unknown", "images_left_out"), row_of(files).sha256)
    assert row.detail.endswith("images left out: fundus.png")


def test_a_gap_in_the_numbers_is_uneven_and_even_strides_are_none() -> None:
    files = b_scans(VOXELS)
    del files["3.png"]
    row = row_of(files)
    text = "frames lie as uneven (the number in the images' names goes from 2 to 4), want an evenly"
    assert (row.reason, row.detail) == ("geometry_uneven", f"{text} spaced raster")
    strided = {f"{10 * i}.png": encoded(image_HW) for i, image_HW in enumerate(VOXELS)}
    assert row_of(strided).status == "ok"
    doubled = {**b_scans(VOXELS), "01.png": encoded(VOXELS[0])}
    assert row_of(doubled).reason == "geometry_uneven"


def test_one_image_is_a_line_and_two_are_a_volume() -> None:
    assert row_of(b_scans(VOXELS[:1])).reason == "geometry_line"
    assert row_of(b_scans(VOXELS[:2])).status == "ok"


COLOUR = np.dstack([VOXELS[3], VOXELS[3], 255 - VOXELS[3]])
ODD = {
    "colour": (encoded(COLOUR), "not_oct", "4.png: "),
    "mask": (encoded(VOXELS[3] > 9), "not_oct", "4.png: one bit a pixel"),
    "size": (encoded(VOXELS[3][:-1]), "unreadable", "4.png is 19 x 24 of uint8, 1.png is 20 x 24 of uint8"),
    "bits": (encoded(VOXELS[3].astype(np.uint16)), "unreadable", "4.png is 20 x 24 of uint16, 1.png is"),
    "cut": (encoded(VOXELS[3])[:-60], "truncated", "4.png: the image is cut off"),
    "empty": (b"", "truncated", "4.png: the image has 0 bytes"),
    "text": (b"<html>", "unreadable", "4.png: no image: 6 bytes without DICM"),
    "stack": (b_scans(VOXELS[3:4], "TIFF")["1.tiff"], "", ""),
    "pages": (WRITERS["tiff by OME"](VOXELS, (1, 1, 1)).popitem()[1], "several_volumes", "4.png: 6 frames"),
    "volume": (WRITERS["npy"](VOXELS, (1, 1, 1)).popitem()[1], "several_volumes", "4.png: 6 frames"),
}


@pytest.mark.parametrize("what", ODD)
def test_one_odd_image_among_sound_ones(what: str) -> None:
    data, reason, text = ODD[what]
    row = row_of({**b_scans(VOXELS), "4.png": data})
    assert row.reason == reason
    assert row.detail.startswith(text)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"notes.txt": b"none"}, "empty"),
        ({**b_scans(VOXELS), **b_scans(VOXELS, "BMP")}, "several_volumes"),
        ({"a.png": encoded(VOXELS[0]), "b.png": encoded(VOXELS[1])}, "frame_order"),
    ],
)
def test_a_folder_that_is_no_scan(files: dict[str, bytes], reason: str) -> None:
    assert row_of(files).reason == reason


def test_a_file_that_begins_as_a_listing_is_no_folder() -> None:
    data = folder_listing.write([Image("../../etc/passwd", 1)])
    with pytest.raises(Refused, match="not_dicom"):
        recognise.format_of(ScanBytes(data, "a.png"))
    with pytest.raises(Refused, match=r"not_oct|no_pixel_data|unreadable|frame_order|empty"):
        recognise.open_scan(ScanBytes(data, FOLDER))


def test_too_many_bytes_are_refused_before_any_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_folder, "MOST_IMAGES", 3)
    listing = folder_listing.write(Image(f"{i}.png", 9) for i in range(4))
    with pytest.raises(Refused, match=r"too_large: 4 images of 36 bytes, want at most 3"):
        recognise.open_scan(ScanBytes(listing, FOLDER))
