"""Which scans are drawn: people, classes and devices in turn, by a seed; numbers in thirds."""

import dataclasses

import pytest

from octshard.dataset.tables import SampleRow
from octshard.eval.pictures import truth
from octshard.eval.pictures.request import PictureRequest
from octshard.eval.pictures.truth import Truth
from tests.support.picture_request import made_request


@pytest.fixture(scope="module")
def eyes(tmp_path_factory) -> PictureRequest:
    return made_request(tmp_path_factory.mktemp("eyes"))


def test_the_order_of_places_changes_nothing_and_a_seed_does(eyes) -> None:
    known, rows = truth.of(eyes.labelled), eyes.scans.rows
    places = eyes.labelled.subsets["test"].places_N.tolist()
    drawn = truth.some_of_each(known, places, rows, "x", 6)
    assert drawn == truth.some_of_each(known, places[::-1], rows, "x", 6)
    assert drawn != truth.some_of_each(known, places, rows, "y", 6)
    assert len({rows[place].participant for place in drawn}) == 6  # 6 people of 12 scans: nobody twice
    assert len(truth.some_of_each(known, places, rows, "x", 99)) == 12


@pytest.mark.parametrize("seed", range(5))
def test_every_class_and_device_has_its_turn_where_not_every_pair_has(seed: int) -> None:
    """5 classes on 4 devices, 20 pairs, of which 6 are drawn: all classes, and all devices."""
    row = SampleRow("", "", "", "", "", "", "", "", "test", "")
    rows = [
        dataclasses.replace(row, key=f"k{i}", participant=f"p{i}", device=f"device {i % 4}")
        for i in range(60)
    ]
    groups = {i: f"class {i // 4 % 5}" for i in range(60)}
    known = Truth(groups, groups, groups, is_number=False)
    drawn = truth.some_of_each(known, range(60), rows, seed, 6)
    assert len({groups[i] for i in drawn}) == 5
    assert len({rows[i].device for i in drawn}) == 4
    pairs = truth.some_of_each(known, range(60), rows, seed, 20)
    assert len({(groups[i], rows[i].device) for i in pairs}) == 20


def test_items_are_drawn_whose_traits_came_least() -> None:
    """After ax, z came less than x; then b has its turn; then a, b and c are even, and y is new."""
    words = ["ax", "ay", "az", "bx", "bx", "cz"]
    assert truth.in_turn(words, tuple, 5) == ["ax", "cz", "bx", "ay", "bx"]
    assert truth.in_turn([], tuple, 5) == []


def test_numbers_are_grouped_in_thirds(tmp_path) -> None:
    ages = {f"{split}{i:03}": 40.0 + i for split in ("train", "val", "test") for i in range(9)}
    known = truth.of(made_request(tmp_path, ages).labelled)
    assert set(known.group_of.values()) == set(truth.THIRDS)
    assert {known.group_of[place] for place, text in known.text_of.items() if text == "40"} == {
        truth.THIRDS[0]
    }
