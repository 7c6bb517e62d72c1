"""DICOM files whose datasets were changed by hand, element by element."""

import io
from collections.abc import Callable
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from octshard.prep.dicom import writer

Change = Callable[[Any, int], None]


def changed(scan: writer.Scan, frame: Change | None = None, **top: Any) -> bytes:
    """The file of `scan` with every per-frame item changed by `frame(item, index)`, and top-level values.

    A top-level value of None is removed.
    """
    return changed_bytes(writer.write(scan), frame, **top)


def changed_bytes(data: bytes, frame: Change | None = None, **top: Any) -> bytes:
    """As `changed`, of a file."""
    ds = pydicom.dcmread(io.BytesIO(data))
    for i, item in enumerate(ds.PerFrameFunctionalGroupsSequence if frame is not None else ()):
        assert frame is not None
        frame(item, i)
    for name, value in top.items():
        if value is None and name in ds:
            delattr(ds, name)
        elif value is not None:
            setattr(ds, name, value)
    if "SOPInstanceUID" in top:
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=False)
    return out.getvalue()


def label(item: Any, *, eye: str = "", stack: str = "", time: int = 0) -> None:
    """Says of a frame which volume it is of."""
    if eye:
        item.FrameAnatomySequence = Items([Dataset()])
        item.FrameAnatomySequence[0].FrameLaterality = eye
    if stack:
        item.FrameContentSequence[0].StackID = stack
    if time:
        item.FrameContentSequence[0].TemporalPositionIndex = time
