"""Labels: every spelling of the table that releases use, and one clear line for what cannot be a class."""

import pytest

from octshard.dataset.tables import SampleRow
from octshard.errors import OctshardError, UsageError
from octshard.probes import labels

TABLE = (
    "\ufeffparticipant_id\tclinical_site\tstudy_group\tage\n"
    "1001\tUW\thealthy\t61\n"
    "4001\tUCSD\tinsulin_dependent\t58\n"
    "7001\tUAB\tNot reported\t49\n"
    "7002\tUAB\t\t72\n"
    "7003\tUAB\t healthy \t66\n"
)


def test_classes_come_in_text_order_and_missing_values_are_kept_apart():
    parsed = labels.parse(TABLE, "study_group", "t.tsv")
    assert parsed.classes == ("healthy", "insulin_dependent")
    assert parsed.class_of == {"1001": 0, "4001": 1, "7003": 0}
    assert parsed.missing == {"7001", "7002"}


@pytest.mark.parametrize("spelling", ["Not Reported", "Not Provided", "nan", "N/A", "NA", "  "])
def test_every_spelling_of_a_missing_value_is_missing(spelling):
    parsed = labels.parse(f"person_id\tflag\n1\tTRUE\n2\tFALSE\n3\t{spelling}\n", "flag", "t.tsv")
    assert parsed.classes == ("FALSE", "TRUE")
    assert parsed.missing == {"3"}


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "participants.tsv"
    path.write_bytes(TABLE.encode())
    assert labels.read(str(path), "clinical_site").classes == ("UAB", "UCSD", "UW")


def test_windows_line_ends_do_not_reach_the_classes():
    parsed = labels.parse(TABLE.replace("\n", "\r\n"), "clinical_site", "t.tsv")
    assert parsed.classes == ("UAB", "UCSD", "UW")


def test_an_unknown_column_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean study_group"):
        labels.parse(TABLE, "studygroup", "t.tsv")


def test_numbers_are_not_classes():
    text = "participant_id\tage\n" + "".join(f"{i}\t{30 + i}\n" for i in range(30))
    with pytest.raises(UsageError, match="30 distinct values, it looks like a number"):
        labels.parse(text, "age", "t.tsv")


def test_one_class_is_not_enough():
    with pytest.raises(OctshardError, match="one value, 'a', want at least 2 classes"):
        labels.parse("participant_id\tx\n1\ta\n2\ta\n", "x", "t.tsv")


def test_a_participant_with_two_classes_is_an_error():
    with pytest.raises(OctshardError, match="participant 1 has x 'a' and 'b'"):
        labels.parse("participant_id\tx\n1\ta\n1\tb\n", "x", "t.tsv")


def test_lines_without_a_participant_count_for_nobody():
    parsed = labels.parse("participant_id\tx\n1\ta\n\tc\nn/a\td\n2\tb\n", "x", "t.tsv")
    assert (parsed.classes, parsed.class_of, parsed.missing) == (("a", "b"), {"1": 0, "2": 1}, frozenset())


def test_a_short_line_is_an_error_that_names_it():
    with pytest.raises(UsageError, match=r"participants t\.tsv line 4: 1 cells, want 2"):
        labels.parse("participant_id\tx\n1\ta\n2\tb\n3\n", "x", "t.tsv")


@pytest.mark.parametrize("cell", ['"a', '"a\nb"'])
def test_a_quote_never_moves_labels_to_other_people(cell):
    with pytest.raises(UsageError, match=r"participants t\.tsv line 3: a quote opens cell 2"):
        labels.parse(f"participant_id\tx\n1\ta\n2\t{cell}\n3\tb\n", "x", "t.tsv")


def test_ids_are_compared_as_numbers_however_they_are_written():
    table = "participant_id\tstate\n" + "".join(
        f"0{name}.0\t{'ab'[c]}\n" for name, c in KNOWN.class_of.items()
    )
    parsed = labels.parse(table, "state", "t.tsv")
    scans = labels.join(parsed, stored({f"{name}.0": split for name, split in SPLIT_OF.items()}))
    expected = labels.join(KNOWN, stored(SPLIT_OF))
    for split, subset in expected.subsets.items():
        assert scans.subsets[split].participants == subset.participants
        assert (scans.subsets[split].y_N == subset.y_N).all()


def test_one_id_in_two_spellings_is_an_error_that_names_both():
    with pytest.raises(UsageError, match=r"lines 2 and 4 call participant 1001 '1001' and '01001'"):
        labels.parse("participant_id\tx\n1001\ta\n2\tb\n01001\ta\n", "x", "t.tsv")


@pytest.mark.parametrize("column", ["participant_id", "PERSON_ID"])
def test_a_column_that_names_people_is_no_label(column):
    with pytest.raises(
        UsageError, match=rf"{column} names the people, .* there are: clinical_site, study"
    ) as raised:
        labels.parse(TABLE, column, "t.tsv")
    assert "did you mean" not in str(raised.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "no such file"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"", "columns none"),
        (b"name\tx\n", "want one of"),
    ],
)
def test_a_table_that_is_none_gives_one_line(tmp_path, data, message):
    path = tmp_path / "participants.tsv"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UsageError, match=message):
        labels.read(str(path), "x")
    with pytest.raises(UsageError, match="participants=PATH"):
        labels.read("", "x")


def stored(people: dict[str, str], scans: int = 1) -> list[SampleRow]:
    """Rows of `scans` scans for each participant -> split."""
    return [
        SampleRow(f"{name}-{i}", name, "topcon_triton", "", "", "", "", "L", split, "")
        for name, split in people.items()
        for i in range(scans)
    ]


KNOWN = labels.Labels(
    "state",
    ("a", "b", "unused"),
    {"1": 0, "2": 0, "3": 1, "4": 1, "5": 0, "6": 1, "7": 1, "8": 0},
    frozenset({"9"}),
)
SPLIT_OF = {
    **dict.fromkeys("1234", "train"),
    **dict.fromkeys("56", "val"),
    **dict.fromkeys("78", "test"),
    "9": "test",
    "10": "train",
}


def test_scans_are_joined_with_their_classes_and_the_others_counted():
    rows = stored(SPLIT_OF, scans=2)
    scans = labels.join(KNOWN, rows)
    assert scans.classes == ("a", "b")
    assert scans.dropped == {"no value in the column": 2, "participant not in the table": 2}
    for split, subset in scans.subsets.items():
        for n, y, name in zip(subset.places_N, subset.y_N, subset.participants, strict=True):
            assert (rows[n].participant, rows[n].split) == (name, split)
            assert y == KNOWN.class_of[name]
    train = scans.counts[0]
    assert (train.scans, train.participants, train.of_class) == (8, 4, {"a": 2, "b": 2})


@pytest.mark.parametrize(
    ("moved", "message"),
    [
        ({"3": "val"}, "class 'b' has 1 in train, want at least 2"),
        ({"3": "val", "4": "val"}, "train holds 1 classes, want at least 2 to fit"),
        ({"5": "train"}, "val holds 1 classes, want at least 2 to choose the regularisation"),
        ({"7": "train", "8": "train"}, "test holds 0 classes, want at least 2 to score"),
    ],
)
def test_too_few_people_give_one_line_with_the_counts(moved, message):
    with pytest.raises(OctshardError, match=message) as caught:
        labels.join(KNOWN, stored({**SPLIT_OF, **moved}))
    assert "labelled participants: train" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_scan_at_all_gives_one_line():
    with pytest.raises(OctshardError, match="train holds 0 classes"):
        labels.join(KNOWN, [])


def test_a_participant_in_two_splits_is_an_error():
    with pytest.raises(OctshardError, match="the first is 1, in test and train"):
        labels.join(KNOWN, stored(SPLIT_OF) + stored({"1": "test"}))


@pytest.mark.realdata
def test_the_few_real_participants_give_one_line(realdata):
    """Two of the five stored Triton volumes are in train: no probe can be fitted on them."""
    participant_labels = labels.read(str(realdata / "participants.tsv"), "study_group")
    people = {"1001": "train", "4001": "train", "7001": "val", "7002": "test", "7004": "val"}
    with pytest.raises(OctshardError, match=r"labelled participants: train 2, val 2, test 1") as caught:
        labels.join(participant_labels, stored(people))
    assert "\n" not in str(caught.value)
    with pytest.raises(OctshardError, match=r"want at least|want a categorical"):
        labels.join(labels.read(str(realdata / "participants.tsv"), "age"), stored(people))
