"""What a row of labels is about: a person, an eye or a scan; and which stored scans that is.

A person is called by the canonical id, an eye by that and L or R, a scan by a column of samples.parquet.
"""

from dataclasses import dataclass

from octshard import tsv
from octshard.dataset.eyes import EYES
from octshard.dataset.participants import PERSON_COLUMNS, canonical, row_participants
from octshard.dataset.tables import SampleRow
from octshard.errors import UsageError

PARTICIPANT, EYE, SCAN = "participant", "eye", "scan"  # levels
EYE_COLUMNS = ("eye", "laterality")
SCAN_COLUMNS = ("key", "source", "sop_instance_uid", "sha256")  # of samples.parquet


@dataclass(frozen=True)
class Join:
    """level: participant, eye or scan; column: of samples.parquet, what names a scan."""

    level: str = PARTICIPANT
    column: str = ""

    def name(self, row: SampleRow) -> str:
        """What this stored scan is called; empty where nothing says it (an eye that is not known)."""
        if self.level == SCAN:
            return str(getattr(row, self.column))
        person, eye = canonical(row.participant), EYES.get(row.eye.lower(), "")
        if self.level == PARTICIPANT:
            return person
        return f"{person}/{eye}" if eye else ""


def rows_word(join: str) -> str:
    """What labels are of, by the setting: participants, eyes or scans."""
    return "scans" if join.lower() in SCAN_COLUMNS else "eyes" if join.lower() == EYE else "participants"


def names(table: tsv.Table, join: str) -> tuple[Join, list[str]]:
    """(how scans are joined, what each row of the table is about). join: as in the config.

    A row that names nothing is about "". UsageError for a table without the columns of `join`.
    """
    column = join.lower()
    if column in SCAN_COLUMNS:
        _check_columns(table, join, (column,))
        return Join(SCAN, column), table.column((column,))
    if column in SampleRow.__dataclass_fields__ and column not in (PARTICIPANT, EYE):
        raise UsageError(
            f"join={join}: many scans share one; want participant, eye, {', '.join(SCAN_COLUMNS)}, or a "
            "column of participants' ids"
        )
    own = column not in (PARTICIPANT, EYE)
    people_columns = (column,) if own else PERSON_COLUMNS
    _check_columns(table, join, people_columns)
    people = row_participants(table, people_columns)
    if column != EYE:
        return Join(PARTICIPANT), people
    _check_columns(table, join, EYE_COLUMNS)
    return Join(EYE), [
        f"{person}/{eye}" if person and eye else "" for person, eye in zip(people, _eyes(table), strict=True)
    ]


def _eyes(table: tsv.Table) -> list[str]:
    eyes = []
    for (line, _), text in zip(table.rows, table.column(EYE_COLUMNS), strict=True):
        if text and text.lower() not in EYES:
            raise UsageError(f"{table.source} line {line}: eye {text!r}, want one of {', '.join(EYES)}")
        eyes.append(EYES.get(text.lower(), ""))
    return eyes


def _check_columns(table: tsv.Table, join: str, columns: tuple[str, ...]) -> None:
    if not set(table.columns).intersection(columns):
        own = "; or join=COLUMN, the one that names people" if columns == PERSON_COLUMNS else ""
        raise UsageError(
            f"{table.source}: columns {', '.join(table.columns) or 'none'}, want one of "
            f"{', '.join(columns)} for join={join}{own}"
        )
