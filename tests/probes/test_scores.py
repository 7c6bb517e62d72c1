"""Scores: against hand counts, scikit-learn on repeated samples, and the coverage of the intervals."""

import dataclasses

import numpy as np
import pytest
from sklearn import metrics

from octshard.errors import OctshardError
from octshard.probes import scores
from octshard.rng import rng_for


def made_up(people: int, classes: int, seed: int) -> scores.Predictions:
    """Probabilities rounded to tenths, so that ties are common."""
    rng = rng_for("verdicts", people, classes, seed)
    p_PC = np.round(rng.dirichlet(np.ones(classes), people), 1) + 1e-3
    y_P = np.r_[np.arange(classes), rng.integers(classes, size=people - classes)]
    return scores.Predictions(tuple(map(str, range(people))), p_PC / p_PC.sum(axis=1, keepdims=True), y_P)


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


def two_normals(people: int, rng: np.random.Generator, distance: float = 1.0) -> scores.Predictions:
    y_P = np.repeat([0, 1], people)
    p_P = 1 / (1 + np.exp(-(rng.normal(size=2 * people) + distance * y_P)))
    names = tuple(f"{i:04d}" for i in range(2 * people))
    return scores.Predictions(names, np.stack([1 - p_P, p_P], axis=1), y_P)


def covered(people: int, trials: int) -> tuple[float, float]:
    """Shares of cohorts whose intervals hold AUROC = Phi(1 / sqrt 2), and R2 = 0.5. people: of each class."""
    auroc = r2 = 0
    for trial in range(trials):
        rng = rng_for("coverage", people, trial)
        classes = two_normals(people, rng)
        interval = scores.evaluate(classes, ("x", "y"), scores.resample(classes, 200, rng)).metrics[
            "macro_auroc"
        ]
        auroc += interval.low <= 0.7602 <= interval.high
        said_P, rest_P = rng.normal(size=(2, 2 * people))
        numbers = scores.Predictions(classes.participants, said_P[:, None], said_P + rest_P)
        interval = scores.evaluate(numbers, (), scores.resample(numbers, 200, rng)).metrics["r2"]
        r2 += interval.low <= 0.5 <= interval.high
    return auroc / trials, r2 / trials


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """Of 100 cohorts 95 +- 2.2; 6.6 is three standard deviations."""
    for share in covered(20, 100):
        assert share >= 0.884


@pytest.mark.slow
@pytest.mark.parametrize(("people", "most"), [(5, 1.0), (20, 0.985), (100, 0.97)])
def test_intervals_cover_the_truth_in_93_to_97_of_100(people, most):
    """1,000 cohorts: +- 0.007. At 5 people a class they are too wide, never too narrow."""
    for share in covered(people, 1000):
        assert 0.93 - 0.014 <= share <= most + 0.014


def test_several_seeds_are_their_mean_with_their_spread():
    """Strengths as far apart as six random encoders were: macro AUROC from about 0.53 to 0.70."""
    seeds = [two_normals(100, rng_for("seed", i), d) for i, d in enumerate((0.05, 0.2, 0.3, 0.45, 0.6, 0.75))]
    drawn = scores.resample(seeds[0], 300, rng_for("bootstrap"))
    each = [scores.macro_auroc(run) for run in seeds]
    score = scores.evaluate(seeds, ("x", "y"), drawn)
    assert score.of_runs == pytest.approx(each)
    assert score.metrics["macro_auroc"].value == pytest.approx(np.mean(each))
    assert np.sum(score.confusion) == 6 * 200
    people_alone = scores.evaluate([seeds[2]] * 6, ("x", "y"), drawn).metrics["macro_auroc"]
    assert people_alone.seed_share == 0
    assert people_alone == scores.evaluate(seeds[2], ("x", "y"), drawn).metrics["macro_auroc"]
    assert score.metrics["macro_auroc"].seed_share > 0.3
    gain = scores.difference(two_normals(100, rng_for("one"), 3.0), seeds, drawn)["macro_auroc"]
    assert gain.value == pytest.approx(
        scores.macro_auroc(two_normals(100, rng_for("one"), 3.0)) - np.mean(each)
    )
    assert gain.low > 0
    gains = scores.seed_gains(two_normals(100, rng_for("one"), 3.0), seeds)
    assert np.mean(gains) == pytest.approx(gain.value)


def test_seeds_of_other_people_are_an_error():
    one = two_normals(10, rng_for("a"))
    other = scores.Predictions(one.participants[::-1], one.p_PC, one.y_P)
    with pytest.raises(OctshardError, match="want the same in all"):
        scores.evaluate([one, other], ("x", "y"), scores.resample(one, 3, rng_for(0)))
    with pytest.raises(OctshardError, match="no predictions"):
        scores.evaluate([], ("x", "y"), scores.resample(one, 3, rng_for(0)))


def test_scans_weigh_by_scan_but_are_drawn_by_person():
    """Everybody ten times: the same value, and the interval of people, not of ten times as many."""
    people = two_normals(30, rng_for("people"))
    tenfold = scores.Predictions(
        tuple(np.repeat(people.participants, 10)),
        np.repeat(people.p_PC, 10, axis=0),
        np.repeat(people.y_P, 10),
        tuple(map(str, range(600))),
    )
    drawn = scores.resample(people, 200, rng_for("drawn"))
    by_person, by_scan = (scores.evaluate(x, ("x", "y"), drawn) for x in (people, tenfold))
    assert (by_scan.participants, by_scan.rows) == (60, 600)
    for name, estimate in by_person.metrics.items():
        assert dataclasses.astuple(by_scan.metrics[name]) == pytest.approx(dataclasses.astuple(estimate))


def test_all_right_by_few_people_is_said_with_width():
    """One person of the second class: the stratified bootstrap never varies; the interval is no point."""
    y_P = np.array([0, 0, 0, 0, 0, 1])
    sure = scores.Predictions(tuple("abcdef"), np.eye(2)[y_P] * 0.8 + 0.1, y_P)
    score = scores.evaluate(sure, ("x", "y"), scores.resample(sure, 50, rng_for("sure")))
    auroc = score.metrics["macro_auroc"]
    assert (auroc.value, auroc.high) == (1, 1)
    assert auroc.low == pytest.approx(0.025)


def test_by_scan_every_scan_counts_once_and_people_are_resampled():
    """Against scikit-learn on the scans, and on those of the people that one resample draws, by hand."""
    rng = rng_for("by scan")
    scans_of = rng.integers(1, 5, 20)
    people = [f"p{n:02}" for n, count in enumerate(scans_of) for _ in range(count)]
    y_N = np.array([int(name[1:]) % 2 for name in people])
    p_N = np.clip(0.5 + 0.2 * (y_N - 0.5) + 0.3 * rng.normal(size=len(y_N)), 0.01, 0.99)
    predictions = scores.by_participant(np.stack([1 - p_N, p_N], axis=1), y_N, people)
    resamples = scores.resample(predictions, 400, rng_for("resamples"))
    score = scores.evaluate(predictions, ("a", "b"), resamples)
    assert (score.rows, score.scans, score.participants) == (20, len(people), 20)
    assert score.by_scan["macro_auroc"].value == pytest.approx(metrics.roc_auc_score(y_N, p_N))
    assert score.by_scan["brier"].value == pytest.approx(2 * metrics.brier_score_loss(y_N, p_N))
    assert score.by_scan["macro_auroc"].value != score.metrics["macro_auroc"].value
    weight_P = resamples.weight_RU[0]
    copies = [n for n, name in enumerate(people) for _ in range(weight_P[int(name[1:])])]
    weight_RP = resamples.weights(predictions.scans)[:1]
    one = scores.measure(predictions.scans, weight_RP)["macro_auroc"][0]
    assert one == pytest.approx(metrics.roc_auc_score(y_N[copies], p_N[copies]))
    assert score.by_scan["macro_auroc"].low < score.by_scan["macro_auroc"].value


def test_rows_that_are_scans_have_no_second_score():
    predictions = made_up(20, 2, 1)
    resamples = scores.resample(predictions, 10, rng_for("resamples"))
    assert scores.evaluate(predictions, ("a", "b"), resamples).by_scan == {}
    single = scores.by_participant(predictions.p_PC, predictions.y_P, predictions.participants)
    assert single.scans is None


def test_by_scan_of_numbers_and_of_several_runs():
    people = ["a", "a", "b", "c", "c", "c"]
    y_N = np.array([1.0, 1.0, 2.0, 4.0, 4.0, 4.0])
    runs = [scores.by_participant((y_N + shift)[:, None], y_N, people) for shift in (0.5, 1.5)]
    score = scores.evaluate(runs, (), scores.resample(runs[0], 10, rng_for("resamples")))
    assert score.by_scan["mae"].value == pytest.approx(1.0)
    assert score.by_scan["r2"].value == pytest.approx(
        np.mean([metrics.r2_score(y_N, y_N + shift) for shift in (0.5, 1.5)])
    )
