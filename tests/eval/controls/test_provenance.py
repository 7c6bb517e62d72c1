"""Site and device of stored scans, by the tables."""

import pytest

from octshard.dataset import tables
from octshard.dataset.tables import SampleRow
from octshard.errors import UsageError
from octshard.eval.controls import provenance


def row(participant: str, device: str) -> SampleRow:
    return SampleRow(
        f"{participant}-{device}", participant, device, "Maker", "T1", "macula", "Macula", "L", "", ""
    )


def test_each_scan_has_its_device_and_the_site_of_its_participant():
    known = provenance.provenance([row("01", "a"), row("1", "b"), row("2", "b")], {"1": "UW"})
    assert known.values["site"] == ("UW", "UW", "")
    assert known.values["device"] == ("a", "b", "b")
    assert set(known.values) == {"site", "device", "manufacturer", "model", "protocol", "region"}


def test_sites_are_read_of_any_table_of_people(tmp_path):
    """As labels are: participants may be a CSV or Parquet, too."""
    comma, parquet = tmp_path / "people.csv", tmp_path / "people.parquet"
    comma.write_text("person_id,centre\n7,north\n8,south\n")
    tables.write_table(str(parquet), {"person_id": [7, 8], "centre": ["north", "south"]})
    for path in (comma, parquet):
        assert provenance.read_sites(str(path), "centre").site_of == {"7": "north", "8": "south"}
    with pytest.raises(UsageError, match=r"participants .*gone.tsv: no such file"):
        provenance.read_sites(str(tmp_path / "gone.tsv"), "centre")
