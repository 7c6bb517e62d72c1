"""Files that are no DICOM files: what their first bytes say, on one line."""

import gzip
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from octshard.prep.dicom import elements, signatures, writer
from octshard.prep.refusals import Refused
from tests.support.made_release import scan

SOUND = writer.write(scan())
NIFTI = struct.pack("<i", 348) + bytes(340) + b"n+1\0" + bytes(500)
NIFTI_2 = struct.pack("<i", 540) + b"n+2\0\r\n\x1a\n" + bytes(700)


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    out = io.BytesIO()
    write(out)
    return out.getvalue()


def image(kind: str) -> bytes:
    return written(lambda out: Image.fromarray(np.zeros((9, 9), np.uint8)).save(out, kind))


def zipped(out: io.BytesIO) -> None:
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.dcm", SOUND)


def tarred(out: io.BytesIO) -> None:
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.dcm"))


DENIED = b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>AccessDenied</Code></Error>"
LOOKS = {
    "a NIfTI file": NIFTI,
    "a NIfTI-2 file": NIFTI_2,
    "gzip of a NIfTI file": gzip.compress(NIFTI, mtime=0),
    "a gzipped DICOM file; unpack it": gzip.compress(SOUND, mtime=0),
    "gzip of a tar archive": gzip.compress(written(tarred), mtime=0),
    "gzip": gzip.compress(bytes(range(256)), mtime=0),
    "damaged gzip": b"\x1f\x8b\x08" + bytes(range(100)),
    "a ZIP archive": written(zipped),
    "a tar archive": written(tarred),
    "XML, an error of a server: AccessDenied": DENIED,
    "XML, perhaps an error page": b"\xef\xbb\xbf\n<?xml version='1.0'?><HEDX>",
    "HTML, perhaps an error page": b"<!DOCTYPE html>\n<html><body>404",
    "JSON, perhaps an error of a server": json.dumps({"error": {"code": 403}}).encode(),
    "a Heidelberg .vol file": b"HSF-OCT-103\0" + bytes(2000),
    "a Heidelberg .e2e or .sdb file": b"CMDb" + bytes(500),
    "a Topcon .fda or .fds file": b"FOCTFDA" + bytes(500),
    "a PNG image": image("PNG"),
    "a JPEG image": image("JPEG"),
    "a TIFF image": image("TIFF"),
    "a BMP image": image("BMP"),
    "a GIF image": image("GIF"),
    "a JPEG 2000 image": image("JPEG2000"),
    "a NumPy .npy file": written(lambda out: np.save(out, np.zeros(3))),
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(99),
    "a MATLAB .mat file": b"MATLAB 5.0 MAT-file" + bytes(200),
    "a Git-LFS pointer: the real file was never fetched": b"version https://git-lfs.github.com/spec/v1\n",
    "a git-annex pointer: the real file was never fetched": b"../../.git/annex/objects/ab/SHA256E-s1.dcm",
    "the extra file (AppleDouble) that macOS puts beside a file": b"\0\5\x16\7\0\2\0\0Mac OS X",
    "a DICOM file without its first 128 bytes": SOUND[128:],
    "text": b"person,eye\n1001,L\n",
    "text in UTF-16": "person".encode("utf-16"),
    "a failed download: there are only zeros, as far as was looked": bytes(5000),
}
WITHOUT = "a DICOM dataset without preamble and file meta information (PS3.10); write it as a DICOM file"


@pytest.mark.parametrize(("looks", "data"), LOOKS.items())
def test_a_file_is_named_by_its_first_bytes(looks: str, data: bytes) -> None:
    assert signatures.describe(data).endswith(f"; it looks like {looks}")
    with pytest.raises(Refused, match="not_dicom"):
        elements.parse(data)


def test_a_dataset_without_the_frame_of_a_file_is_named() -> None:
    _, start = elements._meta(SOUND)
    implicit = b"\x08\0\x16\0\x20\0\0\0" + SOUND[start + 8 :]
    for data in (SOUND[132:], SOUND[start:], implicit):
        assert signatures.describe(data).endswith(f"; it looks like {WITHOUT}")


def test_what_is_not_known_shows_its_first_bytes_alone() -> None:
    data = b"\x80\x01Ab\x1b[2J\xff\n" + bytes(range(200, 250))
    assert signatures.describe(data) == (
        "60 bytes without DICM at byte 128, beginning with 80 01 41 62 1b 5b 32 4a ff 0a c8 c9 ca cb cc cd "
        "(..Ab.[2J........)"
    )
    assert signatures.describe(b"\x80").startswith("1 byte without DICM at byte 128, beginning with 80 (.)")


@pytest.mark.parametrize("seed", range(3))
def test_any_bytes_give_one_line(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(300):
        start = list(LOOKS.values())[int(rng.integers(len(LOOKS)))][: int(rng.integers(40))]
        text = signatures.describe(start + rng.bytes(int(rng.integers(1, 600))))
        assert text.isprintable()


@pytest.mark.parametrize(
    ("data", "is_json"),
    [
        (b'[{"a": 1}]', True),
        (b"{}", True),
        (b"\n[ -1.5, 2]", True),
        (b"[null]", True),
        (b"[", True),
        (b"[Scan Info]\r\nOCT Window Height=640\r\n", False),
        (b"{\\rtf1 a letter", False),
    ],
)
def test_a_section_of_a_text_is_no_json(data: bytes, is_json: bool) -> None:
    assert ("JSON" in signatures.kind_of(data, len(data))) == is_json
