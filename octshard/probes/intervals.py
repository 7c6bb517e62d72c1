"""An estimate and its 95 % interval: over people by the bootstrap, over seeds by their own spread.

The standard error over people is half the distance between the 16th and 84th percentile of the resamples;
that of seeds their standard deviation / sqrt(seeds). Student's t of both, on a scale on which the metric has
no bound. benchmarks/interval_coverage.py says how often the truth lies inside, of this and of other ways.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

COVERAGE = 0.95
ONE_SIGMA = (0.15865525393145707, 0.8413447460685429)
LOGIT, BELOW_ONE, POSITIVE, PLAIN = "logit", "below one", "positive", "plain"  # scales
HALF_LOGIT = "logit of the half"  # of what lies between 0 and 2
SCALES: Mapping[str, str] = {
    "macro_auroc": LOGIT,
    "macro_auprc": LOGIT,
    "balanced_accuracy": LOGIT,
    "macro_f1": LOGIT,
    "kappa": BELOW_ONE,
    "quadratic_kappa": BELOW_ONE,
    "r2": BELOW_ONE,
    "mae": POSITIVE,
    "ece": LOGIT,
    "brier": HALF_LOGIT,
}
LARGEST = 700.0  # exp of more is infinite


@dataclass(frozen=True)
class Estimate:
    """A value and its interval at 95 %; nan where it is not defined.

    seed_share: of its variance, what comes from seeds; 0 if only one was given.
    """

    value: float
    low: float
    high: float
    seed_share: float = 0.0


@dataclass(frozen=True, eq=False)
class Spread:
    """What an interval is made of: the value of each seed and, in each resample, the mean over seeds.

    seeds: one list for an estimate, two for a difference. strata: people in each class.
    """

    values: tuple[Sequence[float], ...]
    mean_R: np.ndarray
    strata: tuple[int, ...]


def interval(spread: Spread, scale: str) -> Estimate:
    """The mean over seeds, for two lists the difference of their means, with its interval on `scale`.

    nan without a value. A rate that is 0 or 1 in every resample: Clopper and Pearson 1934, for as many
    independent people as the smallest class has.
    """
    if scale == HALF_LOGIT:
        halves = tuple([value / 2 for value in values] for values in spread.values)
        half = interval(Spread(halves, spread.mean_R / 2, spread.strata), LOGIT)
        return Estimate(2 * half.value, 2 * half.low, 2 * half.high, half.seed_share)
    means = [float(np.mean(values)) for values in spread.values]
    value = means[0] - sum(means[1:])
    defined_R = spread.mean_R[np.isfinite(spread.mean_R)]
    if not math.isfinite(value) or not len(defined_R):
        return Estimate(value, math.nan, math.nan)
    if scale == LOGIT and value in (0, 1):
        far = ((1 - COVERAGE) / 2) ** (1 / min(spread.strata))
        return Estimate(value, far if value else 0.0, 1.0 if value else 1 - far)
    people, seeds = _people_error(defined_R) ** 2, [_mean_variance(values) for values in spread.values]
    total = people + sum(seeds)
    if not total:
        return Estimate(value, value, value)
    parts = [(people, freedom(spread.strata))]
    parts += [(seed, len(values) - 1) for seed, values in zip(seeds, spread.values, strict=True) if seed]
    t = float(stats.t.ppf((1 + COVERAGE) / 2, total**2 / sum(part**2 / df for part, df in parts)))
    return Estimate(value, *_ends(value, t * math.sqrt(total), scale), sum(seeds) / total)


def freedom(strata: Sequence[int]) -> float:
    """Degrees of freedom of a mean over strata with equal variances: Satterthwaite 1946."""
    variances = [1 / people for people in strata]
    return sum(variances) ** 2 / sum(
        variance**2 / max(people - 1, 1) for variance, people in zip(variances, strata, strict=True)
    )


def estimate(value: float, spread_R: np.ndarray) -> Estimate:
    """Percentile range of draws that are not resamples, such as deals of shuffled labels."""
    defined = spread_R[np.isfinite(spread_R)]
    if not len(defined):
        return Estimate(float(value), float("nan"), float("nan"))
    low, high = np.quantile(defined, ((1 - COVERAGE) / 2, (1 + COVERAGE) / 2))
    return Estimate(float(value), float(low), float(high))


def _people_error(mean_R: np.ndarray) -> float:
    """Robust standard error: rare resamples with few kinds of people do not blow it up."""
    low, high = np.quantile(mean_R, ONE_SIGMA)
    return float(high - low) / 2 or float(mean_R.std())


def _mean_variance(values: Sequence[float]) -> float:
    return float(np.var(values, ddof=1)) / len(values) if len(values) > 1 else 0.0


def _ends(value: float, half: float, scale: str) -> tuple[float, float]:
    """value -+ half, taken on the scale by the slope at `value`."""
    if scale == LOGIT:
        logit, reach = math.log(value / (1 - value)), half / (value * (1 - value))
        return 1 / (1 + _exp(reach - logit)), 1 / (1 + _exp(-reach - logit))
    if scale == BELOW_ONE and value < 1:
        return 1 - (1 - value) * _exp(half / (1 - value)), 1 - (1 - value) * _exp(-half / (1 - value))
    if scale == POSITIVE and value > 0:
        return value * _exp(-half / value), value * _exp(half / value)
    return value - half, value + half


def _exp(x: float) -> float:
    return math.exp(min(x, LARGEST))
