"""Resamples: of people within their class, each with all that is theirs."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from octshard.probes import scores
from octshard.rng import rng_for


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(0, 9))
def test_resamples_keep_the_size_of_each_class_and_the_seed(labels, seed):
    y_P = np.array(labels)
    weight_RP = scores.draw_resamples(y_P, 7, rng_for(seed))
    for label in set(labels):
        assert (weight_RP[:, y_P == label].sum(axis=1) == labels.count(label)).all()
    np.testing.assert_array_equal(weight_RP, scores.draw_resamples(y_P, 7, rng_for(seed)))


def rows(participants: str, labels: list[int]) -> scores.Predictions:
    units = tuple(map(str, range(len(labels))))
    return scores.Predictions(tuple(participants), np.full((len(labels), 3), 1 / 3), np.array(labels), units)


def test_who_is_drawn_brings_all_of_theirs():
    eyes = rows("bbacca", [0, 1, 1, 0, 0, 1])
    drawn = scores.resample(eyes, 50, rng_for("eyes"))
    assert drawn.participants == ("a", "b", "c")
    weight_RP = drawn.weights(eyes)
    np.testing.assert_array_equal(weight_RP[:, [0, 2, 3]], weight_RP[:, [1, 5, 4]])
    np.testing.assert_array_equal(weight_RP[:, [2, 0, 3]], drawn.weight_RU)
    turned = rows("abc", [1, 1, 0])
    np.testing.assert_array_equal(drawn.weights(turned), drawn.weight_RU)


def test_somebody_of_several_classes_stands_with_the_rarest():
    drawn = scores.resample(rows("aabbccd", [0, 2, 0, 1, 0, 1, 0]), 9, rng_for("rare"))
    assert sorted(drawn.strata) == [1, 1, 2]  # a: the only 2; b and c: 1; d: 0
    assert (drawn.weight_RU[:, [0, 3]] == 1).all()


def test_numbers_are_drawn_from_all():
    numbers = scores.Predictions(tuple("abc"), np.zeros((3, 1)), np.array([1.0, 2.0, 3.0]))
    drawn = scores.resample(numbers, 200, rng_for("numbers"))
    assert drawn.strata == (3,)
    assert (drawn.weight_RU.sum(axis=1) == 3).all()
    assert drawn.weight_RU.max() == 3
