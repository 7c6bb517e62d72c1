"""Predictions: averaged over the scans of a person or an eye, one label for each."""

import numpy as np
import pytest

from octshard.errors import OctshardError
from octshard.probes import scores


def test_probabilities_are_averaged_per_participant():
    p_NC = np.array([[0.8, 0.2], [0.1, 0.9], [0.4, 0.6]])
    predictions = scores.by_participant(p_NC, np.array([0, 1, 0]), ["b", "a", "b"])
    assert predictions.participants == ("a", "b")
    np.testing.assert_allclose(predictions.p_PC, [[0.1, 0.9], [0.6, 0.4]])
    np.testing.assert_array_equal(predictions.y_P, [1, 0])


def test_a_participant_of_two_classes_is_an_error():
    with pytest.raises(OctshardError, match="a: scans with different labels"):
        scores.by_participant(np.full((2, 2), 0.5), np.array([0, 1]), ["a", "a"])


def test_an_eye_is_averaged_over_its_scans_and_keeps_its_person():
    p_N1 = np.array([[1.0], [3.0], [10.0], [5.0]])
    y_N = np.array([2.0, 2.0, 7.0, 5.0])
    eyes = scores.by_unit(p_N1, y_N, ["b/L", "b/L", "b/R", "a/L"], ["b", "b", "b", "a"])
    assert (eyes.units, eyes.participants, eyes.kind) == (("a/L", "b/L", "b/R"), ("a", "b", "b"), "numbers")
    np.testing.assert_allclose(eyes.p_PC[:, 0], [5, 2, 10])
    np.testing.assert_allclose(eyes.y_P, [5, 2, 7])


def test_kinds():
    y_P, p_PC = np.array([0, 1]), np.eye(2)
    assert scores.Predictions(("a", "b"), p_PC, y_P).kind == "classes"
    assert scores.Predictions(("a", "b"), p_PC, y_P, ordered=True).kind == "ordinal"
    assert scores.Predictions(("a", "b"), p_PC[:, :1], y_P.astype(float)).kind == "numbers"
