"""Codecs: sound ones pass; missing, failing and wrong ones fail with advice."""

import dataclasses
import sys
from typing import Any

import numpy as np
import pytest
from pydicom.pixels import get_decoder

from octshard.doctor import codecs
from octshard.doctor.samples import SAMPLES, CodecSample
from octshard.prep.dicom import decode

BASELINE = next(sample for sample in SAMPLES if sample.name == "JPEG baseline")


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_every_sample_decodes_to_its_known_pixels(sample: CodecSample) -> None:
    assert codecs.check(sample).status == "pass"


def test_there_is_one_check_for_each_sample() -> None:
    assert [check.name for check in codecs.checks()] == [sample.name for sample in SAMPLES]


def test_a_missing_plugin_fails_its_codecs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """pydicom without pylibjpeg-libjpeg."""
    for sample in SAMPLES:
        if sample.name.startswith(("JPEG base", "JPEG ext", "JPEG loss", "JPEG-LS")):
            monkeypatch.setattr(get_decoder(sample.transfer_syntax), "_available", {})
    checks = {check.name: check for check in codecs.checks()}
    failed = {name for name, check in checks.items() if check.status == "fail"}
    assert failed == {
        "JPEG baseline",
        "JPEG extended, 12 bits",
        "JPEG lossless",
        "JPEG lossless, first order",
        "JPEG-LS lossless",
        "JPEG-LS near-lossless",
    }
    assert all(
        checks[name].advice == codecs.ADVICE and "decoder_error" in checks[name].found for name in failed
    )


def test_a_missing_import_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """`openjpeg` is not installed, so that prep's decoder cannot be imported at all."""
    for name in ("octshard.prep.dicom.decode", "octshard.prep.dicom.compressed_frame"):
        monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr(name)
    monkeypatch.setitem(sys.modules, "openjpeg", None)
    checks = codecs.checks()
    assert {check.status for check in checks} == {"fail"}
    assert all("openjpeg" in check.found and check.advice == codecs.ADVICE for check in checks)


def test_a_frame_of_other_pixels_fails() -> None:
    other = dataclasses.replace(SAMPLES[0], frame=bytes(256))
    check = codecs.check(other)
    assert (check.status, check.advice) == ("fail", codecs.ADVICE)
    assert check.found == "pixels differ by up to 225 grey levels, want at most 0"


def test_a_frame_of_another_size_fails(monkeypatch: Any) -> None:
    monkeypatch.setattr(decode, "frames", lambda data, header: iter([np.zeros((16, 8), np.uint8)]))
    assert codecs.check(BASELINE).found == "1 frames of uint8(16, 8), want 1 of uint8(16, 16)"


def test_damaged_bytes_fail() -> None:
    cut = dataclasses.replace(BASELINE, frame=BASELINE.frame[:150])
    check = codecs.attempt(cut.name, lambda: codecs.check(cut), codecs.ADVICE)
    assert check.status == "fail"
