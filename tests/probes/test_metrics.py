"""Every metric in every resample: scikit-learn on the repeated rows, and hand counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from octshard.probes import metrics, scores
from octshard.rng import rng_for
from tests.probes.test_scores import made_up


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
        assert values["macro_auroc"][r] == pytest.approx(reference.roc_auc_score(y, p, multi_class="ovr"))
        assert values["balanced_accuracy"][r] == pytest.approx(
            reference.balanced_accuracy_score(y, predicted)
        )
        assert values["macro_f1"][r] == pytest.approx(reference.f1_score(y, predicted, average="macro"))
        assert values["kappa"][r] == pytest.approx(reference.cohen_kappa_score(y, predicted))
        np.testing.assert_array_equal(
            scores.confusion(predictions, weight_P[None])[0],
            reference.confusion_matrix(y, predicted, labels=range(4)),
        )


def test_a_resample_that_lacks_a_class_is_scored_on_the_others():
    predictions = made_up(12, 3, 0)
    weight_1P = (predictions.y_P != 2)[None].astype(int)
    values = scores.measure(predictions, weight_1P)
    two = [scores.auroc(predictions.y_P == c, predictions.p_PC[:, c], weight_1P)[0] for c in (0, 1)]
    assert values["macro_auroc"][0] == pytest.approx(np.mean(two))


def repeats(predictions: scores.Predictions, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(how often each row counts, the rows written out) of five resamples."""
    weight_RP = scores.resample(predictions, 5, rng_for("repeats", seed)).weights(predictions)
    return [(weight_P, np.repeat(np.arange(len(weight_P)), weight_P)) for weight_P in weight_RP]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("classes", [2, 4])
def test_rankings_and_probabilities_as_scikit_learn_has_them(classes, seed):
    predictions = made_up(40, classes, seed)
    for weight_P, places in repeats(predictions, seed):
        y, p = predictions.y_P[places], predictions.p_PC[places]
        measured = metrics.measures(predictions, weight_P[None])
        precision = [reference.average_precision_score(y == c, p[:, c]) for c in range(classes)]
        np.testing.assert_allclose(measured.auprc_RC[0], precision)
        assert measured.values["macro_auprc"][0] == pytest.approx(np.mean(precision))
        brier = reference.brier_score_loss(y, p, labels=list(range(classes)), scale_by_half=False)
        assert measured.values["brier"][0] == pytest.approx(brier)


@pytest.mark.parametrize("seed", range(3))
def test_levels_as_scikit_learn_has_them(seed):
    some = made_up(40, 4, seed)
    predictions = scores.Predictions(some.participants, some.p_PC, some.y_P, ordered=True)
    for weight_P, places in repeats(predictions, seed):
        y, said = predictions.y_P[places], predictions.p_PC[places].argmax(axis=1)
        values = scores.measure(predictions, weight_P[None])
        kappa = reference.cohen_kappa_score(y, said, weights="quadratic", labels=range(4))
        assert values["quadratic_kappa"][0] == pytest.approx(kappa)
        assert values["mae"][0] == pytest.approx(reference.mean_absolute_error(y, said))


@pytest.mark.parametrize("seed", range(3))
def test_numbers_as_scikit_learn_has_them(seed):
    rng = rng_for("numbers", seed)
    y_P = 60 + 5 * rng.normal(size=30)
    predictions = scores.Predictions(
        tuple(map(str, range(30))), (y_P + 3 * rng.normal(size=30))[:, None], y_P
    )
    for weight_P, places in repeats(predictions, seed):
        y, said = y_P[places], predictions.p_PC[places, 0]
        values = scores.measure(predictions, weight_P[None])
        assert values["r2"][0] == pytest.approx(reference.r2_score(y, said))
        assert values["mae"][0] == pytest.approx(reference.mean_absolute_error(y, said))


def test_by_hand():
    """Squared errors of both classes; one positive is retrieved first, the other last."""
    predictions = scores.Predictions(("a", "b"), np.array([[0.8, 0.2], [0.6, 0.4]]), np.array([0, 1]))
    once = np.ones((1, 2), np.int64)
    assert scores.measure(predictions, once)["brier"][0] == pytest.approx((2 * 0.04 + 2 * 0.36) / 2)
    positive, score = np.array([True, False, False, True]), np.array([0.9, 0.8, 0.5, 0.1])
    assert scores.auprc(positive, score, np.ones((1, 4)))[0] == pytest.approx((1 / 1 + 2 / 4) / 2)


def test_numbers_that_do_not_vary_have_no_r2():
    predictions = scores.Predictions(("a", "b"), np.array([[1.0], [2.0]]), np.array([0.1, 0.3]))
    assert np.isnan(scores.measure(predictions, np.array([[3, 0]]))["r2"][0])
    flat = scores.Predictions(("a", "b"), np.array([[1.0], [2.0]]), np.array([0.1, 0.1]))
    assert np.isnan(scores.r2(flat))


def test_blocks_change_nothing(monkeypatch):
    predictions = made_up(20, 3, 5)
    weight_RP = scores.resample(predictions, 30, rng_for("blocks")).weights(predictions)
    whole = metrics.measures(predictions, weight_RP)
    monkeypatch.setattr(metrics, "BLOCK", 100)
    parts = metrics.measures(predictions, weight_RP)
    for name, values in whole.values.items():
        np.testing.assert_allclose(values, parts.values[name])
    np.testing.assert_allclose(whole.auprc_RC, parts.auprc_RC)
