"""Fields within the bounds of a file, or of a part of it."""

import struct

import pytest

from octshard.prep.readers import byte_fields
from octshard.prep.refusals import Refused

TWO = struct.Struct("<2H")


def test_what_lies_behind_the_end_of_a_file_was_cut_off_and_behind_that_of_a_part_makes_no_sense() -> None:
    data = struct.pack("<3H", 1, 2, 3)
    assert byte_fields.unpack(data, TWO, 2, "x") == byte_fields.unpack_part(data, TWO, 2, "x") == (2, 3)
    with pytest.raises(Refused, match=r"^truncated: x: bytes 3 to 7, the file ends at 6$"):
        byte_fields.unpack(data, TWO, 3, "x")
    with pytest.raises(Refused, match=r"^unreadable: x: 6 bytes, want 7 at least$"):
        byte_fields.unpack_part(data, TWO, 3, "x")


@pytest.mark.parametrize(
    ("field", "text"),
    [(b"OD\0\0", "OD"), (b"OS", "OS"), (b"", ""), (b" a b \0c", "a b"), (b"a\x1b[2J\n\xff\0", "a[2J")],
)
def test_text_ends_at_a_zero_and_holds_what_prints(field: bytes, text: str) -> None:
    assert byte_fields.text(field) == text
