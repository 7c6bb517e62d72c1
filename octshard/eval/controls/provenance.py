"""Where scans come from, for the controls that ask it: site, device and protocol, as the tables name them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from octshard import tsv
from octshard.dataset.participants import canonical, row_participants
from octshard.dataset.tables import SampleRow
from octshard.errors import UsageError
from octshard.storage import store

SITE, DEVICE = "site", "device"
USUAL = "clinical_site"  # the column of AI-READI
COLUMNS = (DEVICE, "manufacturer", "model", "protocol", "region")  # of samples.parquet


@dataclass(frozen=True)
class Provenance:
    """values: column -> the text of each scan, empty where it is not known, in the order of the scans."""

    values: Mapping[str, tuple[str, ...]]


def provenance(rows: Sequence[SampleRow], site_of: Mapping[str, str]) -> Provenance:
    """Of stored scans. site_of: participant (canonical id) -> site; empty if no table says it."""
    values = {column: tuple(str(getattr(row, column)) for row in rows) for column in COLUMNS}
    sites = tuple(site_of.get(canonical(row.participant), "") for row in rows)
    return Provenance({SITE: sites, **values})


@dataclass(frozen=True)
class Sites:
    """The site of each participant (canonical id), and what is to be said of it."""

    site_of: Mapping[str, str]
    notes: tuple[str, ...] = ()


def read_sites(participants: str, column: str) -> Sites:
    """The sites in a column of participants.tsv; none without a table or a column.

    UsageError for a column that is not there, but for USUAL, which not every release has: then a note.
    """
    if not participants or not column:
        return Sites({})
    try:
        data = store.read(participants)
    except FileNotFoundError:
        raise UsageError(f"participants {participants}: no such file, want participants.tsv") from None
    source = f"participants {participants}"
    table = tsv.parse(tsv.decode(data, source), source)
    if column.lower() not in table.columns:
        if column != USUAL:
            there = ", ".join(table.columns)
            raise UsageError(f"site={column}: no such column in {source}; there are: {there}")
        return Sites({}, (f"No site is known: participants.tsv has no column {column}.",))
    sites: dict[str, set[str]] = {}
    for person, site in zip(row_participants(table), table.column((column.lower(),)), strict=True):
        if person and site:
            sites.setdefault(person, set()).add(site)
    return Sites({person: " and ".join(sorted(several)) for person, several in sites.items()})
