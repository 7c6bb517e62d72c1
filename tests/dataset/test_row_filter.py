"""Expressions over columns: against filters written by hand, against pyarrow, and against hostile text."""

import dataclasses
import itertools
import math
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from octshard.dataset import row_filter, tables
from octshard.dataset.tables import SampleRow
from octshard.errors import UsageError

ROW = SampleRow(
    key="", participant="1001", device="", manufacturer="", model="", protocol="", region="", eye="",
    split="train", source="",
)  # fmt: skip
ISSUE = "device == 'topcon_triton' and not 'saturated' in flags and spacing_in[0] < 0.1"


def rows() -> list[SampleRow]:
    """Every combination of a few values, and of cells that hold nothing."""
    columns = {
        "device": ("topcon_triton", "zeiss_cirrus", ""),
        "flags": ((), ("saturated",), ("frames_sorted", "saturated"), ("saturated_no",)),
        "spacing_in": ((0.05, 0.1, 0.2), (0.1, 0.1, 0.1), (0.2, 0.1, 0.1), None),
        "frames": (128, 31, None),
        "acquired": ("2024-02-01", "2023-11-30", "400", "-3", ""),
    }
    return [
        dataclasses.replace(ROW, key=f"k{number}", **dict(zip(columns, values, strict=True)))
        for number, values in enumerate(itertools.product(*columns.values()))
    ]


def first(row: SampleRow) -> float:
    return math.nan if row.spacing_in is None else row.spacing_in[0]


def frames(row: SampleRow) -> float:
    return math.nan if row.frames is None else row.frames


@pytest.mark.parametrize(
    ("text", "by_hand"),
    [
        (
            ISSUE,
            lambda r: r.device == "topcon_triton" and "saturated" not in r.flags and first(r) < 0.1,
        ),
        ("0.05 < spacing_in[0] <= 0.1", lambda r: 0.05 < first(r) <= 0.1),
        ("spacing_in[0] > spacing_in[1]", lambda r: r.spacing_in is not None and first(r) > 0.1),
        ("frames != 31", lambda r: r.frames == 128),
        ("not frames == 31", lambda r: r.frames != 31),
        ("frames in (31, 64)", lambda r: r.frames == 31),
        ("frames not in [31, 64]", lambda r: r.frames == 128),
        ("frames > -1", lambda r: r.frames is not None),
        ("frames is None", lambda r: r.frames is None),
        ("device is not None", lambda r: r.device != ""),
        ("spacing_in != None", lambda r: r.spacing_in is not None),
        ("flags is None", lambda r: r.flags == ()),
        ("'saturated' not in flags", lambda r: "saturated" not in r.flags),
        ("'cirrus' in device", lambda r: "cirrus" in r.device),
        ("'cirrus' not in device", lambda r: r.device == "topcon_triton"),
        ("device > 'u'", lambda r: r.device == "zeiss_cirrus"),
        ("device in ('zeiss_cirrus', 'x') or frames == 31", lambda r: r.device[:1] == "z" or r.frames == 31),
        ("acquired >= '2024-01-01'", lambda r: r.acquired == "2024-02-01"),
        ("acquired < 365", lambda r: r.acquired == "-3"),
        ("300 < acquired", lambda r: r.acquired == "400"),
        ("'2023' in acquired", lambda r: r.acquired == "2023-11-30"),
        ("acquired in ('2023-11-30', '2020-01-01')", lambda r: r.acquired == "2023-11-30"),
        ("not (device == 'zeiss_cirrus' or (frames == 128 and acquired is None))",
         lambda r: not (r.device == "zeiss_cirrus" or (r.frames == 128 and r.acquired == ""))),
        ("  ", lambda r: True),
    ],
)  # fmt: skip
def test_a_filter_takes_the_rows_that_one_written_by_hand_takes(
    text: str, by_hand: Callable[[SampleRow], bool]
) -> None:
    fits = row_filter.parse(text, "data.filter")
    expected = [row.key for row in rows() if by_hand(row)]
    assert [row.key for row in rows() if fits(row)] == expected
    assert expected


def test_a_cell_of_acquired_that_is_neither_date_nor_days_is_empty() -> None:
    row = dataclasses.replace(ROW, acquired="last-week")
    assert not row_filter.parse("acquired < 400", "x")(row)
    assert not row_filter.parse("acquired != '2024-01-01'", "x")(row)


def test_nan_is_an_empty_cell() -> None:
    row = dataclasses.replace(ROW, mean=math.nan)
    assert not row_filter.parse("mean != 3", "x")(row)
    assert row_filter.parse("mean is None", "x")(row)


def test_the_query_of_the_docs_takes_the_same_rows_from_the_table_on_disk(tmp_path: Path) -> None:
    tables.write_rows(str(tmp_path / tables.SAMPLES), rows())
    page = (Path(__file__).parents[2] / "docs" / "prep.md").read_text()
    (query,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "pyarrow" in block)
    scope: dict[str, Any] = {}
    exec(query.replace("shards/topcon_triton", str(tmp_path)), scope)
    fits = row_filter.parse(ISSUE, "x")
    assert scope["table"]["key"].to_pylist() == [row.key for row in rows() if fits(row)] != []


def test_the_sql_of_the_docs_takes_the_same_rows_from_the_table_on_disk(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    tables.write_rows(str(tmp_path / tables.SAMPLES), rows())
    page = (Path(__file__).parents[2] / "docs" / "prep.md").read_text()
    (query,) = re.findall(r"```sql\n(.*?)```", page, re.S)
    found = duckdb.sql(query.replace("shards/*", str(tmp_path)).rstrip("; \n"))
    fits = row_filter.parse(ISSUE, "x")
    keys = found.columns.index("key")
    assert [cells[keys] for cells in found.fetchall()] == [row.key for row in rows() if fits(row)] != []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("devise == 'x'", r"no column devise; did you mean device\?"),
        ("device == topcon_triton", r"no column topcon_triton; want one of key, .*text stands in quotes"),
        ("device", "device alone is no condition, want device == 'TEXT'"),
        ("device < 1", "device is text, and 1 a number; want device == 'TEXT'"),
        ("frames == 'x'", "frames is a number, and 'x' text; want frames < 1"),
        ("spacing_in < 1", r"spacing_in is three numbers, want spacing_in\[0\]"),
        ("spacing_in[3] < 1", r"spacing_in\[3\]: spacing_in is three numbers"),
        ("spacing_in[-1] < 1", r"spacing_in\[-1\]: spacing_in is three numbers"),
        ("spacing_in[True] < 1", r"spacing_in\[True\]"),
        ("spacing_in[0.0] < 1", r"spacing_in\[0.0\]"),
        ("spacing_in[0j] < 1", r"spacing_in\[0j\]"),
        ("spacing_in[frames] < 1", r"spacing_in\[frames\]"),
        ("spacing_in[0:2] == 1", r"spacing_in\[0:2\]"),
        ("flags[0] == 'x'", r"flags is a list of words, which has no index; want 'WORD' in flags"),
        ("flags == 'x'", "flags is a list of words, want 'WORD' in flags"),
        ("1 in flags", "flags is a list of words, want 'TEXT' in it"),
        ("'x' in frames", "frames is a number; want a column of text or words"),
        ("device in ('x')", r"'x' is text; want .* constants as in \('A', 'B'\)"),
        ("device in ()", "at least one text"),
        ("device in ('x', 1)", "at least one text"),
        ("device in ('x', eye)", "eye is of a kind"),
        ("device == ('x',)", r"\('x',\) is a collection, want COLUMN in"),
        ("device is 'x'", "is compares with None alone, want device == 'x'"),
        ("device < None", "want COLUMN is None"),
        ("1 < 2", "no column in it"),
        ("device = 'x'", "not an expression"),
        ("device == ''", "want COLUMN is None"),
        ("acquired < 'yesterday'", "want a date 'YYYY-MM-DD', or a number of days"),
        ("acquired == device", "want a date"),
        ("device == 'x' & frames == 1", "arithmetic"),
        ("frames == 1e999", "want a finite number"),
        ("frames == True", "True is neither text nor a number"),
        ("frames == 1j", "neither"),
        ("frames == -frames", "of a kind"),
    ],
)
def test_a_mistake_is_named_with_what_is_wanted(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        row_filter.parse(text, "data.filter")


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "().__class__ == 1",
        "device.upper() == 'X'",
        "(lambda: 1)() == 1",
        "[x for x in flags] == 1",
        "any(x for x in flags)",
        "f'{device}' == 'x'",
        "(frames := 3) == 3",
        "frames == 9**9**9**9",
        "frames == 'x' * 10**9",
        "frames == 1 if eye == 'L' else 2",
        "{'a': 1} == frames",
        "eye in {'L'}",
        "frames == ~1",
        "frames == --1",
        "*frames",
        "await frames",
        "frames == ...",
        "device == b'x'",
        "not " * 200 + "eye == 'L'",
        "(" * 300 + "eye == 'L'" + ")" * 300,
        "-" * 900 + "1 == frames",
        "frames" + "[0]" * 300 + " == 1",
        "frames" + ".x" * 400,
        "eye == 'L' or " * 100_000,
        "frames == " + "9" * 5000,
        "eye == 'L'\nimport os",
        "eye == 'L'; eye == 'L'",
        "eye\x00 == 'L'",
        "\ud800 == 'L'",
        "eye == '\\N{nothing of that name}'",
    ],
)
def test_hostile_text_is_one_line_of_error(text: str) -> None:
    with pytest.raises(UsageError) as error:
        row_filter.parse(text, "data.filter")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("data.filter=")
    assert len(str(error.value)) < 1500


def test_columns_that_are_not_known_yet_are_named_as_such() -> None:
    with pytest.raises(
        UsageError, match="flags is known only once a file is converted; before that there are device, eye"
    ):
        row_filter.parse("'x' in flags", "where", ("device", "eye"))
    with pytest.raises(UsageError, match=r"no column devise; did you mean device\?"):
        row_filter.parse("devise == 'x'", "where", ("device", "eye"))


def test_every_column_of_the_table_has_a_kind() -> None:
    assert set(row_filter.KIND_OF) == {item.name for item in dataclasses.fields(SampleRow)}


TEMPLATES = [
    "{} is None", "{} != None", "{} == 1", "{} == 'a'", "{} in ('a', 'b')", "{} in (1, 2)", "'a' in {}",
    "1 in {}", "{0} in {0}", "{0} == {0}", "{0} < {0}", "{}[0] > 1", "{}[0.0] > 1", "{}[2.0] < 1",
    "{}[3] == 1", "{}[-1] == 1", "{}['a'] == 1", "{}[None] == 1", "{}[0][0] == 1", "{}.__class__ == 1",
    "{}() == 1", "not {}", "-{} == 1", "{} is 1", "{} < 1 < 'a'", "{} < 99999999999999999999999999999999",
    "{} < 1e308", "{} in ()", "{} in (None,)", "{} in ['a']", "{} not in ('a',)", "{} == ('a',)",
    "{} < '2024-01-01'", "{} < '2024-13-01'", "frames < {}", "{} in ('2024-01-01', '2024-02-29')",
    "device in {}", "{} in device", "acquired < {}", "{} in acquired",
]  # fmt: skip
WORDS = [
    "frames", "device", "flags", "spacing_in", "acquired", "==", "<", "in", "not", "and", "or", "(", ")",
    "[", "]", "'a'", "1", "None", ",", ".", "lambda", ":", "is", "-", "*", "if", "else", "\n", "\\", "é",
    "0.5", "\f", "1e9",
]  # fmt: skip


def hostile() -> Iterator[str]:
    """Every column in every place, words in any order, and any letters."""
    for column in row_filter.KIND_OF:
        yield from (template.format(column) for template in TEMPLATES)
    rng = random.Random(0)
    for _ in range(1500):
        yield " ".join(rng.choices(WORDS, k=rng.randint(1, 12)))
    for _ in range(500):
        yield "".join(chr(rng.randint(1, 0x2FFF)) for _ in range(rng.randint(1, 60)))


def test_whatever_is_asked_is_a_filter_or_one_line() -> None:
    """And a filter says yes or no of every row, whatever is in it."""
    told = dataclasses.replace(ROW, acquired="2024-01-01", mean=math.inf, frames=3)
    days = dataclasses.replace(ROW, acquired="17", mean=math.nan, spacing_in=None, flags=())
    filters, lines = 0, list[str]()
    for text in hostile():
        try:
            fits = row_filter.parse(text, "filter")
        except UsageError as error:
            lines.append(str(error))
        else:
            filters += 1
            assert {type(fits(row)) for row in (ROW, told, days)} == {bool}, text
    assert all(line.isprintable() and len(line) < 1500 for line in lines)
    assert filters > 300
