"""The reader is chosen by content, whatever a file is called."""

import pytest

from octshard.prep.dicom import writer
from octshard.prep.readers import recognise
from octshard.prep.readers.dicom import DicomScan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from tests.support.made_release import scan


@pytest.mark.parametrize("name", ["a.dcm", "a.nii.gz", "scan", ""])
def test_a_dicom_file_is_one_whatever_its_name(name: str) -> None:
    file = ScanBytes(writer.write(scan()), name)
    assert recognise.format_of(file) == "dicom"
    opened = recognise.open_scan(file)
    assert isinstance(opened, DicomScan)
    assert (opened.facts.shape, opened.rescaling()) == ((6, 20, 24), "")


@pytest.mark.parametrize(
    ("data", "reason"), [(b"", "empty"), (b"PK\5\6", "not_dicom"), (b"\0" * 200, "not_dicom")]
)
def test_what_no_reader_reads_is_refused(data: bytes, reason: str) -> None:
    for ask in (recognise.format_of, recognise.open_scan):
        with pytest.raises(Refused) as refused:
            ask(ScanBytes(data, "a.dcm"))
        assert refused.value.reason == reason
