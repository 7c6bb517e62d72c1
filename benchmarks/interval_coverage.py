"""How often 95 % intervals hold the truth, over simulated cohorts whose truth is known in closed form.

    python benchmarks/interval_coverage.py --quick --json coverage.json

Compared with the project's own way (Student's t on an unbounded scale, standard error by the bootstrap): the
percentile and the BCa interval (Efron 1987) of the same resamples. `auroc`: two normal classes; `r2`: normal
numbers; `difference`: two predictors of the same people; `seeds`: predictors of several training seeds.
A cohort that a predictor tells apart without error counts as covered only if its interval says so.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import click
import numpy as np
from command import benchmark
from scipy import stats
from table import SectionResult, Table, Target, at_least, at_most, report

from octshard.probes import scores
from octshard.probes.predictions import Predictions
from octshard.rng import rng_for

LOW, HIGH = 0.93, 0.97  # a share of 200 cohorts is known to about 0.015
LEVELS = (0.025, 0.975)
SEED_NOISE = 0.5  # standard deviation of what a seed adds to the distance of two classes


class Cohort(NamedTuple):
    """What is estimated (metric of first, less that of second if there is one), and its true value."""

    metric: str
    first: Sequence[Predictions]
    second: Sequence[Predictions] | None
    truth: float


@dataclass(frozen=True)
class Size:
    """How many cohorts, and resamples of each."""

    cohorts: int
    resamples: int


def two_classes(people: tuple[int, int], score_SP: np.ndarray) -> list[Predictions]:
    """Predictions of each row of scores, the others first."""
    y_P = np.repeat([0, 1], people)
    names = tuple(f"{i:05d}" for i in range(len(y_P)))
    p_SP = 1 / (1 + np.exp(-score_SP))
    return [Predictions(names, np.stack([1 - p_P, p_P], axis=1), y_P) for p_P in p_SP]


def numbers(y_P: np.ndarray, predicted_P: np.ndarray) -> list[Predictions]:
    """Predictions of numbers by one predictor."""
    names = tuple(f"{i:05d}" for i in range(len(y_P)))
    return [Predictions(names, predicted_P[:, None], y_P)]


def auroc_cohort(people: tuple[int, int], truth: float, rng: np.random.Generator) -> Cohort:
    """Two normal classes: AUROC = Phi(distance / sqrt 2)."""
    distance = math.sqrt(2) * stats.norm.ppf(truth)
    score_P = rng.normal(size=sum(people)) + distance * np.repeat([0, 1], people)
    return Cohort("macro_auroc", two_classes(people, score_P[None]), None, truth)


def r2_cohort(people: int, truth: float, rng: np.random.Generator) -> Cohort:
    """y = predicted + rest, of variance 1: R2 = variance of what is predicted."""
    predicted_P = rng.normal(scale=math.sqrt(truth), size=people)
    y_P = predicted_P + rng.normal(scale=math.sqrt(1 - truth), size=people)
    return Cohort("r2", numbers(y_P, predicted_P), None, truth)


def auroc_pair(people: tuple[int, int], truths: tuple[float, float], rng: np.random.Generator) -> Cohort:
    """Two predictors that share half of the variance of their noise."""
    common_P = rng.normal(size=sum(people))
    y_P = np.repeat([0, 1], people)
    sides = []
    for truth in truths:
        noise_P = (common_P + rng.normal(size=len(common_P))) / math.sqrt(2)
        score_P = noise_P + math.sqrt(2) * stats.norm.ppf(truth) * y_P
        sides.append(two_classes(people, score_P[None]))
    return Cohort("macro_auroc", sides[0], sides[1], truths[0] - truths[1])


def r2_pair(people: int, truths: tuple[float, float], rng: np.random.Generator) -> Cohort:
    """The second knows a part of what the first knows."""
    scales = (truths[1], truths[0] - truths[1], 1 - truths[0])
    less_P, more_P, rest_P = (rng.normal(scale=math.sqrt(v), size=people) for v in scales)
    y_P = less_P + more_P + rest_P
    return Cohort("r2", numbers(y_P, less_P + more_P), numbers(y_P, less_P), truths[0] - truths[1])


def seed_cohort(people: tuple[int, int], seeds: int, rng: np.random.Generator) -> Cohort:
    """Each seed has a distance of its own about 1, and half of the noise is in common to all."""
    common_P, y_P = rng.normal(size=sum(people)), np.repeat([0, 1], people)
    noise_SP = (common_P + rng.normal(size=(seeds, len(common_P)))) / math.sqrt(2)
    distance_S1 = 1 + rng.normal(scale=SEED_NOISE, size=(seeds, 1))
    truth = float(stats.norm.cdf(1 / math.sqrt(2 + SEED_NOISE**2)))
    return Cohort("macro_auroc", two_classes(people, noise_SP + distance_S1 * y_P), None, truth)


def intervals(cohort: Cohort, resamples: int, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """(low, high) by each way."""
    drawn = scores.resample(cohort.first[0], resamples, rng)
    if cohort.second is None:
        own = scores.evaluate(cohort.first, _classes(cohort), drawn).metrics[cohort.metric]
    else:
        own = scores.difference(cohort.first, cohort.second, drawn)[cohort.metric]
    people = len(drawn.participants)
    point, spread_R, left_out_P = (
        _values(cohort, weight_RP)
        for weight_RP in (
            np.ones((1, people), np.int64), drawn.weights(cohort.first[0]),
            1 - np.eye(people, dtype=np.int64),
        )
    )  # fmt: skip
    low, high = np.nanquantile(spread_R, LEVELS)
    ways = {"own": (own.low, own.high), "percentile": (float(low), float(high))}
    return {**ways, "BCa": bca(float(point[0]), spread_R, left_out_P)}


def bca(point: float, spread_R: np.ndarray, left_out_P: np.ndarray) -> tuple[float, float]:
    """Bias-corrected and accelerated, the acceleration by the jackknife."""
    spread_R, left_out_P = (values[np.isfinite(values)] for values in (spread_R, left_out_P))
    below = ((spread_R < point).mean() + (spread_R <= point).mean()) / 2
    bias = stats.norm.ppf(np.clip(below, 1 / len(spread_R), 1 - 1 / len(spread_R)))
    apart_P = left_out_P.mean() - left_out_P
    scale = (apart_P**2).sum() ** 1.5
    acceleration = (apart_P**3).sum() / (6 * scale) if scale > 0 else 0.0
    z = bias + stats.norm.ppf(LEVELS)
    low, high = np.quantile(spread_R, stats.norm.cdf(bias + z / (1 - acceleration * z)))
    return float(low), float(high)


def coverage(make: Callable[[np.random.Generator], Cohort], name: str, size: Size) -> dict[str, list[float]]:
    """way -> [share of cohorts whose interval holds the truth, is above it, is below it, median width]."""
    held: dict[str, list[tuple[bool, bool, bool, float]]] = {}
    for i in range(size.cohorts):
        rng = rng_for("coverage", name, i)
        cohort = make(rng)
        for way, (low, high) in intervals(cohort, size.resamples, rng).items():
            row = (low <= cohort.truth <= high, cohort.truth < low, cohort.truth > high, high - low)
            held.setdefault(way, []).append(row)
    return {
        way: [*np.mean(np.array(rows)[:, :3], axis=0).tolist(), float(np.median([row[3] for row in rows]))]
        for way, rows in held.items()
    }


def _values(cohort: Cohort, weight_RP: np.ndarray) -> np.ndarray:
    """(R,): the mean over seeds, or the difference of two means."""
    sides = [
        np.mean([scores.measure(run, weight_RP)[cohort.metric] for run in runs], axis=0)
        for runs in (cohort.first, cohort.second)
        if runs is not None
    ]
    return np.asarray(sides[0] if len(sides) == 1 else sides[0] - sides[1])


def _classes(cohort: Cohort) -> tuple[str, ...]:
    return ("others", "cases") if cohort.metric == "macro_auroc" else ()


def _section(
    title: str, makers: Mapping[tuple[str, float], Callable[[np.random.Generator], Cohort]], size: Size
) -> SectionResult:
    """The table of (people, truth) -> maker, and the targets from 20 people a class on."""
    rows, own = [], {}
    for (people, truth), make in makers.items():
        for way, (inside, above, below, width) in coverage(make, f"{title} {people} {truth}", size).items():
            figures = (round(inside, 3), round(above, 3), round(below, 3), round(width, 3))
            rows.append((people, truth, way, *figures))
            if way == "own":
                own[people, truth] = inside
    head = ("people", "truth", "interval", "holds it", "lies above", "lies below", "width")
    title = f"{title}: {size.cohorts} cohorts, {size.resamples} resamples"
    enough = [share for (people, _), share in own.items() if min(map(int, people.split("+"))) >= 20]
    targets: list[Target] = [
        at_least(f"{title}: least coverage from 20 people on", LOW, min(enough), ""),
        at_most(f"{title}: most coverage from 20 people on", HIGH, max(enough), ""),
    ]
    return [Table(title, head, tuple(rows))], targets


def auroc(size: Size) -> SectionResult:
    """Balanced and unbalanced classes."""
    people = ((5, 5), (20, 20), (100, 100), (50, 5), (100, 10))
    return _section(
        "AUROC",
        {
            (f"{a}+{b}", truth): lambda rng, n=(a, b), truth=truth: auroc_cohort(n, truth, rng)  # type: ignore[misc]
            for a, b in people
            for truth in (0.7, 0.85)
        },
        size,
    )


def r2(size: Size) -> SectionResult:
    """As many people as of two classes of 5, 20 and 100, and 20 in all, the fewest of a verdict."""
    return _section(
        "R2",
        {
            (str(n), truth): lambda rng, n=n, truth=truth: r2_cohort(n, truth, rng)  # type: ignore[misc]
            for n in (10, 20, 40, 200)
            for truth in (0.3, 0.6)
        },
        size,
    )


def difference(size: Size) -> SectionResult:
    """Paired, of AUROC and of R2."""
    makers: dict[tuple[str, float], Callable[[np.random.Generator], Cohort]] = {}
    for n in (5, 20, 100):
        makers[f"{n}+{n}", 0.15] = lambda rng, n=n: auroc_pair((n, n), (0.85, 0.7), rng)  # type: ignore[misc]
        makers[str(2 * n), 0.3] = lambda rng, n=n: r2_pair(2 * n, (0.6, 0.3), rng)  # type: ignore[misc]
    return _section("difference of AUROC (a+b) and R2", makers, size)


def seeds(size: Size) -> SectionResult:
    """AUROC, mean over training seeds; percentile and BCa resample people alone."""
    tables, targets = [], []
    for count in (3, 5):
        makers = {
            (f"{n}+{n}", 0.748): lambda rng, n=n, count=count: seed_cohort((n, n), count, rng)  # type: ignore[misc]
            for n in (20, 100)
        }
        table, target = _section(f"AUROC over {count} seeds", makers, size)
        tables += table
        targets += target
    return tables, targets


SECTIONS: dict[str, Callable[[Size], SectionResult]] = {
    "auroc": auroc, "r2": r2, "difference": difference, "seeds": seeds,
}  # fmt: skip


@benchmark(SECTIONS, "25 cohorts instead of 1,000, 200 resamples instead of 500.")
@click.option("--cohorts", type=click.IntRange(min=2), help="How many cohorts of each kind.")
def main(quick: bool, json_file: str | None, only: tuple[str, ...], cohorts: int | None) -> None:
    """How often 95 % intervals hold the truth.

    \b
    Example:
      python benchmarks/interval_coverage.py --quick --json coverage.json
    """
    size = Size(cohorts or (25 if quick else 1000), 200 if quick else 500)
    report({name: partial(SECTIONS[name], size) for name in only}, json_file, quick=quick)


if __name__ == "__main__":
    main()
