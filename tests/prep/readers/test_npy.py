"""Arrays of NumPy, as np.save writes them: any order, any byte order, any type that has grey levels."""

import io

import numpy as np
import pytest

from octshard.prep.readers import npy, recognise
from octshard.prep.readers.scan import Scan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from octshard.rng import rng_for

VOXELS = rng_for("npy").integers(0, 256, (3, 5, 4), dtype=np.uint8)


def saved(array: np.ndarray, **options: bool) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def opened(data: bytes, axes: str = "") -> Scan:
    file = ScanBytes(data, "a.npy", axes)
    assert recognise.format_of(file) == "npy"
    scan = recognise.open_scan(file)
    scan.check(10**6)
    return scan


def frames(scan: Scan) -> np.ndarray:
    return np.stack(list(scan.frames()))


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "<i2", ">i4", "<u8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_grey_levels_come_out_as_they_went_in(dtype: str, order: str) -> None:
    scan = opened(saved(np.asarray(VOXELS, dtype, order=order)))
    np.testing.assert_array_equal(frames(scan), VOXELS)
    assert (scan.facts.shape, scan.rescaling(), scan.facts.bits) == (
        (3, 5, 4),
        "",
        8 * np.dtype(dtype).itemsize,
    )
    np.testing.assert_array_equal(np.stack(list(scan.frames(order=(2, 0)))), VOXELS[[2, 0]])
    assert frames(scan).dtype == (np.uint8 if dtype == "u1" else np.uint16)


@pytest.mark.parametrize("axes", ["dhw", "dwh", "hdw", "hwd", "wdh", "whd"])
def test_axes_may_have_any_order_that_is_told(axes: str) -> None:
    scan = opened(saved(VOXELS.transpose(["dhw".index(letter) for letter in axes])), axes)
    np.testing.assert_array_equal(frames(scan), VOXELS)


def test_floats_are_rescaled_and_say_so() -> None:
    scan = opened(saved(VOXELS.astype(np.float64) / 255))
    expected = np.rint((VOXELS / 255 - VOXELS.min() / 255) * 65535 / (np.ptp(VOXELS) / 255))
    np.testing.assert_array_equal(frames(scan), expected)
    assert scan.rescaling().startswith("values ")


def test_an_image_is_one_b_scan_and_axes_of_one_do_not_count() -> None:
    assert opened(saved(VOXELS[0])).facts.shape == (1, 5, 4)
    np.testing.assert_array_equal(frames(opened(saved(VOXELS[0].T), "whd"))[0], VOXELS[0])
    np.testing.assert_array_equal(frames(opened(saved(VOXELS[..., None]))), VOXELS)


@pytest.mark.parametrize(
    ("array", "reason", "words"),
    [
        (np.zeros((2, 3, 4, 3), np.uint8), "not_oct", "3 samples a pixel"),
        (np.zeros((9, 8, 4), np.uint8), "not_oct", "4 samples a pixel"),
        (np.zeros((9, 8, 3, 1), np.uint8), "not_oct", "3 samples a pixel"),
        (np.zeros((2, 3, 4, 5), np.uint8), "several_volumes", r"\(2, 3, 4, 5\)"),
        (np.zeros(7, np.uint8), "not_oct", "three axes"),
        (np.array(5.0), "not_oct", "three axes"),
        (np.zeros((2, 3, 4), np.complex64), "unreadable", "type c64"),
        (np.zeros((2, 3, 4), bool), "unreadable", "type b8"),
        (np.full((2, 3, 4), None), "unreadable", "type O64"),
        (np.zeros((2, 3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "not_oct", "colour"),
        (np.zeros((2, 3, 4), "S9"), "unreadable", "type S72"),
        (np.zeros((2, 3, 4), "M8[s]"), "unreadable", "type M64"),
        (np.zeros((0, 3, 4), np.uint8), "empty", r"\(0, 3, 4\)"),
        (np.zeros((101, 100, 100), np.uint8), "too_large", r"\(101, 100, 100\)"),
    ],
)
def test_what_is_no_volume_is_refused_with_its_reason(array: np.ndarray, reason: str, words: str) -> None:
    with pytest.raises(Refused, match=f"^{reason}: .*{words}"):
        opened(saved(array, allow_pickle=True))


def test_a_volume_without_a_number_is_empty() -> None:
    with pytest.raises(Refused, match=r"^empty: none of its 24 values is a number"):
        frames(opened(saved(np.full((2, 3, 4), np.nan))))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (saved(VOXELS)[:-1], "truncated"),
        (saved(VOXELS)[:100], "truncated"),
        (saved(VOXELS)[:7], "truncated"),
        (saved(VOXELS) + b"1", "unreadable"),
        (saved(VOXELS).replace(b"(3, 5, 4)", b"(3,-5, 4)"), "unreadable"),
        (saved(VOXELS).replace(b"(3, 5, 4)", b"(3, 5,4.)"), "unreadable"),
        (saved(VOXELS).replace(b"(3, 5, 4)", b"(3, 5, 4 "), "unreadable"),
        (saved(VOXELS).replace(b"(3, 5, 4), ", b"(10**9,9,9)"), "unreadable"),
        (saved(VOXELS).replace(b"(3, 5, 4), }", b"(999999999,)"), "unreadable"),
        (saved(VOXELS).replace(b"'|u1'", b"'|u9'"), "unreadable"),
        (saved(VOXELS).replace(b"\x93NUMPY\x01", b"\x93NUMPY\x09"), "unreadable"),
    ],
)
def test_damage_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        opened(data)
    assert refused.value.reason == reason


def test_what_is_declared_takes_no_memory() -> None:
    header = saved(VOXELS).replace(b"(3, 5, 4), }        ", b"(99999999,9999,999)}")
    with pytest.raises(Refused, match=r"^truncated: 60 bytes of values, want 998900090010999"):
        opened(header)


def test_zeros_behind_the_values_are_padding() -> None:
    np.testing.assert_array_equal(frames(opened(saved(VOXELS) + bytes(512))), VOXELS)


def test_the_longest_header_that_is_read_is_that_of_numpy() -> None:
    assert npy.LONGEST > 10_000  # the most that NumPy evaluates
