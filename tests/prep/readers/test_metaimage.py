"""MetaImage headers, written by hand after the published layout."""

import gzip
import zlib

import numpy as np
import pytest

from octshard.prep.readers import recognise
from octshard.prep.readers.scan import Scan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from tests.support.made_release import scan

VOXELS = scan().voxels_DHW
RAW = VOXELS.tobytes()
KEYS = {
    "ObjectType": "Image", "NDims": "3", "DimSize": "24 20 6", "ElementSpacing": "0.02 0.01 0.04",
    "ElementType": "MET_UCHAR",
}  # fmt: skip


def written(values: bytes = RAW, name: str = "LOCAL", **keys: str) -> bytes:
    lines = {**KEYS, **keys, "ElementDataFile": name}
    return "".join(f"{key} = {value}\n" for key, value in lines.items()).encode() + values


def opened(data: bytes, beside: bytes = b"") -> Scan:
    """beside: what lies in a.raw."""

    def folder(name: str) -> bytes:
        if name != "a.raw":
            raise FileNotFoundError(name)
        return beside

    file = ScanBytes(data, "a.mha", folder=folder)
    assert recognise.format_of(file) == "metaimage"
    opened = recognise.open_scan(file)
    opened.check(10**6)
    return opened


def frames(scan: Scan) -> np.ndarray:
    return np.stack(list(scan.frames()))


@pytest.mark.parametrize(
    "data",
    [
        written(),
        written(zlib.compress(RAW), CompressedData="True", CompressedDataSize="99"),
        written(gzip.compress(RAW), CompressedData="True"),
        written(b"12345" + RAW, HeaderSize="5"),
        written(b"12345" + RAW, HeaderSize="-1"),
        written(NDims="4", DimSize="24 20 6 1", ElementSpacing="0.02 0.01 0.04 1"),
        written(VOXELS.astype(">f8").tobytes(), ElementType="MET_DOUBLE", ElementByteOrderMSB="true"),
    ],
)
def test_values_and_spacing_come_out(data: bytes) -> None:
    scan = opened(data)
    values = frames(scan)
    np.testing.assert_array_equal(values if values.dtype == np.uint8 else values / 257, VOXELS)
    (measures,) = scan.facts.measures
    assert (measures.pixel_mm, measures.spacing_between_slices_mm) == ((0.01, 0.02), 0.04)


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (written(ElementSpacing="0.02 0.04"), "unreadable", "ElementSpacing holds 2 numbers, want 3"),
        (written(ElementSpacing="a b c"), "unreadable", "ElementSpacing holds no numbers"),
        (written(DimSize="24 20"), "unreadable", "DimSize is not 3 whole numbers"),
        (written(DimSize="-24 20 6"), "unreadable", "DimSize"),
        (written(DimSize="24 20 9999999999"), "truncated", "want 4799999999520"),
        (written(DimSize="24 0 6"), "unreadable", "2880 bytes"),
        (written(NDims="3" * 20), "unreadable", "NDims is not 1 whole number"),
        (written(ElementNumberOfChannels="3"), "not_oct", "3 samples"),
        (written(ElementNumberOfChannels="2"), "several_volumes", "2 numbers for each voxel"),
        (written(BinaryData="False"), "unreadable", "as text"),
        (written(ElementType="MET_UCHAR_ARRAY"), "unreadable", "ElementType"),
        (written(ObjectType="Tube"), "not_oct", "another object"),
        (written(CompressedData="True"), "decoder_error", "incorrect header"),
        (written(zlib.compress(RAW)[:-9], CompressedData="True"), "truncated", "cut off"),
        (written(zlib.compress(RAW + b"1"), CompressedData="True"), "unreadable", "1 bytes or more behind"),
        (written(HeaderSize="99999999"), "truncated", "0 bytes of values"),
        (written(HeaderSize="-7"), "unreadable", "HeaderSize"),
        (written(b"", "LIST\na.raw"), "unreadable", "file of its own"),
        (written(b"", "a%03d.raw 1 6 1"), "unreadable", "file of its own"),
        (written(b"", "../a.raw"), "unreadable", "another folder"),
        (written(b"", "/etc/passwd"), "unreadable", "another folder"),
        (written(b"", ""), "unreadable", "another folder"),
        (written(b"", "b.raw"), "no_pixel_data", "b.raw, which is not there"),
        (written(b"", "a.raw"), "truncated", "2 bytes of values"),
    ],
)
def test_what_is_no_volume_or_damaged_is_refused(data: bytes, reason: str, words: str) -> None:
    with pytest.raises(Refused, match=f"^{reason}: .*{words}"):
        frames(opened(data, b"12"))
