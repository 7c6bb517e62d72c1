"""Values become levels by a rule that can be worked out by hand; whole numbers that fit stay as they are."""

import numpy as np
import pytest

from octshard.prep.readers.levels import level_map
from octshard.prep.refusals import Refused


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", ">f8"])
def test_floats_are_mapped_from_least_to_greatest_and_invalid_ones_are_black(dtype: str) -> None:
    values = np.array([[-1.0, 0.0, 3.0], [np.nan, np.inf, -np.inf]], dtype)
    mapped = level_map([values])
    np.testing.assert_array_equal(
        mapped.apply(values), [[0, 16384, 65535], [0, 0, 0]]
    )  # 65535 / 4 = 16383.75
    assert mapped.text == "values -1 to 3 became 0 to 65535; 3 invalid ones became 0"


def test_a_mark_for_no_value_is_invalid_from_a_limit_on() -> None:
    values = np.array([0.0, 0.5, 1.0, np.finfo(np.float32).max], np.float32)
    mapped = level_map([values], limit=1e38)
    np.testing.assert_array_equal(mapped.apply(values), [0, 32768, 65535, 0])
    assert mapped.invalid == 1


@pytest.mark.parametrize(
    ("dtype", "values", "levels", "text"),
    [
        ("<i2", [0, 7, 300], [0, 7, 300], ""),
        ("<i8", [0, 7, 65535], [0, 7, 65535], ""),
        ("<u4", [5, 5, 5], [5, 5, 5], ""),
        ("<i1", [0, 100, 127], [0, 100, 127], ""),
        ("<i1", [-128, 0, 127], [0, 128, 255], "values -128 to 127 became 0 to 255"),
        (">i2", [-32768, 0, 32767], [0, 32768, 65535], "values -32768 to 32767 became 0 to 65535"),
        ("<i4", [-5, 0, 300], [0, 5, 305], "values -5 to 300 became 0 to 305"),
        (
            ">i8",
            [-(2**62), 0, 2**62],
            [0, 32768, 65535],
            "values -4.61169e+18 to 4.61169e+18 became 0 to 65535",
        ),
        (
            "<u8",
            [2**64 - 3, 2**64 - 2, 2**64 - 1],
            [0, 1, 2],
            "values 1.84467e+19 to 1.84467e+19 became 0 to 2",
        ),
        ("<u4", [0, 131070, 65535], [0, 65535, 32768], "values 0 to 131070 became 0 to 65535"),
    ],
)
def test_whole_numbers_stay_or_are_shifted_or_mapped(
    dtype: str, values: list[int], levels: list[int], text: str
) -> None:
    array = np.array(values, dtype)
    mapped = level_map([array])
    np.testing.assert_array_equal(mapped.apply(array), levels)
    assert mapped.apply(array).dtype == (np.uint8 if array.itemsize == 1 else np.uint16)
    assert mapped.text == text


@pytest.mark.parametrize(
    "values", [[-1.7e308, 0.0, 1.7e308], [0.0, 5e-324], [-5e-324, 5e-324], [2.0, 2.0], [1e-300, 2e-300]]
)
def test_no_range_is_too_wide_or_too_narrow(values: list[float]) -> None:
    array = np.array(values)
    levels = level_map([array]).apply(array)
    assert levels[0] == 0
    assert (np.diff(levels.astype(int)) >= 0).all()


def test_the_map_is_that_of_all_frames_and_nothing_valid_is_nothing() -> None:
    frames = [np.array([1.0, np.nan]), np.array([np.nan, np.nan]), np.array([3.0, 2.0])]
    assert level_map(frames) == level_map([np.concatenate(frames)])
    for empty in ([np.full(3, np.nan)], [np.array([np.inf, 1e39])], [np.full(2, 3.4e38)]):
        with pytest.raises(Refused, match=r"^empty: none of its [23] values is a number$"):
            level_map(empty, limit=1e38)
