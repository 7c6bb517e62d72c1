"""Scores over people, by hand."""

import math

import numpy as np
import pytest

from octshard.eval.dense import people
from octshard.eval.dense.people import PersonScores
from octshard.rng import rng_for

NAN = math.nan


def test_a_person_counts_once_whatever_their_scans():
    scans = [{"x": 1.0, "y": NAN}, {"x": 3.0, "y": 2.0}, {"x": 8.0, "y": NAN}]
    scores = people.by_person(scans, ["a", "a", "b"])
    assert scores.people == ("a", "b")
    np.testing.assert_array_equal(scores.values["x"], [2, 8])
    np.testing.assert_array_equal(scores.values["y"], [2, NAN])
    estimates = people.estimates(scores, np.array([[2, 0], [0, 2], [1, 1]]))
    assert estimates["x"].value == 5
    assert (estimates["y"].value, estimates["y"].low, estimates["y"].high) == (2, 2, 2)


def test_draws_are_averaged_person_by_person():
    draws = [PersonScores(("a", "b"), {"x": np.array(v)}) for v in ([1.0, NAN], [3.0, NAN])]
    np.testing.assert_array_equal(people.mean_of(draws).values["x"], [2, NAN])


def test_a_difference_is_paired():
    """People differ by tens, the two by one: the interval has no width."""
    first = PersonScores(tuple("abc"), {"x": np.array([1.0, 11.0, 21.0])})
    second = PersonScores(tuple("abc"), {"x": np.array([0.0, 10.0, 20.0])})
    weight_RP = people.draw_resamples(3, 50, rng_for("x"))
    assert (weight_RP.sum(axis=1) == 3).all()
    gain = people.differences(first, second, weight_RP)["x"]
    assert (gain.value, gain.low, gain.high) == (1, 1, 1)


def test_the_p_of_flipped_signs_is_that_of_all_of_them():
    first = np.array([3.0, 2.0, 4.0, 1.0, NAN])
    sums = np.array([sum(s * x for s, x in zip(signs, (3, 2, 4, 1), strict=True)) for signs in SIGNS])
    expected = (np.abs(sums) >= 10).mean()
    found = people.flip_p(first, np.zeros(5), 20_000, rng_for("p"))
    assert found == pytest.approx(expected, abs=0.01)
    assert math.isnan(people.flip_p(np.array([NAN]), np.zeros(1), 10, rng_for("p")))


SIGNS = [[1 if (i >> k) & 1 else -1 for k in range(4)] for i in range(16)]
