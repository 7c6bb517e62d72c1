"""Labels under pseudonyms: those of an index with the same salt, and nothing else names people."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from octshard.cli.main import cli
from octshard.errors import UsageError
from octshard.prep.index import pseudonym, pseudonym_table
from tests.support import b_scan_sets

SALT = bytes(range(32))
CSV = """PatientID;Subject;Name;Eye;Note
1001;A;Meyer;OD;"two
lines"
01002;B;Li;OS;
;;Unal;OS;
1001;A;Meyer;OS;a \t tab
"""


def written(tmp_path: Path, text: str | bytes = CSV, **more: object) -> tuple[str, str]:
    """The table, and what is said of it."""
    table = tmp_path / "labels.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    result = pseudonym_table.write(str(table), str(tmp_path / "out.tsv"), SALT, **more)  # type: ignore[arg-type]
    return (tmp_path / "out.tsv").read_text(), result.text


def test_people_are_called_as_in_an_index_and_no_column_names_them(tmp_path: Path) -> None:
    text, said = written(tmp_path, drop=["NAME"])
    one, two = (pseudonym.of(name, SALT) for name in ("1001", "1002"))
    assert text == (f"person_id\teye\tnote\n{one}\tOD\ttwo lines\n{two}\tOS\t\n{one}\tOS\ta tab\n")
    assert said.splitlines() == [
        "3 rows of 2 people",
        "  rows that name nobody, left out: 1",
        "  columns as they were: eye, note",
    ]


def test_a_column_of_another_name_and_a_workbook(tmp_path: Path) -> None:
    book = b_scan_sets.workbook([["Case", "ID", "AMD"], ["7", "x", "1"]])
    text, _ = written(tmp_path, book, column="CASE")
    assert text == f"person_id\tamd\n{pseudonym.of('7', SALT)}\t1\n"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"column": "case"}, "columns patientid, subject, name, eye, note, want case; --column names one"),
        ({"drop": ["age"]}, "columns patientid, subject, name, eye, note, want age; --drop names one"),
    ],
)
def test_a_column_that_is_not_there_is_one_line(tmp_path: Path, more: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        written(tmp_path, **more)


def test_another_file_is_not_replaced_and_the_same_table_may_be_written_again(
    tmp_path: Path,
) -> None:
    assert written(tmp_path) == written(tmp_path)
    (tmp_path / "out.tsv").write_text("mine")
    with pytest.raises(UsageError, match=r"out.tsv: another file is there"):
        written(tmp_path)
    assert (tmp_path / "out.tsv").read_text() == "mine"


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "salt").write_bytes(SALT)
    (tmp_path / "labels.csv").write_text("person_id,amd\n7,1\n")
    words = ["prep", "pseudonymise", str(tmp_path / "labels.csv"), "--salt", str(tmp_path / "salt")]
    result = CliRunner().invoke(cli, [*words, "--out", str(tmp_path / "out.tsv")])
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"{tmp_path / 'out.tsv'}: 1 rows of 1 people")
