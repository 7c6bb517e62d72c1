"""Several draws: the mean as value, an interval that holds the luck of the draw, one draw as before."""

import numpy as np
import pytest

from octshard.errors import OctshardError
from octshard.probes import draws, scores
from octshard.probes.draws import Resamples
from octshard.probes.scores import Predictions
from octshard.rng import rng_for

CLASSES = ("a", "b")
PEOPLE = 200


def drawn(name: object, strength: float) -> Predictions:
    """Two classes, one score: that of the others moved by `strength` standard deviations."""
    y_P = np.arange(PEOPLE) % 2
    z_P = rng_for("draws", name).normal(size=PEOPLE) + strength * y_P
    p_P = 1 / (1 + np.exp(-z_P))
    return Predictions(tuple(map(str, range(PEOPLE))), np.stack([1 - p_P, p_P], axis=1), y_P)


def resamples(count: int = 600) -> Resamples:
    y_P = np.arange(PEOPLE) % 2
    return Resamples(scores.draw_resamples(y_P, count, rng_for("bootstrap")), 0)


def test_one_draw_is_scored_as_ever():
    one, other, some = drawn(0, 1.0), drawn(1, 0.3), resamples()
    assert draws.evaluate("x", [one], CLASSES, some) == scores.evaluate(one, CLASSES, some.weight_RP)
    expected = scores.difference(one, other, some.weight_RP)
    assert draws.difference(("x", [one]), ("y", [other]), some) == expected
    assert draws.swap_p([one], [other], 99, rng_for("swap")) == scores.swap_p(one, other, 99, rng_for("swap"))


def test_the_interval_of_six_draws_holds_each_of_them():
    """Strengths as far apart as six random encoders were: macro AUROC from about 0.53 to 0.70."""
    each = [drawn(i, strength) for i, strength in enumerate((0.05, 0.2, 0.3, 0.45, 0.6, 0.75))]
    aurocs = [scores.macro_auroc(draw) for draw in each]
    assert max(aurocs) - min(aurocs) > 0.1
    auroc = draws.evaluate("random-init", each, CLASSES, resamples()).metrics["macro_auroc"]
    assert auroc.value == pytest.approx(np.mean(aurocs))
    assert auroc.low < min(aurocs)
    assert auroc.high > max(aurocs)
    for one in each:
        alone = scores.evaluate(one, CLASSES, resamples().weight_RP).metrics["macro_auroc"]
        assert alone.high - alone.low < 0.8 * (auroc.high - auroc.low)


def test_the_interval_is_where_a_new_draw_on_new_people_comes_out():
    """Normal draws of a strength, 200 people each: of 300 new ones 95 % are within, as of a normal law."""
    strengths = rng_for("strengths").normal(0.6, 0.25, size=340)
    each = [drawn(("known", i), strength) for i, strength in enumerate(strengths[:40])]
    auroc = draws.evaluate("x", each, CLASSES, resamples(2000)).metrics["macro_auroc"]
    new = [scores.macro_auroc(drawn(("new", i), strength)) for i, strength in enumerate(strengths[40:])]
    within = np.mean([auroc.low <= value <= auroc.high for value in new])
    assert 0.91 <= within <= 1.0


def test_a_difference_is_paired_within_a_resample():
    """A set against itself in every draw differs by the luck of the draw alone."""
    each = [drawn(i, strength) for i, strength in enumerate((0.2, 0.4, 0.9))]
    gain = draws.difference(("x", each), ("y", each), resamples())["macro_auroc"]
    assert gain.value == pytest.approx(0, abs=1e-12)
    assert gain.low < 0 < gain.high
    strong = drawn("strong", 3.0)
    against = draws.difference(("pretrained", [strong]), ("random-init", each), resamples())["macro_auroc"]
    assert against.value == pytest.approx(
        scores.macro_auroc(strong) - np.mean([scores.macro_auroc(draw) for draw in each])
    )
    assert against.low > 0


def test_the_swap_test_asks_every_draw():
    weak, strong, best = drawn("weak", 0.0), drawn("strong", 1.5), drawn("best", 1.6)
    assert draws.swap_p([best], [weak], 200, rng_for("swap")) < 0.05
    assert draws.swap_p([best], [weak, strong], 200, rng_for("swap")) > 0.05


def test_other_participants_are_an_error():
    other = drawn(1, 1.0)
    other = Predictions(other.participants[::-1], other.p_PC, other.y_P)
    with pytest.raises(OctshardError, match="want the same in all"):
        draws.difference(("x", [drawn(0, 1.0)]), ("y", [drawn(0, 1.0), other]), resamples())


def test_the_confusion_is_that_of_one_draw():
    each = [drawn(i, strength) for i, strength in enumerate((0.0, 0.8, 1.6))]
    confusion = draws.evaluate("x", each, CLASSES, resamples(50)).confusion
    assert confusion == scores.evaluate(each[1], CLASSES, resamples(50).weight_RP).confusion


def test_more_draws_than_resamples_and_one_class_do_not_crash():
    few = Resamples(resamples().weight_RP[:2], 0)
    each = [drawn(i, 1.0) for i in range(5)]
    assert draws.evaluate("x", each, CLASSES, few).metrics["macro_auroc"].value > 0.5
    alone = [Predictions(d.participants, d.p_PC, np.zeros(PEOPLE, np.int64)) for d in each]
    assert np.isnan(draws.evaluate("x", alone, CLASSES, few).metrics["macro_auroc"].value)
