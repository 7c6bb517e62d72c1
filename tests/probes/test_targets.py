"""Targets: classes, ordered classes and numbers, and one clear line for what is none of them."""

from collections.abc import Mapping

import pytest

from octshard import delimited
from octshard.errors import UsageError
from octshard.probes import targets
from octshard.probes.targets import Target, TargetRequest

TABLE = (
    "\ufeffparticipant_id\tclinical_site\tstudy_group\tage\n"
    "1001\tUW\thealthy\t61\n"
    "4001\tUCSD\tinsulin_dependent\t58\n"
    "7001\tUAB\tNot reported\t49\n"
    "7002\tUAB\t\t72\n"
    "7003\tUAB\t healthy \t66\n"
)


def parse(
    text: str, column: str, kind: str = "auto", order: tuple[str, ...] = (), join: str = "participant"
) -> Target:
    return targets.parse(
        delimited.parse(text, "participants t.tsv"), TargetRequest(column, kind, order, join)
    )


def column_of(values: Mapping[str, object]) -> str:
    return "person_id\tx\n" + "".join(f"{person}\t{value}\n" for person, value in values.items())


def test_classes_come_in_text_order_and_missing_values_are_kept_apart():
    target = parse(TABLE, "study_group")
    assert (target.kind, target.classes) == ("classes", ("healthy", "insulin_dependent"))
    assert target.value_of == {"1001": 0, "4001": 1, "7003": 0}
    assert target.missing == {"7001", "7002"}


@pytest.mark.parametrize("spelling", ["Not Reported", "Not Provided", "nan", "N/A", "NA", "  "])
def test_every_spelling_of_a_missing_value_is_missing(spelling):
    target = parse(f"person_id\tflag\n1\tTRUE\n2\tFALSE\n3\t{spelling}\n", "flag")
    assert target.classes == ("FALSE", "TRUE")
    assert target.missing == {"3"}


def test_windows_line_ends_do_not_reach_the_classes():
    assert parse(TABLE.replace("\n", "\r\n"), "clinical_site").classes == ("UAB", "UCSD", "UW")


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ({f"p{n}": n for n in range(20)}, 20),
        ({f"p{n}": n for n in range(21)}, 0),
        ({"a": 0.5, "b": 1, "c": 2}, 0),
        ({"a": "1.0", "b": "2"}, 2),
        ({"a": "x", "b": 1.5}, 2),
        ({"a": "1_0", "b": 1.5}, 2),
        ({"a": "inf", "b": "1.5", "c": "nan"}, 2),
    ],
)
def test_numbers_are_many_or_not_whole(values: Mapping[str, object], classes: int) -> None:
    target = parse(column_of(values), "x")
    assert len(target.classes) == classes
    assert target.kind == ("classes" if classes else "numbers")
    assert "c" not in target.value_of or values["c"] != "nan"


def test_a_kind_may_be_asked_for():
    few = column_of({"a": 3, "b": 1, "c": 3})
    assert parse(few, "x", "numbers").value_of == {"a": 3.0, "b": 1.0, "c": 3.0}
    many = column_of({f"p{n}": n % 25 for n in range(50)})
    with pytest.raises(UsageError, match="25 distinct values, it looks like a number; want target=numbers"):
        parse(many, "x", "classes")


def test_levels_stand_in_the_order_that_is_given():
    text = column_of({"a": "mild", "b": "none", "c": "severe", "d": ""})
    target = parse(text, "x", order=("none", "mild", "moderate", "severe"))
    assert (target.kind, target.classes) == ("ordinal", ("none", "mild", "moderate", "severe"))
    assert target.value_of == {"a": 1, "b": 0, "c": 3}


def test_levels_that_are_numbers_order_themselves():
    target = parse(column_of({"a": 10, "b": 9, "c": 2}), "x", "ordinal")
    assert (target.classes, target.value_of) == (("2", "9", "10"), {"a": 2, "b": 1, "c": 0})


@pytest.mark.parametrize(
    ("values", "kind", "order", "message"),
    [
        ({"a": "mild", "b": "none"}, "ordinal", (), r"has 'mild', 'none'; want order=\[LOWEST"),
        ({"a": "mild", "b": "none"}, "auto", ("none",), "has 'mild', which order does not name"),
        ({"a": "1", "b": "2"}, "ordinal", ("1", "2", "1"), "order: '1' is named twice"),
        ({"a": "1", "b": "1.0", "c": "2"}, "ordinal", (), "has '1' and '1.0', want one spelling"),
        ({"a": "1", "b": "2"}, "classes", ("1", "2"), "order: has no effect on target=classes"),
        ({"a": "1", "b": ">90"}, "numbers", (), "line 3: x is '>90', want a finite number"),
        ({"a": "1", "b": "inf"}, "numbers", (), "line 3: x is 'inf', want a finite number"),
        ({"a": "5", "b": "5.0"}, "numbers", (), "has one value, 5, want numbers that differ"),
        ({"a": "", "b": ""}, "numbers", (), "has no value, want numbers that differ"),
        ({f"p{n}": f"text {n}" for n in range(21)}, "auto", (), "looks like free text"),
        ({"a": "y", "b": "y"}, "auto", (), "one value, 'y', want at least 2 classes"),
        ({"a": "", "b": "not reported"}, "auto", (), "no value, want at least 2 classes"),
    ],
)
def test_what_is_no_target_gives_one_line(values, kind, order, message):
    with pytest.raises(UsageError, match=message) as error:
        parse(column_of(values), "x", kind, order)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("join", ["participant", "eye"])
def test_a_row_may_come_twice_but_not_with_another_value(join):
    rows = "id,eye,x\n1,L,a\n2,L,b\n"
    for again in ("1,L,a\n", "1,L,\n", "1,OS,a\n"):
        assert parse(rows + again, "x", join=join).value_of == parse(rows, "x", join=join).value_of
    name = {"participant": "participant 1", "eye": "eye 1/L"}[join]
    with pytest.raises(UsageError, match=rf"{name} has x 'a' and 'b' \(lines 2 and 4\), want one value"):
        parse(rows + "1,left,b\n", "x", join=join)


def test_numbers_that_are_one_do_not_contradict():
    assert parse("id,x\n1,5\n2,7.5\n1,5.0\n", "x").value_of == {"1": 5.0, "2": 7.5}
    with pytest.raises(UsageError, match=r"participant 1 has x '5' and '6' \(lines 2 and 4\)"):
        parse("id,x\n1,5\n2,7.5\n1,6\n", "x")


def test_lines_without_a_participant_count_for_nobody():
    target = parse("participant_id\tx\n1\ta\n\tc\nn/a\td\n2\tb\n", "x")
    assert (target.classes, target.value_of, target.missing) == (("a", "b"), {"1": 0, "2": 1}, frozenset())


def test_an_unknown_column_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean study_group"):
        parse(TABLE, "studygroup")


@pytest.mark.parametrize("column", ["participant_id", "PERSON_ID"])
def test_a_column_that_names_people_is_no_label(column):
    with pytest.raises(
        UsageError, match=rf"{column} names what the rows.* there are: clinical_site"
    ) as raised:
        parse(TABLE, column)
    assert "did you mean" not in str(raised.value)


def test_a_short_line_is_an_error_that_names_it():
    with pytest.raises(UsageError, match=r"participants t\.tsv line 4: 1 cells, want 2"):
        parse("participant_id\tx\n1\ta\n2\tb\n3\n", "x")


@pytest.mark.parametrize("cell", ['"a', '"a\nb"'])
def test_a_quote_never_moves_labels_to_other_people(cell):
    with pytest.raises(UsageError, match=r"participants t\.tsv line 3: a quote opens cell 2"):
        parse(f"participant_id\tx\n1\ta\n2\t{cell}\n3\tb\n", "x")
