"""Intervals: against hand computations, the edges of every scale, and the spread over seeds."""

import math

import numpy as np
import pytest
from scipy import stats

from octshard.probes import intervals
from octshard.probes.intervals import (
    BELOW_ONE,
    HALF_LOGIT,
    LOGIT,
    PLAIN,
    POSITIVE,
    SCALES,
    Estimate,
    Spread,
    interval,
)
from octshard.rng import rng_for

NORMAL_R = stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000)


def of(value: float, error: float, scale: str, strata: tuple[int, ...] = (20, 20)) -> Estimate:
    return interval(Spread(([value],), value + error * NORMAL_R, strata), scale)


def test_each_scale_by_hand():
    t = stats.t.ppf(0.975, 38)
    plain = of(0.2, 0.05, PLAIN)
    assert (plain.low, plain.high) == pytest.approx((0.2 - 0.05 * t, 0.2 + 0.05 * t), rel=1e-3)
    logit = of(0.8, 0.05, LOGIT)
    half = 0.05 * t / (0.8 * 0.2)
    assert math.log(logit.high / (1 - logit.high)) == pytest.approx(math.log(4) + half, rel=1e-3)
    assert math.log(logit.low / (1 - logit.low)) == pytest.approx(math.log(4) - half, rel=1e-3)
    below = of(0.6, 0.1, BELOW_ONE)
    assert math.log((1 - below.low) / 0.4) == pytest.approx(0.1 * t / 0.4, rel=1e-3)
    assert math.log((1 - below.high) / 0.4) == pytest.approx(-0.1 * t / 0.4, rel=1e-3)
    positive = of(3.0, 0.3, POSITIVE)
    assert positive.low * positive.high == pytest.approx(9.0)
    assert math.log(positive.high / 3) == pytest.approx(0.1 * t, rel=1e-3)


def test_degrees_of_freedom_by_hand():
    assert intervals.freedom((20, 20)) == pytest.approx(38)
    assert intervals.freedom((7,)) == pytest.approx(6)
    assert intervals.freedom((5, 50)) == pytest.approx(
        (1 / 5 + 1 / 50) ** 2 / ((1 / 5) ** 2 / 4 + (1 / 50) ** 2 / 49)
    )
    assert intervals.freedom((1, 1)) == pytest.approx(2)


def test_all_right_is_no_certainty():
    """Clopper and Pearson: 0.025 = low ** people, of the smallest class."""
    sure = interval(Spread(([1.0],), np.ones(50), (5, 80)), LOGIT)
    assert (sure.value, sure.high) == (1, 1)
    assert sure.low**5 == pytest.approx(0.025)
    assert sure.low == pytest.approx(stats.beta.ppf(0.025, 5, 1))
    wrong = interval(Spread(([0.0],), np.zeros(50), (5, 80)), LOGIT)
    assert (wrong.low, wrong.high) == (0, pytest.approx(1 - sure.low))


@pytest.mark.parametrize("scale", [PLAIN, BELOW_ONE, POSITIVE])
def test_other_metrics_without_spread_have_no_width(scale):
    for value in (0.0, 0.5, 1.0):
        assert interval(Spread(([value],), np.full(9, value), (5, 5)), scale) == Estimate(value, value, value)


def test_what_is_not_defined_stays_so():
    nothing = interval(Spread(([math.nan],), np.full(9, math.nan), (5, 5)), LOGIT)
    assert math.isnan(nothing.value)
    assert math.isnan(nothing.low)
    part = interval(Spread(([0.5],), np.array([0.4, math.nan, 0.6]), (5, 5)), LOGIT)
    assert 0 < part.low < 0.5 < part.high < 1
    assert math.isnan(interval(Spread(([0.5],), np.full(3, math.nan), (5, 5)), LOGIT).low)


def test_seeds_widen_by_their_own_spread():
    """Welch and Satterthwaite by hand: variances 0.01 of 38 degrees, and var(values) / 3 of 2."""
    values = [0.6, 0.7, 0.8]
    estimate = interval(Spread((values,), 0.7 + 0.1 * NORMAL_R, (20, 20)), PLAIN)
    seeds = np.var(values, ddof=1) / 3
    total = 0.01 + seeds
    t = stats.t.ppf(0.975, total**2 / (0.01**2 / 38 + seeds**2 / 2))
    assert estimate.value == pytest.approx(0.7)
    assert estimate.high - 0.7 == pytest.approx(t * math.sqrt(total), rel=1e-3)
    assert estimate.seed_share == pytest.approx(seeds / total, rel=1e-3)


def test_a_difference_holds_the_seeds_of_both_sides():
    both = interval(Spread(([0.6, 0.8], [0.2, 0.5]), 0.35 + 0.01 * NORMAL_R, (50, 50)), PLAIN)
    assert both.value == pytest.approx(0.35)
    variance = (0.02 + 0.045) / 2
    assert both.seed_share == pytest.approx(variance / (variance + 1e-4), rel=1e-3)


def test_rare_wild_resamples_do_not_widen():
    calm_R = NORMAL_R.copy()
    wild_R = np.where(np.arange(len(calm_R)) < 100, -1e9, calm_R)
    one, other = (interval(Spread(([0.0],), x, (40,)), PLAIN) for x in (calm_R, wild_R))
    assert other.low == pytest.approx(one.low, rel=0.01)


@pytest.mark.parametrize("scale", [LOGIT, BELOW_ONE, POSITIVE])
def test_no_end_is_beyond_the_scale(scale):
    rng = rng_for("ends", scale)
    for _ in range(50):
        value = float(rng.uniform(0.001, 0.999))
        estimate = interval(Spread(([value],), value + rng.normal(size=20) * 10, (3, 3)), scale)
        assert estimate.low <= value <= estimate.high
        assert estimate.high <= 1 or scale == POSITIVE
        assert estimate.low >= 0 or scale == BELOW_ONE


@pytest.mark.parametrize(("metric", "most"), [("ece", 1.0), ("brier", 2.0), ("macro_auroc", 1.0)])
def test_no_interval_reaches_beyond_what_its_metric_can_be(metric: str, most: float) -> None:
    """Two seeds far apart have a t of 12.7: a calibration error cannot be 16 all the same."""
    mean_R = most * np.linspace(0.2, 0.3, 101)
    estimate = interval(Spread(([0.05 * most, 0.45 * most],), mean_R, (20, 20)), SCALES[metric])
    assert 0 < estimate.low < estimate.value < estimate.high < most
    assert estimate.high > 0.9 * most  # as unsure as they are


def test_the_logit_of_the_half_is_the_logit_of_a_rate_twice_as_large() -> None:
    mean_R = np.linspace(0.2, 0.3, 101)
    rate = interval(Spread(([0.25],), mean_R, (20, 20)), LOGIT)
    twice = interval(Spread(([0.5],), 2 * mean_R, (20, 20)), HALF_LOGIT)
    assert (twice.value, twice.low, twice.high) == pytest.approx((0.5, 2 * rate.low, 2 * rate.high))
