"""--spacing: three lengths in mm; µm and other numbers are said to be none."""

import pytest

from octshard.errors import UsageError
from octshard.prep.index import spacing_option


def test_three_lengths() -> None:
    assert spacing_option.parse("0.047, 0.0026,0.0117") == (0.047, 0.0026, 0.0117)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("47,2.6,11.7", "too large for mm, .*; if these are µm, --spacing 0.047,0.0026,0.0117$"),
        ("9000,900,900", "too large for mm, .*as in 0.047,0.0026,0.0117$"),
        ("0.05,0.0026", "want three numbers, the mm from B-scan to B-scan"),
        ("0,05 0,0026 0,0117", "want three numbers"),
        ("0.05,0,0.01", "want three lengths above 0"),
        ("0.05,nan,0.01", "want three lengths above 0"),
    ],
)
def test_what_is_no_spacing_is_an_error_with_the_one_that_may_be_meant(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        spacing_option.parse(text)
