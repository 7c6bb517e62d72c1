"""Small sound DICOM files in every encoding, each with a SOPInstanceUID of its own and of one length."""

import dataclasses
import io
import struct
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from octshard.prep.dicom import writer
from octshard.rng import rng_for
from tests.support.made_release import scan

HTJ2K_LOSSLESS = "1.2.840.10008.1.2.4.201"
SHAPE = (4, 32, 24)
FIRST = "2.25.9999999"  # the SOPInstanceUID of files before they get their own


def uid_of(seed: int, i: int) -> str:
    """All of one length, so that bytes can be exchanged."""
    return f"2.25.{1_000_000 + 10_000 * seed + i}"


def sound(encoding: str, uid: str) -> bytes:
    """An undamaged file."""
    old, new = FIRST.encode(), uid.encode()
    data = _first(encoding)
    if encoding != "deflated":
        return data.replace(old, new)
    start = 144 + struct.unpack_from("<I", data, 140)[0]  # where the file meta information ends
    body = zlib.decompress(data[start:], -15).replace(old, new)
    deflate = zlib.compressobj(wbits=-15)
    return data[:start].replace(old, new) + deflate.compress(body) + deflate.flush()


@lru_cache
def _first(encoding: str) -> bytes:
    voxels = np.sort(rng_for("fuzz voxels").integers(0, 256, SHAPE, np.uint8), axis=1)
    content = dataclasses.replace(
        scan(), voxels_DHW=voxels, sop_instance_uid=FIRST, locations=scan().locations[: SHAPE[0]]
    )
    return ENCODINGS[encoding](content)


def _written(encoding: str) -> Callable[[writer.Scan], bytes]:
    return lambda content: writer.write(dataclasses.replace(content, encoding=encoding))


def _saved(syntax: str) -> Callable[[writer.Scan], bytes]:
    """The native file in another transfer syntax without a codec."""

    def save(content: writer.Scan) -> bytes:
        ds = pydicom.dcmread(io.BytesIO(writer.write(content)))
        ds.file_meta.TransferSyntaxUID = UID(syntax)
        return to_bytes(ds)

    return save


def _wide(content: writer.Scan) -> bytes:
    """12 bits in 16, MONOCHROME1, with a rescale."""
    ds = pydicom.dcmread(io.BytesIO(writer.write(content)))
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PhotometricInterpretation, ds.RescaleSlope, ds.RescaleIntercept = "MONOCHROME1", "0.5", "-3"
    ds.PixelData = (content.voxels_DHW.astype("<u2") * 16).tobytes()
    return to_bytes(ds)


def _coded(syntax: str, encode: Callable[[np.ndarray], bytes], *, table: bool = False) -> Any:
    """Frames encoded one by one; table: with an extended offset table."""

    def save(content: writer.Scan) -> bytes:
        ds = pydicom.dcmread(io.BytesIO(writer.write(content)))
        frames = [encode(frame) for frame in content.voxels_DHW]
        if table:
            ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(frames)
        else:
            ds.PixelData = encapsulate(frames)
        ds["PixelData"].is_undefined_length = True
        ds.file_meta.TransferSyntaxUID = UID(syntax)
        return to_bytes(ds)

    return save


def _rle(content: writer.Scan) -> bytes:
    ds = pydicom.dcmread(io.BytesIO(writer.write(content)))
    ds.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    return to_bytes(ds)


ENCODINGS: dict[str, Callable[[writer.Scan], bytes]] = {
    "native": _written("native"),
    "j2k": _written("j2k"),
    "j2k_lossy": _written("j2k_lossy"),
    "rle": _rle,
    "jpegls": _coded(JPEGLSLossless, imagecodecs.jpegls_encode),
    "j2k_table": _coded(JPEG2000Lossless, imagecodecs.jpeg2k_encode, table=True),
    "htj2k": _coded(HTJ2K_LOSSLESS, imagecodecs.htj2k_encode),
    "jpeg": _coded(JPEGBaseline8Bit, imagecodecs.jpeg8_encode),
    "jpeg_lossless": _coded(JPEGLosslessSV1, imagecodecs.ljpeg_encode),
    "deflated": _saved(DeflatedExplicitVRLittleEndian),
    "implicit": _saved(ImplicitVRLittleEndian),
    "big_endian": _saved(ExplicitVRBigEndian),
    "wide": _wide,
}


def to_bytes(ds: Dataset) -> bytes:
    """In the encoding that its file meta information names."""
    out = io.BytesIO()
    big = ds.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    implicit = ds.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    pydicom.dcmwrite(out, ds, implicit_vr=implicit, little_endian=not big, force_encoding=True)
    return out.getvalue()
