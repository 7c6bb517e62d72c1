"""MATLAB's .mat, as SciPy writes it and by hand: which array is the scan, and what is refused."""

import io
import struct
import zlib

import numpy as np
import pytest
import scipy.io

from octshard.prep.readers import mat, recognise
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from tests.support.device_files.conversion import converted
from tests.support.made_release import scan

VOXELS = scan().voxels_DHW
HWD = VOXELS.transpose(1, 2, 0)


def saved(packed: bool = False, **arrays: object) -> bytes:
    scipy.io.savemat(file := io.BytesIO(), arrays, do_compression=packed)
    return file.getvalue()


def levels(data: bytes) -> np.ndarray:
    opened = recognise.open_scan(ScanBytes(data, "a"))
    return np.stack(list(opened.frames()))


def by_hand(
    order: str = "<", name: bytes = b"images", dims: tuple[int, ...] = (2, 3, 4), kind: int = 2
) -> bytes:
    """Of 24 numbers that MATLAB keeps as bytes, though the array is of doubles."""

    def element(kind: int, data: bytes) -> bytes:
        return struct.pack(f"{order}LL", kind, len(data)) + data + bytes(-len(data) % 8)

    def small(kind: int, data: bytes) -> bytes:
        return struct.pack(f"{order}L", len(data) << 16 | kind) + data.ljust(4, b"\0")

    flags = element(6, struct.pack(f"{order}LL", 6, 0))
    shape = element(5, struct.pack(f"{order}{len(dims)}l", *dims))
    called = small(1, name) if len(name) <= 4 else element(1, name)
    body = flags + shape + called + element(kind, bytes(range(24)))
    mark = b"IM" if order == "<" else b"MI"
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}H", 0x100) + mark + element(14, body)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("name", [b"images", b"img"])
def test_either_order_of_bytes_and_numbers_in_few_bytes(order: str, name: bytes) -> None:
    expected = np.arange(24).reshape((2, 3, 4), order="F").transpose(2, 0, 1)
    np.testing.assert_array_equal(levels(by_hand(order, name)), expected)
    if order == "<":
        read = scipy.io.loadmat(io.BytesIO(by_hand(order, name)))[name.decode()]
        np.testing.assert_array_equal(read.transpose(2, 0, 1), expected)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f8"])
def test_the_scan_is_found_by_its_name_among_what_else_matlab_stores(packed: bool, dtype: str) -> None:
    others = {
        "text": "a note", "cell": np.array([1, "b"], object), "struct": {"a": 1}, "z": 1j * HWD,
        "layerMaps": np.zeros((6, 24, 3)), "Age": 71.5, "flag": True,
    }  # fmt: skip
    data = saved(packed, **others, images=HWD.astype(dtype))
    frames = levels(data)
    scale = 65535 / np.ptp(VOXELS) if dtype == "f8" else 1
    np.testing.assert_array_equal(frames, np.rint((VOXELS - (VOXELS.min() if dtype == "f8" else 0)) * scale))


def test_axes_of_the_manifest_are_believed() -> None:
    expected = converted("a.mat", saved(images=HWD), pixel_mm=(0.01, 0.02), slice_mm=0.04).row
    turned = converted("a.mat", saved(images=VOXELS), pixel_mm=(0.01, 0.02), slice_mm=0.04, axes="dhw").row
    assert (turned.sha256, turned.format, turned.status) == (expected.sha256, "mat", "ok")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (
            b"MATLAB 7.3 MAT-file".ljust(600),
            "unreadable: a .mat of version 7.3 (HDF5), want",
        ),
        (
            saved(a=VOXELS, b=VOXELS),
            "several_volumes: 2 arrays could be the scan: a (6, 20, 24)",
        ),
        (
            saved(a=np.zeros((2, 3)), b=np.zeros((2, 4)), text="x"),
            "not_oct: no array of three axes among 2 of numbers: a (2, 3), b (2, 4)",
        ),
        (saved(mask=HWD > 9), "not_oct: no array of three axes among 0 of numbers"),
        (saved(images=np.zeros((2, 3, 4, 5))), "several_volumes: an array (2, 3, 4, 5)"),
        (saved(images=HWD)[:-9], "truncated"),
        (saved(True, images=HWD)[:-9], "truncated"),
        (saved(images=HWD)[:90], "truncated: its header tells no order of bytes"),
        (by_hand(dims=(2, 3, 5)), "truncated: 24 bytes of values, want 30"),
        (by_hand(dims=(2**31 - 1, 2**31 - 1, 2**31 - 1)), "truncated: 24 bytes of values"),
        (by_hand(dims=(2, 3, -4)), "not_oct: no array of three axes among 0 of numbers"),
        (by_hand(kind=99), "unreadable: array images has values of type 99"),
    ],
)
def test_what_is_no_scan_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(Refused) as refused:
        levels(data)
    assert text in str(refused.value)


def test_what_is_packed_becomes_no_more_than_is_declared() -> None:
    bomb = zlib.compress(bytes(2**24))
    head = by_hand()[128 + 8 :]
    packed = zlib.compress(struct.pack("<LL", 14, 2**24) + head + bytes(2**24))
    data = by_hand()[:128] + struct.pack("<LL", 15, len(packed)) + packed
    assert levels(data).shape == (4, 2, 3)  # zeros behind the values are padding
    data = by_hand()[:128] + struct.pack("<LL", 15, len(bomb)) + bomb
    with pytest.raises(Refused, match="not_oct"):
        levels(data)


def test_more_arrays_than_any_file_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mat, "MOST_ELEMENTS", 2)
    with pytest.raises(Refused, match="unreadable: more than 2 arrays"):
        levels(saved(a=1, b=2, c=3))
