"""Optovue .OCT: bare numbers, and the text beside them that tells what they are."""

import numpy as np
import pytest

from octshard.prep.readers import optovue_oct, recognise
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from tests.support.array_files import npy
from tests.support.device_files import conversion
from tests.support.device_files.optovue_oct import OCT, TEXT, numbers, text
from tests.support.made_release import scan

SPACING = 0.04, 0.01, 0.02
VOXELS = scan().voxels_DHW
SHAPE = 6, 20, 24
ALIGNED = np.full((2, 20, 24), 7.0)  # two B-scans of further steps, for registration


def row_of(data: bytes, told: bytes | None, **row: object):
    beside = {} if told is None else {f"a/{TEXT}": told}
    return conversion.row_of(f"a/{OCT}", data, beside, **row)


def test_a_scan_is_stored_as_the_same_numbers_in_an_array_are() -> None:
    """Floats fill 16 bits by one map, here as in NPY; sizes, spacing and eye are those of the DICOM file."""
    ((_, array),) = npy(VOXELS.astype("<f4"), SPACING).items()
    beside = {f"a/{TEXT}": text(SHAPE, SPACING)}
    from_array = conversion.converted("a/a.npy", array, eye="L", pixel_mm=SPACING[1:], slice_mm=SPACING[0])
    row, tar_slice = conversion.converted(f"a/{OCT}", numbers(VOXELS), beside)
    assert (row.status, row.format, row.bits, row.manufacturer) == ("ok", "optovue", 32, "Optovue")
    assert (row.sha256, row.detail) == (from_array.row.sha256, from_array.row.detail)
    assert "levels_rescaled" in row.flags
    facts = {**conversion.facts_of(row), "spacing_in": pytest.approx(SPACING), "sha256": "", "mean": 0}
    expected = conversion.dicom_facts(scan())
    assert facts == {**expected, "spacing_out": facts["spacing_out"], "sha256": "", "mean": 0}
    assert (row.geometry, row.spacing_source) == ("raster", "file")
    assert tar_slice


def test_levels_that_fill_the_range_are_those_of_16_bits() -> None:
    """Of 0 to 255 the map to 16 bits is 257 times the level."""
    full = VOXELS.copy()
    full[0, 0, :2] = 0, 255
    ((_, array),) = npy(full.astype(np.uint16) * 257, SPACING).items()
    from_array = conversion.row_of("a.npy", array, pixel_mm=SPACING[1:], slice_mm=SPACING[0])
    assert row_of(numbers(full), text(SHAPE, SPACING)).sha256 == from_array.sha256


def test_frames_are_upright_and_in_any_order() -> None:
    files = {TEXT: text(SHAPE, SPACING, [(24, 1), (24, 1)])}
    data = numbers(VOXELS) + numbers(ALIGNED)
    opened = recognise.open_scan(ScanBytes(data, f"x/{OCT}", folder=files.__getitem__))
    scale = 65535 / (float(VOXELS.max()) - VOXELS.min())
    expected = np.rint((VOXELS[[4, 1]].astype(float) - VOXELS.min()) * scale)
    np.testing.assert_array_equal(list(opened.frames(order=(4, 1))), expected)


@pytest.mark.parametrize("told", [(24, 1), (30, 1)])
def test_b_scans_of_other_steps_are_left_out(told: tuple[int, int]) -> None:
    alone = row_of(numbers(VOXELS), text(SHAPE, SPACING))
    other = numbers(np.full((1, 20, told[0]), 9000.0))
    row = row_of(numbers(VOXELS) + other, text(SHAPE, SPACING, [told]))
    assert (row.sha256, row.frames) == (alone.sha256, 6)
    assert row_of(numbers(VOXELS), text(SHAPE, SPACING, [told])).sha256 == alone.sha256  # not stored at all


def test_a_data_group_may_hold_more_than_its_steps_say() -> None:
    """As of 3D Cornea: 106 B-scans of which a step of 101 is the scan."""
    alone = row_of(numbers(VOXELS), text(SHAPE, SPACING))
    told = text(SHAPE, SPACING, Frames_Per_Data_Group="8")
    assert row_of(numbers(VOXELS) + numbers(ALIGNED), told).sha256 == alone.sha256


def test_the_greatest_step_need_not_come_first() -> None:
    told = text((1, 20, 24), (1, 0.01, 0.02), [(24, 6)])
    row = row_of(numbers(ALIGNED[:1]) + numbers(VOXELS), told)
    assert (row.frames, row.spacing_in[0]) == (6, 0.09)
    assert f"values {VOXELS.min()} to {VOXELS.max()} became" in row.detail


def test_a_text_without_sections_is_read_line_by_line() -> None:
    told = text(SHAPE, SPACING, [(24, 1)]).replace(b"[", b"#")
    row = row_of(numbers(VOXELS) + numbers(ALIGNED[:1]), told)
    assert (row.status, row.frames, row.eye) == ("ok", 6, "L")
    assert row.spacing_in == pytest.approx(SPACING)


@pytest.mark.parametrize(
    ("coding", "mark"), [("utf-8", b"\xef\xbb\xbf"), ("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")]
)
def test_other_letters_are_read_too(coding: str, mark: bytes) -> None:
    told = mark + text(SHAPE, SPACING).decode().encode(coding)
    assert row_of(numbers(VOXELS), told).status == "ok"


@pytest.mark.parametrize(
    ("values", "flag", "spacing"),
    [
        ({"Scan_Depth": None}, "assumed_spacing", (1, 1, 1)),
        ({"XY_Scan_Size1": " 0.00 mm"}, "assumed_spacing", (1, 1, 1)),
        ({"XY_Scan_Size1": "wide"}, "spacing_unreadable", (1, 1, 1)),
        ({"Scan_Depth": "200 um"}, "", SPACING),
        ({"Scan_Depth": "0,2 mm"}, "", SPACING),  # as a Polish Windows prints it
        ({"XY_Scan_Interval1": None}, "slice_step_unknown", (1, 1, 1)),
    ],
)
def test_only_what_the_text_says_becomes_spacing(
    values: dict[str, str | None], flag: str, spacing: tuple[float, float, float]
) -> None:
    row = row_of(numbers(VOXELS), text(SHAPE, SPACING, **values))
    assert row.status == "ok"
    assert not flag or flag in row.flags
    assert row.spacing_in == pytest.approx(spacing)


@pytest.mark.parametrize(("told", "eye"), [("OD", "R"), ("OS", "L"), ("", ""), ("both", "")])
def test_the_eye_is_told_or_unknown(told: str, eye: str) -> None:
    row = conversion.row_of("x.oct", numbers(VOXELS), {"x.txt": text(SHAPE, SPACING, Eye_Scanned=told)})
    assert row.eye == eye


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("Radial Lines", "radial"), ("PachymetryWide", "radial"), ("Cross Line", "mixed"), ("GCC", "mixed"),
        ("Enhanced HD Line", "line"), ("HD Angio Retina", "raster"), ("Raster", "raster"), ("New", "unknown"),
    ],
)  # fmt: skip
def test_the_name_of_a_scan_tells_its_pattern(name: str, pattern: str) -> None:
    told = text(SHAPE, SPACING).replace(b"3D Retina", name.encode())
    row = conversion.row_of("x.oct", numbers(VOXELS), {"x.txt": told})
    assert row.geometry == pattern
    assert row.status == ("ok" if pattern in ("raster", "unknown") else "refused")


@pytest.mark.parametrize(
    ("values", "reason", "detail"),
    [
        ({"XY_Scan_Usage": "7"}, "truncated", "11520 bytes, want 13440 of 7 x 20 x 24 numbers"),
        ({"XY_Scan_Usage": "5", "Frames_Per_Data_Group": "5"}, "unreadable", "want 9600 of 5 x 20 x 24"),
        ({"OCT_Window_Height": "21"}, "truncated", "of 6 x 21 x 24 numbers"),
        ({"OCT_Window_Height": "tall"}, "unreadable", "oct window height in the text beside it is no whole"),
        ({"OCT_Window_Height": "0"}, "unreadable", "want 0 of 6 x 0 x 24"),
        ({"XY_Scan_Length": None}, "unreadable", "no xy scan length with xy scan usage"),
        ({"XY_Scan_Length": "999999999", "XY_Scan_Usage": "999999999"}, "truncated", "999999999"),
        ({"XY_Scan_Usage": "9" * 4000}, "unreadable", "no whole number"),
        ({"Total_Data_Groups": "2"}, "several_volumes", "2 data groups"),
    ],
)
def test_what_cannot_be_one_scan_is_refused_as_what_it_is(
    values: dict[str, str | None], reason: str, detail: str
) -> None:
    row = row_of(numbers(VOXELS), text(SHAPE, SPACING, **values))
    assert (row.reason, row.format) == (reason, "optovue")
    assert detail in row.detail


def test_steps_of_equal_size_are_several_volumes() -> None:
    row = row_of(numbers(VOXELS) * 2, text(SHAPE, SPACING, [(24, 6)]))
    assert (row.reason, row.detail) == ("several_volumes", "several steps of 6 B-scans, want one")


def test_damage_to_the_numbers_is_told() -> None:
    data, told = numbers(VOXELS), text(SHAPE, SPACING)
    assert row_of(data[:-1], told).reason == "truncated"
    assert row_of(data + b"\1", told).reason == "unreadable"
    zeros = row_of(data[: -4 * 480] + bytes(4 * 480), told)
    assert (zeros.reason, zeros.detail) == ("truncated", "only zeros in the last 1920 bytes of its B-scans")
    holes = numbers(np.where(VOXELS > 100, np.nan, VOXELS.astype(float)))
    assert "invalid ones became 0" in row_of(holes, told).detail


def test_without_its_text_the_file_is_not_known_and_the_row_says_what_is_missing() -> None:
    row = row_of(numbers(VOXELS), None)
    assert (row.reason, row.format) == ("not_dicom", "")
    assert row.detail.endswith(f"a file of Optovue has its sizes in {TEXT}, which is not beside it")


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("x.oct", b"PK\3\4" + bytes(90), text(SHAPE, SPACING)),  # Thorlabs' files are ZIPs
        ("x.bin", numbers(VOXELS), text(SHAPE, SPACING)),
        ("x.oct", numbers(VOXELS), b"a letter to a colleague: it has a colon"),
        (".oct", numbers(VOXELS), text(SHAPE, SPACING)),
    ],
)
def test_what_is_no_file_of_optovue_is_not_taken_for_one(name: str, data: bytes, told: bytes) -> None:
    files = {"x.txt": told, ".txt": told}
    with pytest.raises(Refused, match=r"^not_dicom"):
        recognise.open_scan(ScanBytes(data, name, folder=files.__getitem__))


def test_no_patient_data_reaches_a_row() -> None:
    files = {TEXT: text(SHAPE, SPACING)}
    scan_of = optovue_oct.open_scan(ScanBytes(numbers(VOXELS), OCT, folder=files.__getitem__))
    assert "JANE" not in repr(scan_of.facts)
    for told in (text(SHAPE, SPACING), text(SHAPE, SPACING, Scan_Depth="JANE", XY_Scan_Usage="JANE")):
        row = conversion.row_of("x.oct", numbers(VOXELS), {"x.txt": told})
        assert "JANE" not in repr(row)
