"""Scans: parts keep their rows together; one class a person."""

import dataclasses

import numpy as np
import pytest

from octshard.errors import OctshardError
from octshard.probes.grouped_scans import index_of, people_of
from tests.support.made_scans import made_scans


def test_a_part_keeps_rows_together():
    scans = made_scans(1, 1, people=12)
    part = scans.split("val", "test")
    assert set(part.splits) == {"val", "test"}
    for n, person in enumerate(part.participants):
        rows = [m for m, name in enumerate(scans.participants) if name == person]
        match = [m for m in rows if scans.group_N[m] == part.group_N[n]]
        assert np.array_equal(part.values_NF[n], scans.values_NF[match[0]])


def test_people_by_hand():
    people = people_of(made_scans(1, 1, people=4, goes_with=None))
    assert people.names == ("p0000", "p0001", "p0002", "p0003")
    assert people.y_P.tolist() == [0, 1, 0, 1]
    assert people.scans_PG.tolist() == [[1, 1]] * 4


def test_a_person_of_two_classes_is_an_error():
    scans = made_scans(1, 1, people=4)
    with pytest.raises(OctshardError, match="participant p0000: scans of several classes"):
        people_of(dataclasses.replace(scans, y_N=np.array([0, 1, 1, 1, 0, 0, 1, 1])))


def test_index_of():
    names, place = index_of(["b", "a", "b"])
    assert (names, place.tolist()) == (("a", "b"), [1, 0, 1])
