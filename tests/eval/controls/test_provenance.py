"""Site and device of stored scans, by the tables."""

from octshard.dataset.tables import SampleRow
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
