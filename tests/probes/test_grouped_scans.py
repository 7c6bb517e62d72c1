"""Scans: parts keep their rows together; one class a person."""

import dataclasses

import numpy as np
import pytest

from octshard.errors import OctshardError
from octshard.probes.grouped_scans import Scans, index_of, people_of, units_of
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


def test_a_person_of_two_classes_is_an_error_where_labels_are_of_people():
    scans = made_scans(1, 1, people=4)
    twofold = dataclasses.replace(scans, y_N=np.array([0, 1, 1, 1, 0, 0, 1, 1]))
    with pytest.raises(OctshardError, match="participant p0000: scans of several classes"):
        units_of(twofold)
    eyes = dataclasses.replace(twofold, units=("p0/L", "p0/R", "p1/L", "p1/L", *"abcd"))
    assert units_of(eyes).y_U.shape == (7,)
    with pytest.raises(OctshardError, match="unit p0/L: scans of several classes, want one class per unit"):
        units_of(dataclasses.replace(eyes, units=("p0/L",) * 2 + eyes.units[2:]))


def test_units_and_people_of_several_classes_by_hand():
    """Three people: p has an eye of each class, q two of a, r one of a; b is what fewer people have."""
    scans = Scans(
        np.zeros((6, 2)), np.array([0, 1, 0, 0, 0, 0]), np.array([0, 1, 0, 0, 1, 1]),
        tuple("ppqqqr"), tuple("123445"), ("test",) * 6, ("a", "b"), ("A", "B"),
        ("p/L", "p/R", "q/L", "q/R", "q/R", "r/L"),
    )  # fmt: skip
    people, units = people_of(scans), units_of(scans)
    assert people.names == ("p", "q", "r")
    assert people.y_P.tolist() == [1, 0, 0]
    assert people.people_C.tolist() == [3, 1]
    assert people.scans_PG.tolist() == [[1, 1], [2, 1], [0, 1]]
    assert units.y_U.tolist() == [0, 1, 0, 0, 0]
    assert units.person_U.tolist() == [0, 0, 1, 1, 2]
    assert units.scans_UG.tolist() == [[1, 0], [0, 1], [1, 0], [1, 1], [0, 1]]
    part = scans.part(np.array([1, 5]))
    assert (part.units, part.participants) == (("p/R", "r/L"), ("p", "r"))


def test_index_of():
    names, place = index_of(["b", "a", "b"])
    assert (names, place.tolist()) == (("a", "b"), [1, 0, 1])
