"""benchmarks/interval_coverage.py: its truths, and its own BCa against SciPy's."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from octshard.probes import scores
from octshard.rng import rng_for

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def coverage() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module("interval_coverage")
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_truths_are_what_large_cohorts_give(coverage: ModuleType) -> None:
    rng, n = rng_for("truths"), 40_000
    makers = {
        "auroc": lambda: coverage.auroc_cohort((n, n), 0.85, rng),
        "r2": lambda: coverage.r2_cohort(n, 0.3, rng),
        "auroc pair": lambda: coverage.auroc_pair((n, n), (0.85, 0.7), rng),
        "r2 pair": lambda: coverage.r2_pair(n, (0.6, 0.3), rng),
    }
    for make in makers.values():
        cohort = make()
        values = [
            scores.measure(runs[0], scores.once(runs[0]))[cohort.metric][0]
            for runs in (cohort.first, cohort.second)
            if runs is not None
        ]
        assert (values[0] if len(values) == 1 else values[0] - values[1]) == pytest.approx(
            cohort.truth, abs=0.012
        )


def test_bca_is_that_of_scipy(coverage: ModuleType) -> None:
    x_P = rng_for("bca").exponential(size=30)
    drawn = scores.draw_resamples(np.zeros(30), 4000, rng_for("bca draws"))
    left_out_P = (x_P.sum() - x_P) / 29
    own = coverage.bca(x_P.mean(), (drawn * x_P).mean(axis=1), left_out_P)
    reference = stats.bootstrap((x_P,), np.mean, n_resamples=4000, method="BCa", rng=1).confidence_interval
    assert own == pytest.approx((reference.low, reference.high), abs=0.03)
