"""Names of devices, which are names of folders."""

import pytest

from octshard.errors import UsageError
from octshard.prep.release import device_name


@pytest.mark.parametrize("name", ["topcon_triton", "Optovue-2", "0", "a" * 64, "unknown"])
def test_a_safe_name_is_taken_as_it_is(name: str) -> None:
    assert device_name.check(name, "m line 2") == name


@pytest.mark.parametrize(
    "name",
    [
        "all",
        "ALL",
        "none",
        "NaN",
        "null",
        "..",
        ".x",
        "-x",
        "_x",
        "a/b",
        "a\\b",
        "a b",
        "é",
        "a" * 65,
        "a\n",
        "manifest.tsv",
        "C:",
    ],
)
def test_another_name_is_an_error_of_one_line(name: str) -> None:
    with pytest.raises(UsageError, match=r"^m line 2: device .* names a folder of DST; want ") as error:
        device_name.check(name, "m line 2")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Optovue RTVue XR", "optovue_rtvue_xr"),
        ("  ", ""),
        ("眼", ""),
        ("All", "all_device"),
        ("None", ""),
        (" N/A ", ""),
        ("Unknown", ""),
        ("x" * 99, "x" * 64),
    ],
)
def test_any_text_becomes_a_safe_name_or_none(text: str, name: str) -> None:
    assert device_name.of_text(text) == name
    assert not name or device_name.check(name, "m") == name
