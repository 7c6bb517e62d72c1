"""The site of each participant, as a column of participants.tsv, or of a table like it, names it."""

from collections.abc import Mapping
from dataclasses import dataclass

from octshard import tsv
from octshard.dataset.participants import PERSON_COLUMNS, row_participants
from octshard.errors import UsageError

USUAL = "clinical_site"  # the column of AI-READI


@dataclass(frozen=True)
class Sites:
    """The site of each participant (canonical id), and what is to be said of it."""

    site_of: Mapping[str, str]
    notes: tuple[str, ...] = ()


def of_table(table: tsv.Table, column: str, setting: str) -> Sites:
    """UsageError for a column that is not there, but for USUAL, which not every release has: then a note.

    setting: names the column in errors; an empty column: no site is known.
    """
    if not column:
        return Sites({})
    if column.lower() not in table.columns:
        if column != USUAL:
            there = ", ".join(table.columns)
            raise UsageError(f"{setting}={column}: no such column in {table.source}; there are: {there}")
        return Sites({}, (f"No site is known: participants.tsv has no column {column}.",))
    sites: dict[str, set[str]] = {}
    people = row_participants(table, PERSON_COLUMNS)
    for person, site in zip(people, table.column((column.lower(),)), strict=True):
        if person and site:
            sites.setdefault(person, set()).add(site)
    return Sites({person: " and ".join(sorted(several)) for person, several in sites.items()})
