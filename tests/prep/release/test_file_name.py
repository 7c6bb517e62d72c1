"""What the names of scan files tell."""

import pytest

from octshard.prep.release import file_name


@pytest.mark.parametrize(
    ("path", "protocol"),
    [
        ("7001/7001_triton_3d_radial_oct_l_2.25.999.dcm", "triton_3d_radial"),
        ("1/1_spectralis_ppol_mac_hr_oct_r_1.2.3.4.dcm", "spectralis_ppol_mac_hr"),
        ("1/1_spectralis_onh_rc_hr_oct_opt_r_1.2.3.4.dcm", "spectralis_onh_rc_hr_oct"),
        ("1/odd.dcm", "odd"),
        ("1/1_oct_l_1.2.3.4.dcm", "unknown"),
        ("1/1_cirrus_mac_oct_l_1.2.3.4.DCM", "cirrus_mac"),
        ("1/1_cube_oct_l.nii.gz", "cube"),
        ("1/1_cube_oct_l.OCT", "cube"),
        ("1/1_cube.v2", "cube.v2"),
        ("1/1_cube.E2E#12", "cube"),
        ("1.E2E#12", "unknown"),
    ],
)
def test_the_protocol_is_what_is_left_of_the_file_name(path: str, protocol: str) -> None:
    assert file_name.protocol_of(path, path[: path.index("/" if "/" in path else ".")]) == protocol


@pytest.mark.parametrize(
    ("path", "eye"),
    [
        ("7001/7001_triton_3d_radial_oct_l_2.25.999.dcm", "L"),
        ("7001/7001_triton_3d_radial_oct_R_2.25.999.DCM", "R"),
        ("1/1_onh_rc_hr_r_oct_1.2.3.4.dcm", "R"),  # another version's order of words
        ("1/1_macula-oct-os_1.2.3.4.dcm", "L"),
        ("1/1_right_macula.dcm", "R"),
        ("1/1_cube_OD.vol", "R"),
        ("1/1_OS.npy", "L"),
        ("1/1_OS.nii.gz", "L"),
        ("1/1_l_to_r_oct_1.2.3.4.dcm", ""),  # both: unsure
        ("r/r_macula_oct_1.2.3.4.dcm", ""),  # the person's name is no eye
        ("l/1_model_oct_1.2.3.4.dcm", ""),  # nor is the folder
        ("1/1_models_oct_1.2.3.4.dcm", ""),
        ("x.dcm", ""),
        ("", ""),
    ],
)
def test_the_eye_in_a_name_is_one_word_wherever_it_stands(path: str, eye: str) -> None:
    assert file_name.eye_in_name(path, path.split("/")[0]) == eye


@pytest.mark.parametrize(
    ("path", "uid"),
    [
        ("a_1.2.3.dcm", "1.2.3"),
        ("a_1.2.3", "1.2.3"),
        ("a_1.2.npy", ""),
        ("a_0.5.nii.gz", ""),
        ("a.dcm", ""),
        ("", ""),
    ],
)
def test_only_the_name_of_a_dicom_file_ends_in_a_uid(path: str, uid: str) -> None:
    assert file_name.uid_in(path) == uid
