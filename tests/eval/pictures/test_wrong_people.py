"""Who is wrong most: by hand, over several heads, for classes and numbers; what stands beside pictures."""

import csv
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest

from octshard.eval.pictures import judged, scan_reader, wrong_people
from octshard.eval.pictures.request import PictureRequest
from octshard.probes.predictions import Predictions
from tests.support.picture_request import made_request


@pytest.fixture(scope="module")
def request_of_classes(tmp_path_factory) -> PictureRequest:
    return made_request(tmp_path_factory.mktemp("eyes"))


def test_the_lowest_probability_of_the_true_class_comes_first() -> None:
    """Means of two heads: a 0.5, b 0.2, c 0.55 of what is true; b is wrong twice, a in one of two."""
    y_P = np.array([0, 1, 0])
    p_HPC = np.array([[[0.9, 0.1], [0.7, 0.3], [0.6, 0.4]], [[0.1, 0.9], [0.9, 0.1], [0.5, 0.5]]])
    people = judged.ranking([Predictions(("a", "b", "c"), p_PC, y_P) for p_PC in p_HPC])
    assert [each.unit for each in people] == ["b", "a", "c"]
    assert [each.miss for each in people] == pytest.approx([0.8, 0.5, 0.45])
    assert [each.wrong for each in people] == [2, 1, 0]


def test_numbers_go_by_their_distance_and_equal_ones_by_name() -> None:
    said = Predictions(("c", "b", "a"), np.array([[3.0], [5.0], [9.0]]), np.array([5.0, 3.0, 8.0]))
    people = judged.ranking([said])
    assert [(each.unit, each.miss) for each in people] == [("b", 2.0), ("c", 2.0), ("a", 1.0)]


def test_words_and_table_say_what_was_said_of_each(request_of_classes) -> None:
    """0.9 of healthy was said of everybody: the ill come first."""
    made = wrong_people.pictures(request_of_classes, scan_reader.open_reader(request_of_classes.scans))
    (section,) = made.sections
    text = "".join(part if isinstance(part, str) else part.markup for part in section.parts)
    assert "The 6 of 6 participants of test whose true class has the lowest probability" in text
    assert "3 are wrong" in text
    assert (
        "Wrong: truly ill\npredicted healthy 0.90 (others: ill 0.10)\ntest001, alpha, proto, left eye,"
        in text
    )
    assert "\nno quality flag<" in text
    assert "(the first of 2 scans)" in text
    rows = list(csv.DictReader(io.StringIO(made.files["wrong-people.csv"].decode())))
    assert [row["unit"] for row in rows] == ["test001", "test003", "test005", "test000", "test002", "test004"]
    assert (rows[0]["true"], rows[0]["predicted"], rows[0]["p_ill"]) == ("ill", "healthy", "0.1")
    assert made.files["wrong-people.png"].startswith(b"\x89PNG")


def test_numbers_have_words_of_their_own(tmp_path) -> None:
    ages = {f"{split}{i:03}": 40.0 + i for split in ("train", "val", "test") for i in range(8)}
    request = made_request(tmp_path, ages)
    made = wrong_people.pictures(request, scan_reader.open_reader(request.scans))
    text = "".join(part if isinstance(part, str) else part.markup for part in made.sections[0].parts)
    assert "True 45, predicted 0.5: 44.5 away" in text


def test_without_predictions_nothing_is_drawn(request_of_classes, tmp_path: Path) -> None:
    request = dataclasses.replace(request_of_classes, predictions={})
    made = wrong_people.pictures(request, scan_reader.open_reader(request.scans))
    assert (made.sections, made.files) == ((), {})
