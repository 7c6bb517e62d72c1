"""The swap test: against all swaps by hand, of classes, levels and numbers, and of several seeds."""

import itertools

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn import metrics

from octshard.probes import scores, swap_test
from octshard.rng import rng_for


def test_the_swap_test_against_all_swaps_by_hand():
    """Six people: the 64 swaps one by one, ranks by SciPy, AUROC by counting pairs."""
    rng = rng_for("swaps")
    y_P = np.array([0, 1, 0, 1, 1, 0])
    first, second = (
        scores.Predictions(tuple("abcdef"), np.c_[1 - score_P, score_P], y_P)
        for score_P in (np.array([0.1, 0.8, 0.3, 0.9, 0.7, 0.2]), np.array([0.5, 0.4, 0.5, 0.9, 0.1, 0.3]))
    )

    def auroc(rank_P):
        pairs = [(rank_P[i], rank_P[j]) for i in np.flatnonzero(y_P == 1) for j in np.flatnonzero(y_P == 0)]
        return np.mean([(a > b) + (a == b) / 2 for a, b in pairs])

    ranks = [rankdata(x.p_PC[:, 1]) for x in (first, second)]
    differences = []
    for swap in itertools.product([False, True], repeat=6):
        swapped = [np.where(swap, ranks[1 - i], ranks[i]) for i in (0, 1)]
        differences.append(auroc(swapped[0]) - auroc(swapped[1]))
    expected = np.mean(np.abs(differences) >= abs(differences[0]) - 1e-9)
    assert scores.swap_p(first, second, 20_000, rng) == pytest.approx(expected, abs=0.015)


def test_the_swap_test_knows_equal_sets_and_one_class():
    p_PC = rng_for("equal").dirichlet([1, 1, 1], size=12)
    people, y_P = tuple(map(str, range(12))), np.arange(12) % 3
    some = scores.Predictions(people, p_PC, y_P)
    assert scores.swap_p(some, some, 99, rng_for("swap")) == 1
    alone = scores.Predictions(people, p_PC, np.zeros(12, int))
    assert np.isnan(scores.swap_p(alone, alone, 99, rng_for("swap")))


def test_the_swap_test_does_not_depend_on_its_blocks(monkeypatch):
    p_2PC = rng_for("blocks").dirichlet([1, 1, 1], size=(2, 12))
    first, second = (scores.Predictions(tuple("abcdefghijkl"), p_PC, np.arange(12) % 3) for p_PC in p_2PC)
    whole = scores.swap_p(first, second, 100, rng_for("swap"))
    monkeypatch.setattr(swap_test, "BLOCK", 50)
    assert scores.swap_p(first, second, 100, rng_for("swap")) == whole


@pytest.mark.parametrize("kind", ["numbers", "ordinal"])
def test_levels_and_numbers_against_all_swaps_by_hand(kind):
    rng = rng_for("swap numbers", kind)
    people = tuple("abcdefg")
    if kind == "numbers":
        y_P = rng.normal(size=7)
        said_2P = np.stack([y_P + 0.3 * rng.normal(size=7), y_P + 0.8 * rng.normal(size=7)])
        first, second = (scores.Predictions(people, said_P[:, None], y_P) for said_P in said_2P)
        score = metrics.r2_score
    else:
        y_P = np.array([0, 1, 2, 0, 1, 2, 2])
        said_2P = np.array([[0, 1, 2, 0, 1, 2, 1], [1, 1, 0, 0, 2, 2, 0]])
        first, second = (scores.Predictions(people, np.eye(3)[said], y_P, ordered=True) for said in said_2P)

        def score(y, said):
            return metrics.cohen_kappa_score(y, said, weights="quadratic", labels=[0, 1, 2])

    differences = []
    for swap in itertools.product([False, True], repeat=7):
        swapped = [np.where(swap, said_2P[1 - i], said_2P[i]) for i in (0, 1)]
        differences.append(score(y_P, swapped[0]) - score(y_P, swapped[1]))
    expected = np.mean(np.abs(differences) >= abs(differences[0]) - 1e-9)
    assert scores.swap_p(first, second, 20_000, rng) == pytest.approx(expected, abs=0.015)


def test_seeds_are_swapped_together():
    """Two equal seeds are one; the eyes of a person go together."""
    rng = rng_for("swap seeds")
    y_P = np.arange(12) % 2
    first, second = (
        scores.Predictions(tuple("abcdefghijkl"), rng.dirichlet([1, 1], size=12), y_P) for _ in range(2)
    )
    one = scores.swap_p(first, second, 500, rng_for("swap"))
    assert scores.swap_p([first, first], [second], 500, rng_for("swap")) == one
    eyes = [
        scores.Predictions(tuple("aabbccddeeff"), x.p_PC, np.repeat(y_P[:6], 2), tuple(map(str, range(12))))
        for x in (first, second)
    ]
    assert scores.swap_p(*eyes, 2000, rng_for("swap")) >= 2 / 64  # of six people, each way twice
