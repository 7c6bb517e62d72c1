"""Sites of participants, by any table of labels."""

import pytest

from octshard import delimited
from octshard.errors import UsageError
from octshard.probes import sites


def test_people_are_canonical_and_an_empty_cell_is_no_site() -> None:
    table = delimited.parse("patient_id,Centre\n0007,north\n8,\n9,south\n9,east\n", "labels x.csv")
    assert sites.of_table(table, "centre", "site").site_of == {"7": "north", "9": "east and south"}
    assert sites.of_table(table, "", "site").site_of == {}


def test_a_column_that_is_not_there() -> None:
    table = delimited.parse("person_id,age\n1,2\n", "labels x.csv")
    with pytest.raises(UsageError, match=r"run.probe_site=centre: no such column in labels x.csv; there are"):
        sites.of_table(table, "centre", "run.probe_site")
    assert "clinical_site" in sites.of_table(table, sites.USUAL, "run.probe_site").notes[0]
