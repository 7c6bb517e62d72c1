"""One compressed frame -> its stored numbers, by the one decoder of its syntax, checked against the header.

The decoder is pydicom's own first choice where GDCM is not installed. If it fails, no other is asked: JPEG
decoders differ by a level in rounding, so another's frame would not be this frame.
"""

import io
import struct
from typing import Any

import numpy as np
from openjpeg import decode_pixel_data
from PIL import Image
from pydicom.pixels import get_decoder

from octshard.prep.dicom import codestream, file_kind
from octshard.prep.dicom.header import Header

_WRAP = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0"  # an offset table without offsets, and a fragment


def decode(code: bytes, header: Header, level: int) -> np.ndarray:
    """(H, W), without `level` JPEG 2000 resolution levels; raises whatever the decoder raises."""
    if header.transfer_syntax == file_kind.RLE:
        return _by_pydicom(code, header, "pydicom")
    if header.transfer_syntax in file_kind.JPEG:
        declared = codestream.jpeg(code)
        _check_declared(declared, header)
        codestream.check_end(code)
        if header.transfer_syntax not in file_kind.JPEG_LS:
            _check_jpeg_bits(declared, header)
        return _by_pydicom(code, header, "pylibjpeg")
    declared = codestream.jpeg_2000(code)
    _check_declared(declared, header)
    return _reduced(code, header, level) if level else _by_openjpeg(code, header, declared)


def jpeg_2000(code: bytes, rows: int, cols: int) -> np.ndarray:
    """(H, W), uint8 or uint16, of a codestream in no DICOM file; raises whatever the decoder raises."""
    declared = codestream.jpeg_2000(code)
    if (declared.rows, declared.cols, declared.components, declared.signed) != (rows, cols, 1, False):
        size = f"{declared.rows} x {declared.cols} x {declared.components}"
        raise codestream.BadCodestream(f"declares {size}, want {rows} x {cols} x 1 without sign")
    if declared.bits > 16:
        raise codestream.BadCodestream(f"declares {declared.bits} bits, want at most 16")
    flat = np.frombuffer(decode_pixel_data(code, version=2), "<u1" if declared.bits <= 8 else "<u2")
    return flat.reshape(rows, cols)


def used_bits(frame_HW: np.ndarray, unused: int) -> np.ndarray:
    """PS3.5 §8.1.1: the high bits that are not stored are no part of the number."""
    return frame_HW << unused >> unused if unused else frame_HW


def _by_pydicom(code: bytes, header: Header, plugin: str) -> np.ndarray:
    """As pydicom does it; of an RLE frame with all bits, so that the unused ones can be looked at."""
    transform = header.pixel_transform
    is_rle = header.transfer_syntax == file_kind.RLE
    options: dict[str, Any] = {
        "number_of_frames": 1,
        "rows": header.rows,
        "columns": header.cols,
        "samples_per_pixel": 1,
        "photometric_interpretation": header.declared.photometric,
        "bits_allocated": transform.bits_allocated,
        "bits_stored": transform.bits_allocated if is_rle else transform.bits_stored,
        "pixel_representation": int(transform.signed),
    }
    wrapped = _WRAP + struct.pack("<L", len(code)) + code  # as it is: `encapsulate` would pad it
    decoder = get_decoder(header.transfer_syntax)
    return decoder.as_array(wrapped, index=0, raw=True, decoding_plugin=plugin, **options)[0]


def _by_openjpeg(code: bytes, header: Header, declared: codestream.Frame) -> np.ndarray:
    """As pydicom does it, 0.3 ms a frame faster: words as wide as the codestream's precision needs."""
    sign, width = "i" if header.pixel_transform.signed else "u", 1 if declared.bits <= 8 else 2
    flat = np.frombuffer(decode_pixel_data(code, version=2), f"<{sign}{width}")
    frame_HW = flat.reshape(header.rows, header.cols).astype(
        f"{sign}{header.pixel_transform.bits_allocated // 8}", copy=False
    )
    if declared.signed == header.pixel_transform.signed:
        return frame_HW
    # the header says what the bits mean
    return used_bits(frame_HW, header.pixel_transform.bits_allocated - declared.bits)


def _reduced(code: bytes, header: Header, level: int) -> np.ndarray:
    """One unsigned JPEG 2000 frame with `level` resolution levels left out."""
    image = Image.open(io.BytesIO(code), formats=("JPEG2000",))
    image.reduce = level  # type: ignore[method-assign,assignment]  # a property here, not the method
    image.load()
    frame_HW = np.asarray(image)
    unused = 8 * frame_HW.itemsize - header.pixel_transform.bits_stored  # Pillow fills the word from above
    return (frame_HW >> unused if unused else frame_HW).astype(
        f"u{header.pixel_transform.bits_allocated // 8}", copy=False
    )


def _check_declared(frame: codestream.Frame, header: Header) -> None:
    """Compares the codestream's own size with the header's, before a decoder trusts it."""
    if (frame.rows, frame.cols, frame.components) != (header.rows, header.cols, 1):
        size = f"{frame.rows} x {frame.cols} x {frame.components}"
        raise codestream.BadCodestream(f"declares {size}, want {header.rows} x {header.cols} x 1")
    allocated = header.pixel_transform.bits_allocated
    if frame.bits > allocated:
        raise codestream.BadCodestream(f"declares {frame.bits} bits, want at most {allocated}")


def _check_jpeg_bits(frame: codestream.Frame, header: Header) -> None:
    """Of JPEG (not JPEG-LS) pydicom cuts off the bits above BitsStored, and reads no 8 bits as 16."""
    stored, allocated = header.pixel_transform.bits_stored, header.pixel_transform.bits_allocated
    if frame.bits > stored:
        raise codestream.BadCodestream(f"declares {frame.bits} bits, want at most BitsStored, {stored}")
    if (frame.bits > 8) != (allocated > 8):
        raise codestream.BadCodestream(f"declares {frame.bits} bits, want more than 8 in {allocated}")
