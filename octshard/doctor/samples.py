"""Tiny DICOM files, one for each encoding that prep reads, all of the same picture.

The picture has 16 x 16 pixels, and pixel (row, column) is 8 * row + 7 * column (times 16 at 12 bits), so that
swapped axes or a shifted row show. The frames were encoded once, by imagecodecs and (RLE) pydicom; the files
around them are put together here, without pydicom.
"""

import base64
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from octshard.prep.dicom.elements import DEFLATED
from octshard.prep.dicom.file_kind import NATIVE, OPT_STORAGE

SIDE = 16  # rows and columns
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
UNDEFINED = 0xFFFFFFFF
ITEM, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


@dataclass(frozen=True)
class CodecSample:
    """One frame in one transfer syntax. tolerance: grey levels by which a lossy frame may differ."""

    name: str
    transfer_syntax: str
    bits: int
    tolerance: int
    frame: bytes


def picture(bits: int) -> np.ndarray:
    """The pixels (16, 16) that every sample of so many bits shows."""
    row, column = np.mgrid[:SIDE, :SIDE]
    grey = (8 * row + 7 * column) << (bits - 8)
    return grey.astype(np.uint8 if bits == 8 else np.uint16)


def dicom_file(sample: CodecSample) -> bytes:
    """A part-10 file of one frame, with the attributes that prep asks for and no others (PS3.10 §7.1)."""
    allocated = 8 if sample.bits == 8 else 16
    body = b"".join((
        _element(0x0008, 0x0016, b"UI", OPT_STORAGE.encode()),
        _element(0x0008, 0x0018, b"UI", b"2.25.1"),
        _element(0x0028, 0x0002, b"US", struct.pack("<H", 1)),
        _element(0x0028, 0x0004, b"CS", b"MONOCHROME2"),
        _element(0x0028, 0x0008, b"IS", b"1"),
        _element(0x0028, 0x0010, b"US", struct.pack("<H", SIDE)),
        _element(0x0028, 0x0011, b"US", struct.pack("<H", SIDE)),
        _element(0x0028, 0x0100, b"US", struct.pack("<H", allocated)),
        _element(0x0028, 0x0101, b"US", struct.pack("<H", sample.bits)),
        _element(0x0028, 0x0102, b"US", struct.pack("<H", sample.bits - 1)),
        _element(0x0028, 0x0103, b"US", struct.pack("<H", 0)),
        _pixel_data(sample),
    ))  # fmt: skip
    syntax = _element(0x0002, 0x0010, b"UI", sample.transfer_syntax.encode())
    meta = _element(0x0002, 0x0000, b"UL", struct.pack("<L", len(syntax))) + syntax
    if sample.transfer_syntax == DEFLATED:
        engine = zlib.compressobj(wbits=-15)  # PS3.5 A.5: no zlib header
        body = engine.compress(body) + engine.flush()
    return bytes(128) + b"DICM" + meta + body


def _element(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    """An element in explicit VR, little endian; padded to an even length (PS3.5 §6.2)."""
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", group, element, vr, len(value)) + value


def _pixel_data(sample: CodecSample) -> bytes:
    """PixelData: plain, or an empty offset table and one fragment (PS3.5 A.4)."""
    frame = sample.frame + b"\0" * (len(sample.frame) % 2)
    native = sample.transfer_syntax in NATIVE
    head = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, len(frame) if native else UNDEFINED)
    if native:
        return head + frame
    table, fragment = ITEM + struct.pack("<L", 0), ITEM + struct.pack("<L", len(frame))
    return head + table + fragment + frame + SEQUENCE_END + struct.pack("<L", 0)


SAMPLES = (
    CodecSample("native", EXPLICIT_LITTLE, 8, 0, picture(8).tobytes()),
    CodecSample("deflated", DEFLATED, 8, 0, picture(8).tobytes()),
    CodecSample(
        "RLE",
        "1.2.840.10008.1.2.5",
        8,
        0,
        base64.b64decode(
            "AQAAAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA8ABw4V"
            "HCMqMTg/Rk1UW2JpDwgPFh0kKzI5QEdOVVxjanEPEBceJSwzOkFIT1ZdZGtyeQ8YHyYtNDtCSVBXXmVsc3qBDyAnLjU8"
            "Q0pRWF9mbXR7gokPKC82PURLUllgZ251fIOKkQ8wNz5FTFNaYWhvdn2Ei5KZDzg/Rk1UW2JpcHd+hYyTmqEPQEdOVVxj"
            "anF4f4aNlJuiqQ9IT1ZdZGtyeYCHjpWco6qxD1BXXmVsc3qBiI+WnaSrsrkPWF9mbXR7gomQl56lrLO6wQ9gZ251fIOK"
            "kZifpq20u8LJD2hvdn2Ei5KZoKeutbzDytEPcHd+hYyTmqGor7a9xMvS2Q94f4aNlJuiqbC3vsXM09rh"
        ),
    ),
    CodecSample(
        "JPEG baseline",
        "1.2.840.10008.1.2.4.50",
        8,
        2,
        base64.b64decode(
            "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYFBgYGBwkIBgcJBwYG"
            "CAsICQoKCgoKBggLDAsKDAkKCgr/wAALCAAQABABAREA/8QAFgABAQEAAAAAAAAAAAAAAAAACAYJ/8QAGRAAAQUAAAAA"
            "AAAAAAAAAAAACAAkM0JR/9oACAEBAAA/AM0R/G2BhlU4B/G2BhlVQD+NsDDKpwD+NsDDKr//2Q=="
        ),
    ),
    CodecSample(
        "JPEG extended, 12 bits",
        "1.2.840.10008.1.2.4.51",
        12,
        4,
        base64.b64decode(
            "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYFBgYGBwkIBgcJBwYG"
            "CAsICQoKCgoKBggLDAsKDAkKCgr/wQALDAAQABABAREA/8QAFgABAQEAAAAAAAAAAAAAAAAADAoN/8QAHBAAAAYDAAAA"
            "AAAAAAAAAAAAAAsMKDdGVWJy/9oACAEBAAA/AM0fIBk3FCjC8fW+NA4AIBk3FCjC8fW+NBQAQDJuKFGF4+t8aBwAQDJu"
            "KFGF4+t8aD//2Q=="
        ),
    ),
    CodecSample(
        "JPEG lossless",
        "1.2.840.10008.1.2.4.57",
        8,
        0,
        base64.b64decode(
            "/9j/4AAQSkZJRgABAQAAAQABAAD/wwALCAAQABABAREA/8QAFgABAQEAAAAAAAAAAAAAAAAAAwQI/9oACAEBAAYAAM/u"
            "7u7u7u7u70IiIiIiIiIiUIiIiIiIiIiUIiIiIiIiIiUIiIiIiIiIiUIiIiIiIiIiUIiIiIiIiIiUIiIiIiIiIiUIiIiI"
            "iIiIiUIiIiIiIiIiUIiIiIiIiIiUIiIiIiIiIiUIiIiIiIiIiUIiIiIiIiIiUIiIiIiIiIiUIiIiIiIiIif/2Q=="
        ),
    ),
    CodecSample(
        "JPEG lossless, first order",
        "1.2.840.10008.1.2.4.70",
        8,
        0,
        base64.b64decode(
            "/9j/4AAQSkZJRgABAQAAAQABAAD/wwALCAAQABABAREA/8QAFgABAQEAAAAAAAAAAAAAAAAAAwQI/9oACAEBAAEAAM/u"
            "7u7u7u7u70O7u7u7u7u70O7u7u7u7u70O7u7u7u7u70O7u7u7u7u70O7u7u7u7u70O7u7u7u7u70O7u7u7u7u70O7u7u"
            "7u7u70O7u7u7u7u70O7u7u7u7u70O7u7u7u7u70O7u7u7u7u70O7u7u7u7u70O7u7u7u7u70O7u7u7u7u7//2Q=="
        ),
    ),
    CodecSample(
        "JPEG-LS lossless",
        "1.2.840.10008.1.2.4.80",
        8,
        0,
        base64.b64decode(
            "/9j/6AAgU1BJRkYAAgAAAQAAABAAAAAQCggGAQAAASwAAAEs/+gACAAAAAH/2P/3AAsIABAAEAEBEQD/2gAIAQEAAAAA"
            "hRVirT+7d/9wgzFI7MzbbYZJJJKqqYqqqqqo/39B/3/H/34f/3h//2H/f4//fP9/z/98/3/P/3z/f8D/2Q=="
        ),
    ),
    CodecSample(
        "JPEG-LS near-lossless",
        "1.2.840.10008.1.2.4.81",
        8,
        2,
        base64.b64decode(
            "/9j/6AAgU1BJRkYAAgAAAQAAABAAAAAQCggGAQAAASwAAAEs/+gACAAAAAH/2P/3AAsIABAAEAEBEQD/2gAIAQEAAgAA"
            "t7//TpJEkSSRJJKSSklKymOvLSWUz11P8/R85/X/fo//ZX//R/96/39H/3r/f1P/ff9/AP/Z"
        ),
    ),
    CodecSample(
        "JPEG 2000 lossless",
        "1.2.840.10008.1.2.4.90",
        8,
        0,
        base64.b64decode(
            "/0//UQApAAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAABBwEB/1IADAAAAAEAAQQEAAH/XAAHQEBISFD/"
            "ZAAlAAFDcmVhdGVkIGJ5IE9wZW5KUEVHIHZlcnNpb24gMi41LjT/kAAKAAAAAABUAAH/k9+BoBIrZtcPdGkGh1ffVfrV"
            "rOwTx+0gyFturAwdQWF3jxuAHmWtp2opLdw/Wb83zt4IUUWec0/AfCJA+QIANqGFPz2mNF//2Q=="
        ),
    ),
    CodecSample(
        "JPEG 2000 lossy",
        "1.2.840.10008.1.2.4.91",
        8,
        2,
        base64.b64decode(
            "/0//UQApAAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAABBwEB/1IADgECAAEAAQQEAACIiP9cAAtCSCRX"
            "01fTV2L/ZAAlAAFDcmVhdGVkIGJ5IE9wZW5KUEVHIHZlcnNpb24gMi41LjT/kAAKAAAAAABOAAH/k8+lgBFQFXc+UKey"
            "xzNyQ4hPBOvNcVHIU4K/Hp4JLESocFesEiEM2MRLWeF4MSHGgiS/m8AjgHRQNqGBPaYtZWH/2Q=="
        ),
    ),
    CodecSample(
        "HTJ2K lossless",
        "1.2.840.10008.1.2.4.201",
        8,
        0,
        base64.b64decode(
            "/0//UQApQAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAABBwEB/1AACAACAAAAAv9SAAwAAgABAAUEBEAB"
            "/1wAEyBIUFBQUFBQUFBQUFBQSEhI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAGUAAf+TwCX1AId0AADA"
            "EsASgP4Ah3QAkAEHdADAEsATAN4AAnQASOQAI1QAwBPAFSDu7qCnwnUAohDiwAAB7LYAwCrgFWAkSZLnwKenp0J4AG7b"
            "tv2Se/ZJ7LgA/9k="
        ),
    ),
    CodecSample(
        "HTJ2K lossy",
        "1.2.840.10008.1.2.4.203",
        8,
        2,
        base64.b64decode(
            "/0//UQApQAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAABBwEB/1AACAACAAAAIf9SAAwAAgABAAUEBEAA"
            "/1wAIyJpqWmLaYtpbmGZYZlhhlnLWctZ2lJCUkJSlkogSiBJ2P9kABcAAU9wZW5KUEggVmVyIDAuMjYuMy7/kAAKAAAA"
            "AACGAAH/k8ACYOf6Awd0AADABNABMIj+Agd0AOb+Agd0AMAKiAFQg4HL9QCCtAAD44DxAIa0AMAV0AV4thTT2KUY80Mk"
            "sAqbdwBWD3uwhx32QAAApu1qOADAK6AWmJRSSimlXJdkuyXZWRkAAMHAIBgEg+B9ASU6ZJTdMYzrAP/Z"
        ),
    ),
)
