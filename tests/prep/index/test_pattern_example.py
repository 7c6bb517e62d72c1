"""A pattern for a path: one that the path has the form of, and that names the person, wherever they stand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octshard.prep.index import path_pattern, pattern_example


@pytest.mark.parametrize(
    ("path", "example"),
    [
        ("1100.E2E", "{person}.E2E"),
        ("sub-1100_OD.nii.gz", "sub-{person}_{eye}.nii.gz"),
        ("1100/20230718/IM0001", "{person}/{date}/*"),
        ("scans/P1/OD/2020-01-02/a.vol", "*/{person}/{eye}/{date}/*.vol"),
        ("P1/1.2.840.113.5/x_OS.dcm", "{person}/*/*_{eye}.dcm"),
        ("Smith_John_OD.E2E", "{person}_*_{eye}.E2E"),
        ("data/scans/7_L_2023-01-01.npy", "*/*/{person}_{eye}_{date}.npy"),
        ("A12_Macular Cube 512x128_1-1-2020_OD_sn1_cube_z.img", "{person}_*.img"),
    ],
)
def test_a_pattern_for_names_as_they_come(path: str, example: str) -> None:
    assert pattern_example.of_path(path) == example
    fields = path_pattern.parse(example).match(path)
    assert fields is not None
    assert fields["person"] in ("1100", "P1", "Smith", "7", "A12")


WORDS = st.text(st.sampled_from("aO1D_-. {}*é"), min_size=1, max_size=9)


@given(st.lists(WORDS, min_size=1, max_size=4))
def test_every_path_has_the_form_of_its_pattern(names: list[str]) -> None:
    path = "/".join(names)
    assert path_pattern.parse(pattern_example.of_path(path)).match(path) is not None


def test_patient_id_is_proposed_for_dicom_alone() -> None:
    assert pattern_example.advice("a.E2E", dicom=False) == "give --pattern, such as '{person}.E2E' for a.E2E"
    assert pattern_example.advice("a.dcm", dicom=True).endswith("for a.dcm, or --person-from dicom")
