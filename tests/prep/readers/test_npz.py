"""Archives of arrays: the one that is the scan is found by its name or its axes, and nothing is unpickled."""

import contextlib
import io
import zipfile

import numpy as np
import pytest

from octshard.prep.readers import npz, recognise
from octshard.prep.readers.scan import Scan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from octshard.rng import rng_for

VOXELS = rng_for("npz").integers(0, 256, (6, 20, 24), dtype=np.uint8)
OTHER = np.zeros((3, 4, 5))


def saved(packed: bool = True, **arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def opened(data: bytes, axes: str = "") -> Scan:
    file = ScanBytes(data, "a.npz", axes)
    assert recognise.format_of(file) == "npz"
    scan = recognise.open_scan(file)
    scan.check(10**6)
    return scan


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    "arrays",
    [
        {"oct_bscans": VOXELS, "slo_fundus": VOXELS[0], "glaucoma": np.array(1), "race": np.array("asian")},
        {"label": np.arange(3), "x": VOXELS},
        {"mask": OTHER, "Volume": VOXELS, "image": OTHER},
        {"first": np.asfortranarray(VOXELS)},
        {"meta": np.array({"a": 1}, dtype=object), "v": VOXELS[..., None]},
    ],
)
def test_the_scan_is_found(packed: bool, arrays: dict[str, np.ndarray]) -> None:
    scan = opened(saved(packed, **arrays))
    np.testing.assert_array_equal(np.stack(list(scan.frames())), VOXELS)
    assert scan.facts.shape == VOXELS.shape


def test_axes_and_big_endian_floats() -> None:
    scan = opened(saved(v=VOXELS.transpose(2, 1, 0).astype(">f4")), "whd")
    low, span = float(VOXELS.min()), float(np.ptp(VOXELS))
    np.testing.assert_array_equal(np.stack(list(scan.frames())), np.rint((VOXELS - low) * (65535 / span)))


FUNDUS = np.zeros((64, 64, 3), np.uint8)


def test_a_name_says_which_is_the_scan_whatever_lies_beside_it() -> None:
    image, stack = VOXELS[0], np.zeros((9, 64, 64), np.uint8)
    assert opened(saved(oct_bscans=image, slo_fundus=FUNDUS)).facts.shape == (1, 20, 24)
    assert opened(saved(oct_bscans=image, segmentation=stack)).facts.shape == (1, 20, 24)
    assert opened(saved(slo_fundus=FUNDUS, x=VOXELS)).facts.shape == VOXELS.shape
    assert opened(saved(slo_fundus=FUNDUS, x=image)).facts.shape == (1, 20, 24)
    # numbers and lists are no scans, whatever they are called
    assert opened(saved(scan=np.array(3), vol=np.arange(5), data=np.ones((1, 1)), x=VOXELS)).facts.frames == 6


def test_three_b_scans_behind_the_other_axes_are_none_until_that_is_said() -> None:
    three = VOXELS[:3].transpose(1, 2, 0)
    with pytest.raises(Refused, match=r"if these are 3 B-scans, axes hwd in the manifest"):
        opened(saved(oct=three))
    np.testing.assert_array_equal(np.stack(list(opened(saved(oct=three), "hwd").frames())), VOXELS[:3])
    assert opened(saved(x=three), "hwd").facts.shape == (3, 20, 24)


@pytest.mark.parametrize(
    ("arrays", "reason", "words"),
    [
        (
            {"a": VOXELS, "b": OTHER},
            "several_volumes",
            r"2 arrays .*: a \(6, 20, 24\), b \(3, 4, 5\); call it",
        ),
        ({"a": np.arange(3)}, "not_oct", r"among 1 of numbers: a \(3,\)"),
        ({"a": np.array("x")}, "not_oct", "among 0 of numbers"),
        ({"a": np.zeros((2, 3, 4, 3), np.uint8)}, "not_oct", "3 samples a pixel"),
        ({"oct_bscans": FUNDUS, "mask": VOXELS}, "not_oct", "3 samples a pixel"),
        ({"fundus": FUNDUS, "mask": VOXELS, "b": VOXELS}, "several_volumes", "2 arrays could be the scan"),
        ({"fundus": FUNDUS}, "not_oct", r"no array of three axes, and not in colour, .*fundus \(64, 64, 3\)"),
        ({"a": np.zeros((2, 3, 4), np.complex64)}, "unreadable", "c64"),
        ({"a": np.zeros((2, 0, 4))}, "empty", r"\(2, 0, 4\)"),
    ],
)
def test_what_is_no_scan_is_refused(arrays: dict[str, np.ndarray], reason: str, words: str) -> None:
    with pytest.raises(Refused, match=f"^{reason}: .*{words}"):
        opened(saved(**arrays))


def test_one_image_is_one_b_scan() -> None:
    assert opened(saved(a=VOXELS[0], label=np.arange(2))).facts.shape == (1, 20, 24)


def rezipped(method: int, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("a.npy", content)
    return file.getvalue()


def npy_of(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (saved(a=VOXELS)[:-9], "truncated"),
        (saved(a=VOXELS)[:200], "truncated"),
        (rezipped(zipfile.ZIP_BZIP2, npy_of(VOXELS)), "unreadable"),
        (rezipped(zipfile.ZIP_LZMA, npy_of(VOXELS)), "unreadable"),
        (rezipped(zipfile.ZIP_DEFLATED, npy_of(VOXELS)[:-1]), "truncated"),
        (rezipped(zipfile.ZIP_DEFLATED, npy_of(VOXELS) + b"1"), "unreadable"),
        (rezipped(zipfile.ZIP_DEFLATED, b""), "truncated"),
        (rezipped(zipfile.ZIP_STORED, b"no array"), "unreadable"),
    ],
)
def test_damage_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        opened(data)
    assert refused.value.reason == reason


def test_values_that_do_not_inflate_to_what_was_packed_are_damaged() -> None:
    for voxels in (VOXELS, np.tile(VOXELS, (99, 1, 1))):  # the checksum is read with the header, or later
        data = bytearray(saved(packed=False, a=voxels))
        data[-400] ^= 255
        with pytest.raises(Refused, match=r"^decoder_error: .*Bad CRC-32"):
            list(opened(bytes(data)).frames())


def test_single_values_beside_a_scan() -> None:
    values = {
        "Race": np.array(2),
        "age": np.array([61.0]),
        "md": np.array(-1.1, np.float32),
        "kind": np.array("pdr"),
        "raw": np.array(b"x y"),
        "sure": np.array(True),
        "nothing": np.array(np.nan),
        "many": np.zeros(52),
        "text": np.array(""),
        "object": np.array(None),
    }
    data = saved(oct_bscans=VOXELS, **values)
    assert npz.single_values(io.BytesIO(data)) == {
        "race": "2",
        "age": "61",
        "md": "-1.1",
        "kind": "pdr",
        "raw": "x y",
        "sure": "1",
        "nothing": "",
    } | ({"text": ""} if np.array("").dtype.itemsize else {})


def test_single_values_of_damaged_archives() -> None:
    data = saved(oct_bscans=VOXELS, race=np.array(1), kind=np.array("pdr"))
    for at in rng_for("single values").integers(0, len(data), 300):
        torn = bytearray(data)
        torn[at] ^= 0xFF
        with contextlib.suppress(Refused):
            assert set(npz.single_values(io.BytesIO(bytes(torn))).values()) <= {"1", "pdr"}


@pytest.mark.parametrize(
    ("name", "shape", "axes", "expected"),
    [
        ("oct_bscans", (128, 200, 200), "", (128, 200, 200)),
        ("oct_bscans", (200, 200, 128), "", (128, 200, 200)),
        ("oct_bscans", (200, 200, 128), "dhw", (200, 200, 128)),  # a manifest that says so
        ("oct_bscans", (200, 200, 200), "", (200, 200, 200)),
        ("oct_bscans", (200, 128, 200), "", (200, 128, 200)),
        ("volume", (200, 200, 128), "", (200, 200, 128)),
    ],
)
def test_harvards_128_b_scans_are_found_on_either_side(
    name: str, shape: tuple[int, int, int], axes: str, expected: tuple[int, int, int]
) -> None:
    values = np.zeros(shape, np.uint8)
    places = tuple(slice(3, 5) if size == 128 else slice(None) for size in shape)
    values[places] = 9
    scan = recognise.open_scan(ScanBytes(saved(**{name: values}), "a.npz", axes))
    assert scan.facts.shape == expected
    frames = list(scan.frames())
    if name == "oct_bscans" and not axes and expected[0] == 128:
        np.testing.assert_array_equal([frame.any() for frame in frames], [i in (3, 4) for i in range(128)])
