"""NIfTI headers of every kind: nibabel writes them, and some of their bytes are changed by hand."""

import gzip
import struct

import nibabel
import numpy as np
import pytest

from octshard.prep.readers import recognise
from octshard.prep.readers.scan import Scan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from tests.support.array_files import nifti
from tests.support.made_release import scan

VOXELS = scan().voxels_DHW
BASE = nifti(VOXELS, (0.04, 0.01, 0.02))["a.nii"]


def changed(offset: int, form: str, *values: object) -> bytes:
    data = bytearray(BASE)
    struct.pack_into("<" + form, data, offset, *values)
    return bytes(data)


def image(array: np.ndarray, affine: np.ndarray, unit: str = "mm") -> bytes:
    made = nibabel.Nifti1Image(array, affine)
    made.header.set_xyzt_units(unit)
    return made.to_bytes()


def opened(data: bytes, axes: str = "", name: str = "a.nii") -> Scan:
    file = ScanBytes(data, name, axes)
    assert recognise.format_of(file) == "nifti"
    opened = recognise.open_scan(file)
    opened.check(10**6)
    return opened


def frames(scan: Scan) -> np.ndarray:
    return np.stack(list(scan.frames()))


TURNED = np.array([[0, 0.01, 0, 3], [-0.02, 0, 0, 4], [0, 0, -0.04, 5], [0, 0, 0, 1.0]])
NO_SFORM = 0


@pytest.mark.parametrize(
    ("data", "planes", "steps"),
    [
        (BASE, [(0.01, 0.02)], [0.04]),
        (image(VOXELS.T, np.diag([20, 10, 40, 1.0]), "micron"), [(0.01, 0.02)], [0.04]),
        (image(VOXELS.T, np.diag([20e-6, 10e-6, 40e-6, 1.0]), "meter"), [(0.01, 0.02)], [0.04]),
        (image(VOXELS.T, np.diag([0.02, 0.01, 0.04, 1.0]), "unknown"), [(0.01, 0.02)], [0.04]),
        (image(VOXELS.T, TURNED), [(0.01, 0.02)], [0.04]),
        (changed(123, "B", 7), [None], [None]),  # no unit of length
        (changed(280, "f", float("nan")), [None, (0.01, 0.02)], [0.04, 0.04]),  # of the affine
        (changed(280, "f", 0.5), [(0.01, 0.5), (0.01, 0.02)], [0.04, 0.04]),
        (changed(252, "2h", 0, NO_SFORM), [(0.01, 0.02)], [0.04]),
    ],
)
def test_spacing_is_that_of_the_affine_then_of_pixdim(data: bytes, planes: list, steps: list) -> None:
    measures = opened(data).facts.measures
    assert [m.pixel_mm for m in measures] == [plane and pytest.approx(plane, abs=1e-12) for plane in planes]
    assert [m.spacing_between_slices_mm for m in measures] == [step and pytest.approx(step) for step in steps]
    assert {m.source for m in measures} == {"file"}


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(BASE[:400]) + gzip.compress(BASE[400:]),
        gzip.compress(BASE) + bytes(100),
        changed(108, "f", 0),
        changed(112, "2f", 0, 0),
        changed(112, "2f", float("nan"), float("nan")),
        image(VOXELS.T[..., None], np.eye(4)),
        image(VOXELS.T.astype(">u2"), np.eye(4)),
    ],
)
def test_values_come_out_as_they_went_in(data: bytes) -> None:
    np.testing.assert_array_equal(frames(opened(data)), VOXELS)


def test_values_with_a_slope_are_those_that_they_stand_for() -> None:
    scaled = opened(changed(112, "2f", 2, -5))
    np.testing.assert_array_equal(frames(scaled), np.rint((VOXELS - 0.0) * (65535 / 255)))
    assert scaled.rescaling() == "values -5 to 505 became 0 to 65535"  # 2 x 0 - 5 to 2 x 255 - 5
    turned = frames(opened(changed(112, "2f", -1, 255)))
    np.testing.assert_array_equal(turned, np.rint((255.0 - VOXELS) * (65535 / 255)))


def test_other_axes_are_told_by_the_manifest() -> None:
    data = image(VOXELS, np.diag([0.04, 0.01, 0.02, 1.0]))
    np.testing.assert_array_equal(frames(opened(data, "dhw")), VOXELS)
    assert opened(data, "dhw").facts.measures[0].pixel_mm == pytest.approx((0.01, 0.02))


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (image(np.zeros((4, 5, 6, 7), np.uint8), np.eye(4)), "several_volumes", r"\(4, 5, 6, 7\)"),
        (image(np.zeros((4, 5, 6), [(c, "u1") for c in "RGB"]), np.eye(4)), "not_oct", "colour"),
        (changed(70, "h", 32), "unreadable", "c64"),
        (changed(70, "h", 9999), "unreadable", "KeyError: 9999"),
        (changed(42, "h", -24), "unreadable", "-24"),
        (changed(42, "3h", 32767, 32767, 32767), "truncated", "2880 bytes of values, want 35181150961663"),
        (changed(42, "h", 0), "unreadable", "2880 bytes"),
        (changed(108, "f", float("nan")), "unreadable", "vox_offset nan"),
        (changed(108, "f", 1e9), "unreadable", "vox_offset"),
        (changed(112, "2f", 1, float("nan")), "unreadable", "intercept"),
        (BASE[:-1], "truncated", "2879 bytes of values, want 2880"),
        (BASE[:347], "truncated", "347 of the 348 bytes"),
        (BASE + b"1", "unreadable", "1 bytes or more behind"),
        (gzip.compress(BASE)[:-9], "truncated", "compressed data is cut off"),
        (gzip.compress(changed(42, "3h", 99, 99, 99)), "truncated", "bytes of values"),
        (gzip.compress(changed(42, "3h", 999, 999, 99)), "too_large", "999"),
        (changed(344, "4s", b"ni1\0"), "no_pixel_data", "lie in a.nii.img, which is not there"),
    ],
)
def test_what_is_no_volume_or_damaged_is_refused(data: bytes, reason: str, words: str) -> None:
    with pytest.raises(Refused, match=f"^{reason}: .*{words}"):
        frames(opened(data))
