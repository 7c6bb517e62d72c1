"""Who a scan is of, by each of the three sources."""

import pytest

from octshard.errors import UsageError
from octshard.prep.index import path_pattern, person
from octshard.prep.index.person import PersonRule


@pytest.mark.parametrize(
    ("source", "path", "name"),
    [
        ("", "P1/a.dcm", "P1"),
        ("", "site/P1/a.dcm", "P1"),
        ("", "a.dcm", ""),
        ("", "DICOM/a.dcm", ""),
        ("folder", "DICOM/a.dcm", "DICOM"),
        ("", "topcon_triton/a.dcm", ""),
        ("", "unknown/a.dcm", ""),
        ("folder", "unknown/a.dcm", ""),  # a table would call that a missing value
    ],
)
def test_the_folder_above_a_scan(source: str, path: str, name: str) -> None:
    found, problem = PersonRule(source, None, b"").of(path, {}, "MRN")
    assert found == name
    assert bool(problem) != bool(name)


def test_a_pattern_or_a_patient_id() -> None:
    rule = PersonRule("pattern", path_pattern.parse("{person}_*"), b"")
    assert rule.of("x", {"person": "7"}, "MRN") == ("7", "")
    assert rule.of("x", {}, "MRN") == ("", "the pattern finds no person in the path")
    rule = PersonRule("dicom", None, b"")
    assert rule.of("P1/x", {}, rule.patient("MRN")) == ("MRN", "")
    assert rule.of("P1/x", {}, rule.patient("n/a"))[1] == "no PatientID"


@pytest.mark.parametrize("pattern", [None, path_pattern.parse("{eye}/*")])
def test_a_pattern_must_tell_the_person(pattern: path_pattern.PathPattern | None) -> None:
    with pytest.raises(UsageError, match=r"^--person-from pattern: .*; give --pattern"):
        PersonRule("pattern", pattern, b"").check()


@pytest.mark.parametrize(
    ("name", "look"),
    [("2020-01-02", "a date"), ("20200102", "a date"), ("OD", "an eye"), ("left", "an eye"),
     ("1.2.840.113619.2", "a UID"), ("1001", ""), ("P1", ""), ("1.5", "")],
)  # fmt: skip
def test_what_a_folder_looks_like(name: str, look: str) -> None:
    assert person.looks_like(name) == look
