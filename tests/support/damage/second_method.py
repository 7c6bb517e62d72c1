"""What a DICOM file means by pydicom and the standard's formulas alone: the grey levels of every frame.

Nothing of `octshard.prep.dicom` is used: header, frames, sign and rescale come from pydicom, the levels from
float64 arithmetic by the rule of docs/design/prep.md.
"""

import io
import re
import struct
import warnings
from typing import NamedTuple

import numpy as np
import pydicom
from pydicom.dataset import Dataset

IGNORED = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths", "FloatPixelData", "DoubleFloatPixelData")
NO_TABLE = b"\xfe\xff\x00\xe0\0\0\0\0"  # the item of a basic offset table without offsets


class Meaning(NamedTuple):
    """Grey levels (D, H, W), uint8 or uint16. followed: pydicom could follow the file as it is."""

    levels_DHW: np.ndarray
    followed: bool


def meaning(data: bytes) -> Meaning:
    """Raises whatever pydicom raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(io.BytesIO(data))
        stored, followed = _stored(ds)
        stored_DHW = stored[None] if stored.ndim == 2 else stored
        pairs = [_pair(ds, i) for i in range(len(stored_DHW))]
    half = 2 ** (max(ds.BitsStored, *_precisions(ds)) - 1)
    ends = (-half, half - 1) if ds.PixelRepresentation else (0, 2 * half - 1)
    bounds = [end * slope + intercept for slope, intercept in pairs for end in ends]
    low, high = min(bounds), max(bounds)
    inverted = ds.PhotometricInterpretation == "MONOCHROME1"
    if set(pairs) == {(1.0, 0.0)} and not ds.PixelRepresentation and not inverted:
        return Meaning(stored_DHW.astype(stored_DHW.dtype.newbyteorder("=")), followed)
    frames = []
    for frame, (slope, intercept) in zip(stored_DHW, pairs, strict=True):
        levels = frame.astype(np.float64) * slope + intercept
        frames.append(low + high - levels if inverted else levels)
    levels_DHW = np.stack(frames)
    top = high
    if low < 0 or high > 65535 or high - low < 2 * half - 1:
        levels_DHW, top = (levels_DHW - low) * (65535 / (high - low)), 65535.0
    dtype = np.uint8 if top <= 255 else np.uint16
    return Meaning(np.rint(levels_DHW).astype(np.int64).astype(dtype), followed)


def _stored(ds: Dataset) -> tuple[np.ndarray, bool]:
    """(pydicom's pixel_array, True); where it cannot follow a table that lies, without that table, False."""
    try:
        return ds.pixel_array, True
    except Exception:  # pydicom raises anything on damaged files; without a table it must succeed
        for name in IGNORED:
            ds.pop(name, None)
        raw = ds.get("PixelData", b"")
        if raw[:4] == NO_TABLE[:4]:
            ds.PixelData = NO_TABLE + raw[8 + struct.unpack_from("<I", raw, 4)[0] :]
        return ds.pixel_array, False


def _precisions(ds: Dataset) -> list[int]:
    """Bits that codestreams declare (SIZ of JPEG 2000, SOF of JPEG): pydicom keeps them all."""
    raw = ds.PixelData if ds["PixelData"].is_undefined_length else b""
    siz = [(raw[at.start() + 42] & 127) + 1 for at in re.finditer(rb"\xff\x4f\xff\x51", raw)]
    sof = [
        raw[at.start() + 4] for at in re.finditer(rb"\xff[\xc0\xc1\xc3\xf7]\0.[\x08-\x10]", raw, re.DOTALL)
    ]
    return [0, *siz, *sof]


def _pair(ds: Dataset, index: int) -> tuple[float, float]:
    """(RescaleSlope, RescaleIntercept) of a frame: its own, else the shared ones, else the top level's."""
    frames, shared = ds.get("PerFrameFunctionalGroupsSequence"), ds.get("SharedFunctionalGroupsSequence")
    holders = [frames[index] if frames and index < len(frames) else None, shared[0] if shared else None]
    for holder in holders:
        if holder is not None and holder.get("PixelValueTransformationSequence"):
            return _numbers(holder.PixelValueTransformationSequence[0])
    return _numbers(ds)


def _numbers(holder: Dataset) -> tuple[float, float]:
    slope, intercept = holder.get("RescaleSlope"), holder.get("RescaleIntercept")
    return 1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)
