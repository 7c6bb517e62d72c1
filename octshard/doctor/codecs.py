"""Every encoding that prep reads: a tiny file of known pixels, read and decoded as prep does it."""

from functools import partial

import numpy as np

from octshard.doctor.checks import Check, attempt
from octshard.doctor.samples import SAMPLES, CodecSample, dicom_file, picture

ADVICE = "pip install --upgrade pydicom pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"


def checks() -> list[Check]:
    """One check for each sample."""
    return [attempt(sample.name, partial(check, sample), ADVICE) for sample in SAMPLES]


def check(sample: CodecSample) -> Check:
    """The sample's pixels against the known ones."""
    from octshard.prep.dicom import decode  # a decoder that is not installed must be a line, not the end
    from octshard.prep.dicom.header import read_header

    data = dicom_file(sample)
    expected = picture(sample.bits)
    frames = list(decode.frames(data, read_header(data, expected.size)))
    frame = frames[0]
    if len(frames) != 1 or (frame.shape, frame.dtype) != (expected.shape, expected.dtype):
        text = (
            f"{len(frames)} frames of {frame.dtype}{frame.shape}, want 1 of {expected.dtype}{expected.shape}"
        )
        return Check(sample.name, "fail", text, ADVICE)
    difference = int(np.abs(frame.astype(int) - expected).max())
    if difference > sample.tolerance:
        text = f"pixels differ by up to {difference} grey levels, want at most {sample.tolerance}"
        return Check(sample.name, "fail", text, ADVICE)
    lossy = f"within {sample.tolerance} grey levels" if sample.tolerance else "equal"
    return Check(sample.name, "pass", f"decoded, pixels {lossy}")
