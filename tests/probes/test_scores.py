"""Scores: against hand counts, scikit-learn on repeated samples, and the coverage of the intervals."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn import metrics

from octshard.errors import OctshardError
from octshard.probes import scores, swap_test
from octshard.rng import rng_for


def made_up(people: int, classes: int, seed: int) -> scores.Predictions:
    """Probabilities rounded to tenths, so that ties are common."""
    rng = rng_for("verdicts", people, classes, seed)
    p_PC = np.round(rng.dirichlet(np.ones(classes), people), 1) + 1e-3
    y_P = np.r_[np.arange(classes), rng.integers(classes, size=people - classes)]
    return scores.Predictions(tuple(map(str, range(people))), p_PC / p_PC.sum(axis=1, keepdims=True), y_P)


def test_probabilities_are_averaged_per_participant():
    p_NC = np.array([[0.8, 0.2], [0.1, 0.9], [0.4, 0.6]])
    predictions = scores.by_participant(p_NC, np.array([0, 1, 0]), ["b", "a", "b"])
    assert predictions.participants == ("a", "b")
    np.testing.assert_allclose(predictions.p_PC, [[0.1, 0.9], [0.6, 0.4]])
    np.testing.assert_array_equal(predictions.y_P, [1, 0])


def test_a_participant_of_two_classes_is_an_error():
    with pytest.raises(OctshardError, match="a: scans with different labels"):
        scores.by_participant(np.full((2, 2), 0.5), np.array([0, 1]), ["a", "a"])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 3)), min_size=2, max_size=14),
)
def test_auroc_counts_pairs(rows):
    positive, value, weight = (np.array(column) for column in zip(*rows, strict=True))
    won = pairs = 0.0
    for p, v, w in rows:
        for q, u, x in rows:
            if p and not q:
                won += w * x * ((v > u) + 0.5 * (v == u))
                pairs += w * x
    auroc = scores.auroc(positive, value.astype(float), weight[None])[0]
    assert np.isnan(auroc) if not pairs else auroc == pytest.approx(won / pairs)


@pytest.mark.parametrize("seed", range(3))
def test_a_resample_scores_as_scikit_learn_does_on_the_repeated_participants(seed):
    predictions = made_up(40, 4, seed)
    weight_RP = scores.resample(predictions, 5, rng_for("resample", seed)).weights(predictions)
    values = scores.measure(predictions, weight_RP)
    for r, weight_P in enumerate(weight_RP):
        places = np.repeat(np.arange(40), weight_P)
        y, p = predictions.y_P[places], predictions.p_PC[places]
        predicted = p.argmax(axis=1)
        assert values["macro_auroc"][r] == pytest.approx(metrics.roc_auc_score(y, p, multi_class="ovr"))
        assert values["balanced_accuracy"][r] == pytest.approx(metrics.balanced_accuracy_score(y, predicted))
        assert values["macro_f1"][r] == pytest.approx(metrics.f1_score(y, predicted, average="macro"))
        assert values["kappa"][r] == pytest.approx(metrics.cohen_kappa_score(y, predicted))
        np.testing.assert_array_equal(
            scores.confusion(predictions, weight_P[None])[0],
            metrics.confusion_matrix(y, predicted, labels=range(4)),
        )


def test_by_hand():
    p_PC = np.array([[0.95, 0.05], [0.65, 0.35], [0.15, 0.85], [0.75, 0.25], [0.35, 0.65]])
    predictions = scores.Predictions(tuple("abcde"), p_PC, np.array([0, 0, 0, 1, 1]))
    estimates = scores.evaluate(
        predictions, ("x", "y"), scores.resample(predictions, 5, rng_for("hand"))
    ).metrics
    # scores for x: x has .95 .65 .15, y has .75 .35: x above y in 2 + 1 + 0 of 6 pairs
    assert estimates["macro_auroc"].value == pytest.approx(3 / 6)
    # said x x y x y: recalls 2/3 and 1/2
    assert estimates["balanced_accuracy"].value == pytest.approx((2 / 3 + 1 / 2) / 2)
    # x: TP 2 FP 1 FN 1; y: TP 1 FP 1 FN 1
    assert estimates["macro_f1"].value == pytest.approx((4 / 6 + 2 / 4) / 2)
    # agreement 3/5, by chance (3 x 3 + 2 x 2) / 25
    assert estimates["kappa"].value == pytest.approx((0.6 - 0.52) / 0.48)
    # bins: .95 right; .65 right and .65 right; .85 wrong; .75 wrong -> |.05| + |.70| + |-.85| + |-.75| over 5
    assert estimates["ece"].value == pytest.approx((0.05 + 0.70 + 0.85 + 0.75) / 5)


def test_a_class_absent_from_the_set_is_left_out_and_said():
    rng = rng_for("absent")
    predictions = scores.Predictions(
        tuple("abcdef"), rng.dirichlet(np.ones(3), 6), np.array([0, 0, 0, 2, 2, 2])
    )
    score = scores.evaluate(predictions, ("x", "y", "z"), scores.resample(predictions, 20, rng))
    assert score.scored == ("x", "z")
    by_hand = [metrics.roc_auc_score(predictions.y_P == c, predictions.p_PC[:, c]) for c in (0, 2)]
    assert score.metrics["macro_auroc"].value == pytest.approx(np.mean(by_hand))
    assert score.auroc_of["z"].value == pytest.approx(by_hand[1])
    assert np.isfinite(score.metrics["balanced_accuracy"].value)
    assert score.confusion[1] == (0, 0, 0)


def test_a_resample_that_lacks_a_class_is_scored_on_the_others():
    predictions = made_up(12, 3, 0)
    weight_1P = (predictions.y_P != 2)[None].astype(int)
    values = scores.measure(predictions, weight_1P)
    two = [scores.auroc(predictions.y_P == c, predictions.p_PC[:, c], weight_1P)[0] for c in (0, 1)]
    assert values["macro_auroc"][0] == pytest.approx(np.mean(two))


def test_one_class_alone_has_no_auroc_and_does_not_crash():
    predictions = scores.Predictions(("a", "b"), np.array([[0.6, 0.4], [0.7, 0.3]]), np.array([0, 0]))
    score = scores.evaluate(predictions, ("x", "y"), scores.resample(predictions, 5, rng_for(0)))
    assert score.scored == ()
    assert np.isnan(score.metrics["macro_auroc"].value)
    assert np.isnan(score.metrics["macro_auroc"].low)
    assert score.metrics["balanced_accuracy"].value == 1.0


def test_order_of_participants_does_not_matter_to_the_estimate():
    predictions = made_up(30, 3, 1)
    order = rng_for("order").permutation(30)
    turned = scores.Predictions(
        tuple(predictions.participants[i] for i in order), predictions.p_PC[order], predictions.y_P[order]
    )
    some = scores.resample(predictions, 20, rng_for("order"))
    first, second = (scores.evaluate(v, "abc", some) for v in (predictions, turned))
    for name, estimate in first.metrics.items():
        assert dataclasses.astuple(estimate) == pytest.approx(dataclasses.astuple(second.metrics[name]))


def test_the_paired_difference_of_a_set_with_itself_is_zero_and_signs_are_right():
    predictions = made_up(60, 3, 2)
    good = scores.Predictions(
        predictions.participants, np.eye(3)[predictions.y_P] * 0.9 + 0.1 / 3, predictions.y_P
    )
    some = scores.resample(predictions, 200, rng_for("paired"))
    same = scores.difference(predictions, predictions, some)["macro_auroc"]
    assert (same.value, same.low, same.high) == (0, 0, 0)
    better = scores.difference(good, predictions, some)["macro_auroc"]
    assert better.low > 0
    assert better.value == pytest.approx(1 - scores.macro_auroc(predictions))


def test_pairing_is_narrower_than_two_independent_intervals():
    predictions = made_up(80, 2, 3)
    noise = rng_for("noise").normal(scale=0.01, size=predictions.p_PC.shape)
    near = scores.Predictions(predictions.participants, np.abs(predictions.p_PC + noise), predictions.y_P)
    some = scores.resample(predictions, 300, rng_for("narrow"))
    paired = scores.difference(near, predictions, some)["macro_auroc"]
    alone = scores.evaluate(predictions, ("x", "y"), some).metrics["macro_auroc"]
    assert paired.high - paired.low < (alone.high - alone.low) / 2


def test_a_difference_over_other_participants_is_an_error():
    with pytest.raises(OctshardError, match="want the same in both"):
        scores.difference(
            made_up(10, 2, 0), made_up(12, 2, 0), scores.resample(made_up(10, 2, 0), 3, rng_for(0))
        )


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
