"""One spelling of an expression: by what Python parses, whatever the blanks and quotes."""

import ast

import pytest

from octshard.config import expression, fields
from octshard.config.prep import PrepConfig
from octshard.config.train import DataConfig, TrainConfig

PLAIN = "device == 'a' and frames in (1, 2)"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        'device=="a" and frames in(1,2)',
        "  ( device   ==  'a' )and(frames in [1,\t2])  ",
        "device == 'a' and (\nframes in (1, 2)\n)",
        "device == '\\x61' and frames in (0x1, 2)",
        "device == 'a' and frames in (1, 2)  # as in the paper",
    ],
)
def test_spellings_of_one_expression_are_one(text: str) -> None:
    assert ast.dump(ast.parse(expression.canonical(text))) == ast.dump(ast.parse(PLAIN))
    assert expression.canonical(text) == expression.canonical(PLAIN)
    where = [PrepConfig(where=text), PrepConfig(where=PLAIN)]
    assert fields.digest(where[0]) == fields.digest(where[1])
    data = [TrainConfig(data=DataConfig(filter=text)), TrainConfig(data=DataConfig(filter=PLAIN))]
    old, new = map(fields.result_values, data)
    assert old["data.filter"] == text  # for display it stays what it was
    assert fields.changes(old, new) == {}


@pytest.mark.parametrize(
    "text",
    [
        "device == 'b' and frames in (1, 2)",
        "device == 'a ' and frames in (1, 2)",
        "device == 'a' or frames in (1, 2)",
        "frames in (1, 2) and device == 'a'",
        "device == 'A' and frames in (1, 2)",
        "device == 'a' and not frames not in (1, 2)",  # empty cells make both comparisons false
        "",
    ],
)
def test_others_are_others(text: str) -> None:
    old, new = (fields.result_values(PrepConfig(where=each)) for each in (text, PLAIN))
    assert list(fields.changes(old, new)) == ["where"]
    assert fields.digest(PrepConfig(where=text)) != fields.digest(PrepConfig(where=PLAIN))


@pytest.mark.parametrize("text", ["device ==", "(" * 900, "not " * 240, "x" * 1001, "\0", "\ud800"])
def test_what_is_no_expression_is_compared_as_it_is(text: str) -> None:
    assert expression.canonical(text) == text.strip()


def test_other_texts_keep_their_blanks() -> None:
    assert fields.changes({"run.name": "a  b"}, {"run.name": "a b"}) == {"run.name": ("a  b", "a b")}
