"""Foreign names cannot steer a terminal."""

import pytest

from octshard.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1001_triton.dcm", "1001_triton.dcm"),
        ("µm\u00a0Ä", "µm\u00a0Ä"),
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("a\rb\nc", "a\\rb\\nc"),
        ("\x9b31m", "\\x9b31m"),
        ("evil\u202egnp.dcm", "evil\\u202egnp.dcm"),
        ("\udcff", "\\udcff"),
        ("a\u2028b", "a\\u2028b"),
    ],
)
def test_what_steers_is_escaped_and_letters_stay(text: str, shown: str) -> None:
    assert printable(text) == shown
    printable(text).encode()


def test_what_is_kept_stays() -> None:
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"
