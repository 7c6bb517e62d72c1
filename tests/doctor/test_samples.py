"""The embedded files: what they show by formula, by pydicom, and by decoders that octshard does not use."""

import io

import imagecodecs
import numpy as np
import pydicom
import pytest

from octshard.doctor.samples import SAMPLES, CodecSample, dicom_file, picture
from octshard.prep.dicom.file_kind import COMPRESSED, JPEG_2000, NATIVE, RLE

ENCODED = [sample for sample in SAMPLES if sample.transfer_syntax not in NATIVE]


def other_decoder(sample: CodecSample) -> np.ndarray:
    """The frame by imagecodecs' libraries: libjpeg-turbo, CharLS, OpenJPEG, OpenJPH; RLE by PackBits."""
    syntax = sample.transfer_syntax
    if syntax == RLE:
        return np.frombuffer(imagecodecs.packbits_decode(sample.frame[64:]), np.uint8).reshape(16, 16)
    if syntax.endswith((".80", ".81")):
        return imagecodecs.jpegls_decode(sample.frame)
    if syntax not in JPEG_2000:
        return imagecodecs.jpeg8_decode(sample.frame)
    htj2k = syntax.endswith((".201", ".202", ".203"))
    return (imagecodecs.htj2k_decode if htj2k else imagecodecs.jpeg2k_decode)(sample.frame)


def test_the_picture_is_its_formula() -> None:
    assert picture(8).dtype == np.uint8
    assert picture(8)[0, 0] == 0
    assert picture(8)[2, 3] == 37
    assert picture(8)[15, 15] == 225
    assert picture(12)[2, 3] == 592
    assert not np.array_equal(picture(8), picture(8).T)


@pytest.mark.parametrize("sample", ENCODED, ids=lambda sample: sample.name)
def test_other_decoders_see_the_picture(sample: CodecSample) -> None:
    difference = np.abs(other_decoder(sample).astype(int) - picture(sample.bits)).max()
    assert difference <= sample.tolerance
    assert len(sample.frame) < 400


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_pydicom_reads_the_files(sample: CodecSample) -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom_file(sample)))
    assert dataset.file_meta.TransferSyntaxUID == sample.transfer_syntax
    difference = np.abs(dataset.pixel_array.astype(int) - picture(sample.bits)).max()
    assert difference <= sample.tolerance


def test_there_is_a_sample_of_each_family_that_prep_reads() -> None:
    """202 is 201 with its progression fixed: one sample stands for both."""
    syntaxes = {sample.transfer_syntax for sample in SAMPLES}
    assert syntaxes - NATIVE == COMPRESSED - {"1.2.840.10008.1.2.4.202"}
    assert len(syntaxes & NATIVE) == 2
    assert len({sample.name for sample in SAMPLES}) == len(SAMPLES)
