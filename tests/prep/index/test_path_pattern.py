"""What paths tell by a pattern."""

import pytest

from octshard.errors import UsageError
from octshard.prep.index import path_pattern


@pytest.mark.parametrize(
    ("text", "path", "fields"),
    [
        (
            "{person}/{date}/{eye}_{protocol}.dcm",
            "P 1/20200102/OD_a_b.dcm",
            {"person": "P 1", "date": "20200102", "eye": "OD", "protocol": "a_b"},
        ),
        ("{person}/{person}_{eye}.npy", "7/7_L.npy", {"person": "7", "eye": "L"}),
        ("{person}/{person}_{eye}.npy", "7/8_L.npy", None),
        ("**/{person}-*.dcm", "a/b/P1-x.y.dcm", {"person": "P1"}),
        ("**/{person}-*.dcm", "P1-.dcm", {"person": "P1"}),
        ("/{person}/*", "P1/x", {"person": "P1"}),
        ("{person}/*", "P1/x/y", None),
        ("{person}.dcm", "P1.DCM", {"person": "P1"}),
        ("a.{person}", "abP1", None),
        ("{person}/{region} x", "P1/ macula  x", {"person": "P1", "region": "macula"}),
    ],
)  # fmt: skip
def test_fields_are_parts_of_one_name(text: str, path: str, fields: dict[str, str] | None) -> None:
    assert path_pattern.parse(text).match(path) == fields


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{patient}/x", r"the field \{patient\}, want \{person\}, \{date\}"),
        ("{}/x", r"the field \{\}"),
        ("{person", r"a lone \{"),
        ("person}", r"a lone \}"),
        ("{person}{eye}", "two fields with nothing between them"),
        ("{person}*", "two fields with nothing between them"),
    ],
)
def test_a_pattern_that_cannot_be_meant_is_an_error_of_one_line(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        path_pattern.parse(text)
