"""Lengths as exporters and people write them: one meaning is read; none, or two, are no silence."""

import pytest

from octshard.prep import lengths

PAIRS = [
    "0.02\\0.05", "0.02,0.05", "[0.02, 0.05]", "0.02 0.05", "0.02\\0.05\\", "0,02\\0,05", "0,02 0,05",
    "0,02,0,05", "0,02, 0,05", "0,02;0,05", "0.02\0\\0.05\0", "２e-2\\5E-02", "0.02 x 0.05 mm", "20 µm\\50µm",
    "['0.02', '0.05']", "[np.float64(0.02), np.float64(0.05)]", "(Decimal('0.02'), Decimal('0.05'))",
    "0.02\u00a00.05", "\ufeff0.02/0.05", "+.02 | 5e-2", "0.02\\0,05", "0.02\\0.05 ", "0.02\t0.05",
    "0.02 × 0.05",
]  # fmt: skip
AMBIGUOUS = [
    "0,02", "1,2", "0.02", "1,250 1,250", "0.02\\\\0.05", "\\0.02\\0.05", "0.02\\0.05\\0.1", "0.02\\wide",
    "1.234,5\\2", "0.02\0rest", "0.02:0.05", "0.02mm\\50um", "inf\\inf", "0.02..\\1",
    "axial 0.02 lateral 0.05", "0.02-0.05",
]  # fmt: skip


@pytest.mark.parametrize("text", PAIRS)
def test_a_pair_with_one_meaning_is_read(text: str) -> None:
    assert lengths.parse(text, 2) == pytest.approx((0.02, 0.05))
    assert lengths.read("PixelSpacing", text, 2).mm == pytest.approx((0.02, 0.05))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\\",
        "n/a",
        "nan\\nan",
        "[None, None]",
        "Not reported",
        "NaN",
        "Varies by frame",
        "[]",
        "\0\0",
    ],
)
def test_silence_is_no_problem(text: str) -> None:
    assert lengths.read("PixelSpacing", text, 2) == ((), "")


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_no_meaning_or_two_is_a_problem(text: str) -> None:
    reading = lengths.read("PixelSpacing", text, 2)
    assert reading.mm == ()
    assert reading.problem.startswith("PixelSpacing ")


@pytest.mark.parametrize(
    ("text", "mm"),
    [("0.05", 0.05), ("0,05", 0.05), ("1,5", 1.5), ("0,004", 0.004), ("50um", 0.05), ("5E-2 mm", 0.05)],
)
def test_one_length(text: str, mm: float) -> None:
    assert lengths.read("SliceThickness", text, 1).mm == pytest.approx((mm,))


@pytest.mark.parametrize("text", ["1,250", "0.05\\0.05", "1,2,3", "-0.05", "1e999", "1e-30", "thin"])
def test_what_is_not_one_length_is_a_problem(text: str) -> None:
    """1,250 may be 1.25 or 1250."""
    assert lengths.read("SliceThickness", text, 1).problem


def test_a_sign_may_tell_a_direction_and_zero_tells_nothing() -> None:
    assert lengths.read("SpacingBetweenSlices", "-0.05", 1, signed=True).mm == (0.05,)
    assert lengths.read("SpacingBetweenSlices", "\u22120,05", 1, signed=True).mm == (0.05,)
    assert lengths.read("SliceThickness", "0", 1) == ((), "")
    assert lengths.read("PixelSpacing", "0\\0.05", 2) == ((), "")


@pytest.mark.parametrize("letter", ["x", "1", " ", ",", "(", "_1("])
def test_a_text_of_any_length_is_a_problem_at_once(letter: str) -> None:
    text = letter * 400_000
    assert lengths.read("spacing", text, 2) == lengths.Reading((), f"spacing a text of {len(text)} letters")


def test_free_text_does_not_get_into_a_message() -> None:
    assert lengths.read("SliceThickness", "1,250", 1).problem == "SliceThickness '1,250'"
    assert lengths.read("SliceThickness", "DOE^JANE 0.05", 1).problem == "SliceThickness a text of 13 letters"
    assert lengths.read("SliceThickness", "1" * 50, 1).problem == "SliceThickness a text of 50 letters"
