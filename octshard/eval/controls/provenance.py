"""Where scans come from, for the controls that ask it: site, device and protocol, as the tables name them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from octshard.dataset.participants import canonical
from octshard.dataset.tables import SampleRow
from octshard.probes import label_table, sites
from octshard.probes.sites import Sites

SITE, DEVICE = "site", "device"
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


def read_sites(participants: str, column: str) -> Sites:
    """The sites in a column of participants.tsv, or of a table like it; none without a table or a column.

    UsageError for a column that is not there, but for USUAL, which not every release has: then a note.
    """
    if not participants or not column:
        return Sites({})
    return sites.of_table(label_table.read(participants, "participants"), column, "site")
