"""NRRD headers, written by hand after the published layout."""

import bz2
import gzip

import numpy as np
import pytest

from octshard.prep.readers import recognise
from octshard.prep.readers.scan import Scan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from tests.support.made_release import scan

VOXELS = scan().voxels_DHW
RAW = VOXELS.tobytes()
FIELDS = {"type": "uint8", "dimension": "3", "sizes": "24 20 6", "encoding": "raw"}


def written(values: bytes = RAW, end: str = "\n", **fields: str) -> bytes:
    lines = {**FIELDS, **{name.replace("_", " "): value for name, value in fields.items()}}
    return "".join(["NRRD0004", end, *(f"{k}: {v}{end}" for k, v in lines.items()), end]).encode() + values


def opened(data: bytes) -> Scan:
    file = ScanBytes(data, "a.nrrd")
    assert recognise.format_of(file) == "nrrd"
    opened = recognise.open_scan(file)
    opened.check(10**6)
    return opened


def frames(scan: Scan) -> np.ndarray:
    return np.stack(list(scan.frames()))


@pytest.mark.parametrize(
    "data",
    [
        written(),
        written(end="\r\n"),
        written(gzip.compress(RAW), encoding="gz"),
        written(bz2.compress(RAW), encoding="bzip2"),
        written(b"1234" + RAW, byte_skip="4"),
        written(b"1234" + RAW, byte_skip="-1"),
        written(b"a line\n" + RAW, line_skip="1"),
    ],
)
def test_values_come_out(data: bytes) -> None:
    np.testing.assert_array_equal(frames(opened(data)), VOXELS)


@pytest.mark.parametrize(
    ("fields", "plane", "step"),
    [
        ({"spacings": "0.02 0.01 0.04"}, (0.01, 0.02), 0.04),
        ({"spacings": "20 10 40", "units": '"um" "um" "um"'}, (0.01, 0.02), 0.04),
        ({"spacings": "20 10 0.04", "units": '"um" "um" "mm"'}, (0.01, 0.02), 0.04),
        ({"spacings": "nan 0.01 0.04"}, None, 0.04),
        ({"spacings": "20 10 40", "units": '"px" "px" "px"'}, None, None),
        ({"space_directions": "(0,0.02,0) (0.006,0,0.008) (0,0,-0.04)"}, (0.01, 0.02), 0.04),
        ({"space_directions": "none (0.01,0) (0,0.04)"}, None, 0.04),
        ({}, None, None),
    ],
)
def test_spacing_is_what_the_header_tells(
    fields: dict[str, str], plane: tuple[float, float] | None, step: float | None
) -> None:
    (measures,) = opened(written(**fields)).facts.measures
    assert measures.pixel_mm == (plane and pytest.approx(plane))
    assert measures.spacing_between_slices_mm == (step and pytest.approx(step))


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (written(spacings="0.02 0.04"), "unreadable", "spacings holds 2 numbers, want 3"),
        (written(space_directions="(1,0)"), "unreadable", "1 vectors, want 3"),
        (written(space_directions="(a,b) (0,1) (1,0)"), "unreadable", "no numbers"),
        (written(kinds="vector domain domain"), "several_volumes", "24 numbers for each voxel"),
        (written(dimension="4", sizes="3 24 20 2", kinds="RGB-color d d d"), "not_oct", "3 samples"),
        (written(line_skip="999999"), "truncated", "fewer lines"),
        (written(encoding="ascii"), "unreadable", "encoding"),
        (written(type="block"), "unreadable", "type"),
        (written(type="float"), "unreadable", "endian"),
        (written(gzip.compress(RAW)[:-30], encoding="gzip"), "truncated", "cut off"),
        (written(bz2.compress(RAW)[:-30], encoding="bzip2"), "truncated", "cut off"),
        (written(encoding="gzip"), "decoder_error", "compressed data"),
        (written(data_file="../a.raw"), "unreadable", "another folder"),
        (written(data_file="LIST"), "unreadable", "file of its own"),
        (written(data_file="a.raw"), "no_pixel_data", "a.raw, which is not there"),
        (written(sizes="24 20 99999"), "truncated", "want 47999520"),
        (written()[:30], "unreadable", "sizes|encoding|dimension"),
        (b"NRRD0001\n" + b"a: b\n" * 20000, "unreadable", "no end in its first 65536 bytes"),
    ],
)
def test_what_is_no_volume_or_damaged_is_refused(data: bytes, reason: str, words: str) -> None:
    with pytest.raises(Refused, match=f"^{reason}: .*({words})"):
        frames(opened(data))
