"""What a compressed frame says of itself, against what it was encoded from."""

import imagecodecs
import numpy as np
import pytest

from octshard.prep.dicom import codestream
from octshard.prep.dicom.codestream import BadCodestream, Frame


def picture(bits: int = 8, *, signed: bool = False) -> np.ndarray:
    levels = np.arange(35 * 50).reshape(35, 50) % 2**bits - signed * 2 ** (bits - 1)
    return levels.astype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}")


def j2k(picture: np.ndarray, bits: int = 8, form: str = "j2k", resolutions: int = 3) -> bytes:
    options = {"codecformat": form, "resolutions": resolutions, "reversible": True}
    return bytes(imagecodecs.jpeg2k_encode(picture, level=0, bitspersample=bits, **options))


@pytest.mark.parametrize("form", ["j2k", "jp2"])
@pytest.mark.parametrize(("bits", "signed"), [(8, False), (12, False), (12, True), (16, False)])
def test_jpeg_2000_tells_size_bits_sign_and_levels(form: str, bits: int, signed: bool) -> None:
    code = j2k(picture(bits, signed=signed), bits, form)
    assert codestream.jpeg_2000(code) == Frame(35, 50, 1, bits, signed, 2)  # 3 resolutions: 2 below the full


def test_jpeg_2000_off_the_grid_has_no_levels_that_may_go() -> None:
    code = bytearray(j2k(picture()))
    code[16:20] = (1).to_bytes(4)  # XOsiz: the first column is number 1
    assert codestream.jpeg_2000(bytes(code)) == Frame(35, 49, 1, 8, False, 0)


def test_a_component_of_fewer_levels_sets_the_limit() -> None:
    code = j2k(picture())
    at = code.index(b"\xff\x52")
    length = int.from_bytes(code[at + 2 : at + 4])
    coc = b"\xff\x53" + (9).to_bytes(2) + bytes([0, 0, 1, 4, 4, 0, 1])  # COC: component 0, one level
    assert codestream.jpeg_2000(code[: at + 2 + length] + coc + code[at + 2 + length :]).levels == 1


@pytest.mark.parametrize(
    ("code", "bits"),
    [
        (imagecodecs.jpeg8_encode(picture()), 8),
        (imagecodecs.jpeg8_encode(picture(12), bitspersample=12), 12),
        (imagecodecs.jpeg8_encode(picture(16), lossless=True, predictor=1, bitspersample=16), 16),
        (imagecodecs.ljpeg_encode(picture(12), bitspersample=12), 12),
        (imagecodecs.jpegls_encode(picture()), 8),
    ],
)
def test_jpeg_tells_size_and_bits(code: bytes, bits: int) -> None:
    assert codestream.jpeg(bytes(code)) == Frame(35, 50, 1, bits, False, 0)


@pytest.mark.parametrize(
    ("interval", "markers", "fault"), [(5, 0, "want 6"), (34, 0, "want 1"), (5, 5, "want 6")]
)
def test_jpeg_ls_without_its_restart_markers_is_no_frame(interval: int, markers: int, fault: str) -> None:
    """35 rows in intervals of 5 have 6 markers between them; without them rows keep what memory held."""
    code = bytes(imagecodecs.jpegls_encode(picture()))
    at = code.index(b"\xff\xda")
    restart = b"\xff\xdd\0\4" + interval.to_bytes(2)
    lied = code[:at] + restart + code[at:] + b"\xff\xd0" * markers
    with pytest.raises(BadCodestream, match=f"{markers} restart markers, {fault} for 35 rows"):
        codestream.jpeg(lied)


@pytest.mark.parametrize(("interval", "markers"), [(0, 0), (35, 0), (5, 6)])
def test_jpeg_ls_with_its_restart_markers_is_one(interval: int, markers: int) -> None:
    code = bytes(imagecodecs.jpegls_encode(picture()))
    at = code.index(b"\xff\xda")
    whole = code[:at] + b"\xff\xdd\0\4" + interval.to_bytes(2) + code[at:] + b"\xff\xd0" * markers
    assert codestream.jpeg(whole).rows == 35


def test_fill_bytes_before_a_marker_are_skipped() -> None:
    code = bytes(imagecodecs.jpegls_encode(picture()))
    assert codestream.jpeg(code[:2] + b"\xff\xff" + code[2:]) == codestream.jpeg(code)


@pytest.mark.parametrize("read", [codestream.jpeg_2000, codestream.jpeg])
def test_a_header_cut_anywhere_is_no_codestream(read) -> None:  # type: ignore[no-untyped-def]
    code = j2k(picture()) if read is codestream.jpeg_2000 else bytes(imagecodecs.jpeg8_encode(picture()))
    end = code.index(b"\xff\x90" if read is codestream.jpeg_2000 else b"\xff\xc0")
    for cut in range(end):
        with pytest.raises(BadCodestream):
            read(code[:cut])


def test_what_no_frame_may_declare_is_named() -> None:
    tiles, steps, boxes = bytearray(j2k(picture())), bytearray(j2k(picture())), j2k(picture(), form="jp2")
    tiles[8:16] = (60_000).to_bytes(4) * 2  # an image of many tiles of 35 x 50
    steps[43] = 2  # XRsiz
    for code, word in (
        (tiles, "tiles"),
        (steps, "samples every 1 rows and 2 columns"),
        (boxes[:60], "boxes"),
    ):
        with pytest.raises(BadCodestream, match=word):
            codestream.jpeg_2000(bytes(code))
    with pytest.raises(BadCodestream, match="no frame header"):
        codestream.jpeg(b"\xff\xd8\xff\xda\x00\x02" + bytes(20))
