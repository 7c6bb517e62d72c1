"""One volume in every format, by independent writers, becomes what it becomes as a DICOM file."""

import dataclasses
import io
import json
import tarfile

import numpy as np
import pydicom
import pytest

from octshard.dataset import shard, stored_scale
from octshard.prep import crosscheck
from octshard.prep.convert.sample import Converted
from octshard.prep.dicom import writer
from octshard.prep.readers import recognise
from octshard.prep.readers.scan_bytes import ScanBytes
from tests.support import every_format
from tests.support.array_files import TELLING, WRITERS
from tests.support.device_files.conversion import CFG, converted, facts_of
from tests.support.made_release import scan

SPACING = 0.04, 0.01, 0.02
ROW = {"eye": "L", "sop_instance_uid": scan().sop_instance_uid}
LISTED = {**ROW, "pixel_mm": SPACING[1:], "slice_mm": SPACING[0]}


def dicom(voxels_DHW: np.ndarray, **values: object) -> bytes:
    """The volume without any place of its frames."""
    made = dataclasses.replace(scan(), voxels_DHW=voxels_DHW, locations=(), **values)
    return writer.write(made)


def wide_dicom(voxels_DHW: np.ndarray) -> bytes:
    """16 bits allocated, 12 stored."""
    return deep_dicom(dataclasses.replace(scan(), locations=()), voxels_DHW, 12)


def deep_dicom(made: writer.Scan, voxels_DHW: np.ndarray, bits: int = 16) -> bytes:
    """Other voxels, 16 bits of each allocated."""
    ds = pydicom.dcmread(io.BytesIO(writer.write(made)))
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits, bits - 1
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


NO_PLACES = {"npy", "npz", "mat", "tiff", "nifti", "metaimage", "nrrd", "images"}  # formats without geometry
WAYS = [
    (form, way)
    for form, ways in every_format.scans().items()
    for way in ways
    if form not in ("dicom", "image") and way != "JPEG"  # one B-scan; lossy
]


def levels_in(form: str, way: str, voxels_DHW: np.ndarray) -> np.ndarray:
    """What the file of `every_format` holds, by what its writer did with the scan's grey levels."""
    if form == "oct":
        return voxels_DHW.astype(np.uint16) * 100
    if way.startswith("@"):
        return voxels_DHW.astype(np.uint16)
    if form == "optovue":  # floats, of which 16 bits are filled
        values = voxels_DHW - float(voxels_DHW.min())
        return np.rint(values * (65535 / values.max())).astype(np.uint16)
    return voxels_DHW


@pytest.mark.parametrize(("form", "way"), WAYS)
def test_every_format_gives_the_shard_of_dicom_to_the_byte(form: str, way: str) -> None:
    """As one manifest tells eye and spacing of both; only flags of how levels came about may differ."""
    made = every_format.cube() if form == "img" else scan()
    row = {"pixel_mm": made.pixel_spacing_mm, "slice_mm": made.slice_thickness_mm, **ROW}
    row["sop_instance_uid"] = made.sop_instance_uid
    levels_DHW = levels_in(form, way, made.voxels_DHW)
    placed = dataclasses.replace(made, locations=() if form in NO_PLACES else made.locations)
    data = writer.write(placed) if levels_DHW.dtype == np.uint8 else deep_dicom(placed, levels_DHW)
    expected = converted("a.dcm", data, **row)
    (name, first), *beside = every_format.scans()[form][way].items()
    if form == "images":
        name, first, beside = every_format.FOLDER, b"", list(every_format.scans()[form][way].items())
    ours = converted(name, first, dict(beside), **row)
    assert (ours.row.status, ours.row.format, ours.row.eye) == ("ok", form, "L")
    assert ours.row.spacing_in == pytest.approx(expected.row.spacing_in, rel=1e-6)
    if form in ("vol", "e2e", "optovue"):  # whose numbers are no grey levels, and whose row says so
        assert set(ours.row.flags) - set(expected.row.flags) == {"levels_rescaled"}
        assert without_flags(ours) == without_flags(expected)
    elif ours.row.spacing_in == expected.row.spacing_in:
        assert ours.data == expected.data
    else:  # a file that tells the size of the whole, or the last digits of a number
        assert ours.row.flags == expected.row.flags
        assert ours.row.sha256 == expected.row.sha256


def without_flags(done: Converted) -> list[tuple[str, object]]:
    """The members of a tar slice; of the JSON all but flags, and spacing to a millionth."""
    with tarfile.open(fileobj=io.BytesIO(done.data + bytes(1024))) as archive:
        members = {info.name: archive.extractfile(info).read() for info in archive}  # type: ignore[union-attr]
    result: list[tuple[str, object]] = []
    for name, data in members.items():
        if name.endswith(".json"):
            meta = json.loads(data)
            spacing = [float(f"{mm:.6g}") for mm in meta.pop("spacing_mm")]
            result.append((name, {**meta, "flags": (), "spacing_mm": spacing}))
        else:
            result.append((name, data))
    return result


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
