"""One volume in every format, by independent writers, becomes what it becomes as a DICOM file."""

import dataclasses
import io

import numpy as np
import pydicom
import pytest

from octshard.dataset import shard, stored_scale
from octshard.prep import crosscheck
from octshard.prep.dicom import writer
from octshard.prep.readers import recognise
from octshard.prep.readers.scan_bytes import ScanBytes
from tests.support.array_files import TELLING, WRITERS
from tests.support.device_files.conversion import CFG, converted, facts_of
from tests.support.made_release import scan

SPACING = 0.04, 0.01, 0.02
ROW = {"eye": "L", "sop_instance_uid": "2.25.7"}
LISTED = {**ROW, "pixel_mm": SPACING[1:], "slice_mm": SPACING[0]}


def dicom(voxels_DHW: np.ndarray, **values: object) -> bytes:
    """The volume without any place of its frames."""
    made = dataclasses.replace(scan(), voxels_DHW=voxels_DHW, locations=(), **values)
    return writer.write(made)


def wide_dicom(voxels_DHW: np.ndarray) -> bytes:
    """16 bits allocated, 12 stored."""
    ds = pydicom.dcmread(io.BytesIO(dicom(scan().voxels_DHW)))
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelData = voxels_DHW.astype("<u2").tobytes()
    file = io.BytesIO()
    ds.save_as(file)
    return file.getvalue()


@pytest.mark.parametrize("kind", WRITERS)
def test_the_shard_gets_the_bytes_that_it_gets_from_dicom(kind: str) -> None:
    silent = {"measures": "none", "pixel_spacing_mm": None, "slice_thickness_mm": None}
    expected = converted("a.dcm", dicom(scan().voxels_DHW, **silent), **LISTED)
    (name, data), *beside = WRITERS[kind](scan().voxels_DHW, SPACING).items()
    row, tar_slice = converted(name, data, dict(beside), **LISTED)
    assert (row.status, row.detail) == ("ok", expected.row.detail)
    assert row.spacing_in == pytest.approx(SPACING, abs=1e-12)
    assert row.sha256 == expected.row.sha256
    if kind not in TELLING:
        assert (row.spacing_source, row.flags) == ("manifest", expected.row.flags)
        assert tar_slice == expected.data
    else:
        assert (row.spacing_source, set(row.flags) - set(expected.row.flags)) == ("file", set())


@pytest.mark.parametrize("dtype", ["u2", "i2", "f4", "f8"])
@pytest.mark.parametrize("kind", WRITERS)
def test_wider_numbers_come_out_as_they_went_in(kind: str, dtype: str) -> None:
    """uint16 to the number; the others by the map of `levels`, worked out here once more."""
    if kind == "tiff by ImageJ" and dtype in ("i2", "f8"):
        pytest.skip("ImageJ has no such numbers")
    values = scan().voxels_DHW.astype(np.float64) * 100 - (0 if dtype == "u2" else 3000)
    (name, data), *beside = WRITERS[kind](values.astype(dtype), SPACING).items()
    opened = recognise.open_scan(ScanBytes(data, name, folder=dict(beside).__getitem__))
    low = 0.0 if dtype == "u2" else values.min()
    scale = 65535 / np.ptp(values) if dtype in ("f4", "f8") else 1.0
    np.testing.assert_array_equal(np.stack(list(opened.frames())), np.rint((values - low) * scale))


@pytest.mark.parametrize("kind", ["dicom", *WRITERS])
def test_kept_levels_are_in_the_shard_as_in_the_file(kind: str) -> None:
    """12 bits from 60 to 4095, on the grid of the file: no resampling, and every level comes back."""
    wide = scan().voxels_DHW.astype(np.uint16) * 15 + 60
    wide[2, 3, 4] = 4095
    kept = dataclasses.replace(CFG, bits="keep", target_spacing=list(SPACING))
    files = {"a.dcm": wide_dicom(wide)} if kind == "dicom" else WRITERS[kind](wide, SPACING)
    (name, data), *beside = files.items()
    (row, tar_slice), eight = (
        converted(name, data, dict(beside), cfg, **LISTED)
        for cfg in (kept, dataclasses.replace(kept, bits="8"))
    )
    assert (row.status, row.dtype) == ("ok", "uint16")
    assert {*row.flags, "mapped_to_uint8"} == {*eight.row.flags}
    stored = shard.unpack(tar_slice, row.key, row.xxh3, kind)
    np.testing.assert_array_equal(stored.voxels_DHW, wide)
    assert stored.voxels_DHW.dtype == np.uint16
    grey_8 = shard.unpack(eight.data, eight.row.key, eight.row.xxh3, kind)
    np.testing.assert_array_equal(stored_scale.grey_uint8(stored), grey_8.voxels_DHW)
    assert np.abs(stored_scale.batch_voxels(stored) / 128 - grey_8.voxels_DHW).max() <= 0.5
    assert list(crosscheck.sample(row, stored)) == []
    assert [row.mean, row.std] == pytest.approx([eight.row.mean, eight.row.std], abs=0.2)


@pytest.mark.parametrize("kind", TELLING)
def test_what_the_file_tells_needs_no_manifest(kind: str) -> None:
    expected = converted("a.dcm", dicom(scan().voxels_DHW), **ROW)
    (name, data), *beside = TELLING[kind](scan().voxels_DHW, SPACING).items()
    row, tar_slice = converted(name, data, dict(beside), **ROW)
    wanted = {**facts_of(expected.row), "spacing_in": pytest.approx(SPACING, abs=1e-12)}
    wanted["spacing_out"] = pytest.approx(expected.row.spacing_out, abs=1e-12)
    assert facts_of(row) == wanted
    assert row.flags == expected.row.flags
    if row.spacing_in == expected.row.spacing_in:
        assert tar_slice == expected.data


@pytest.mark.parametrize("kind", WRITERS)
def test_the_row_names_the_format(kind: str) -> None:
    (name, data), *beside = WRITERS[kind](scan().voxels_DHW, SPACING).items()
    row = converted(name, data, dict(beside)).row
    assert row.format == kind.partition(",")[0].partition(" ")[0].removesuffix("-2")
    assert row.format in recognise.READERS


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if "two files" in kind])
def test_files_that_share_a_header_are_no_duplicates(kind: str) -> None:
    digests = set()
    for voxels_DHW in (scan(1).voxels_DHW, scan(2).voxels_DHW):
        (name, _), *beside = WRITERS[kind](voxels_DHW, SPACING).items()
        (_, header), *_ = WRITERS[kind](scan(1).voxels_DHW, SPACING).items()
        if "packed" not in kind:  # whose header has the packed size
            digests.add(converted(name, header, dict(beside)).row.source_xxh3)
    assert len(digests) == (0 if "packed" in kind else 2)


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if "two files" in kind])
def test_a_header_alone_has_no_pixels(kind: str) -> None:
    (name, data), *_ = WRITERS[kind](scan().voxels_DHW, SPACING).items()
    row = converted(name, data).row
    assert row.reason == "no_pixel_data"
    assert row.detail.startswith("its pixels are said to lie in ")
