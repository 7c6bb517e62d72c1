"""The first bytes of a DICOM file: as the whole header says, and nothing that was not asked for."""

import io
import random

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from octshard.prep.dicom import head
from octshard.prep.dicom.file_kind import OPT_STORAGE
from tests.support.scan_folder import dicom

ASKED = ("PatientID", "StudyDate")


def test_a_head_says_what_the_file_is_and_no_more_than_was_asked() -> None:
    found = head.read(dicom("MRN 7"), ASKED)
    assert (found.sop_class, found.manufacturer, found.model) == (OPT_STORAGE, "Topcon", "Triton")
    assert (found.eye, found.region, found.is_whole) == ("L", "Retina", True)
    assert found.asked == {"PatientID": "MRN 7", "StudyDate": "20230718"}
    assert "MRN" not in repr(head.read(dicom("MRN 7")))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_other_syntaxes_say_the_same(syntax: str) -> None:
    ds, out = pydicom.dcmread(io.BytesIO(dicom())), io.BytesIO()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(out, enforce_file_format=True, implicit_vr=syntax == ImplicitVRLittleEndian)
    assert head.read(out.getvalue(), ASKED) == head.read(dicom(), ASKED)


def test_a_head_that_was_cut_says_so_and_another_kind_of_file_is_told() -> None:
    data = dicom()
    cut = head.read(data[:400])
    assert not cut.is_whole
    assert cut.may_be_oct
    assert not head.read(data.replace(OPT_STORAGE.encode(), b"1.2.840.10008.5.1.4.1.1.77.1.5.1")).may_be_oct


def test_ids_of_other_letters_are_never_made_one() -> None:
    ids = [head.read(dicom(name), ASKED).asked["PatientID"] for name in ("a\x1b$B1", "a\x1b$B2", "é", "è")]
    assert len(set(ids)) == 4
    assert all(text.isprintable() for text in ids)


def test_no_bytes_are_an_error() -> None:
    rng, data = random.Random(0), dicom()
    for _ in range(300):
        damaged = bytearray(data[: rng.randrange(133, 1500)])
        for _ in range(rng.randrange(8)):
            damaged[rng.randrange(132, len(damaged))] = rng.randrange(256)
        head.read(bytes(damaged), ASKED)
