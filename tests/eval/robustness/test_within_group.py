"""The score within a device: against every pair counted, and on planted shortcuts."""

import itertools

import numpy as np
import pytest

from octshard.eval.robustness.within_group import within_group
from octshard.probes import linear, scores
from octshard.probes.grouped_scans import Scans, people_of
from octshard.rng import rng_for
from tests.support.made_scans import made_scans

GRID = (1e-2, 1.0)


def within(scans: Scans):
    weight_RP = scores.draw_resamples(people_of(scans.split("test")).y_P, 200, rng_for("resamples"))
    return within_group(scans, GRID, weight_RP)


def test_a_planted_shortcut_is_what_the_score_came_from():
    result = within(made_scans(0, 30, people=240, goes_with=0.8))
    assert result.overall.low > 0.7
    assert result.within.low < 0.5 < result.within.high
    assert result.given.low > 0.1


def test_biology_remains_within_a_device():
    result = within(made_scans(30, 0, people=240, goes_with=0.8))
    assert (result.overall.value, result.within.value, result.given.value) == (1, 1, 0)


def test_noise_gives_nothing():
    result = within(made_scans(0, 0, people=240, goes_with=0.8))
    assert result.given.low <= 0 <= result.given.high


def test_by_counting_pairs():
    """A second method: every pair of test people of two classes, those of one device alone."""
    scans = made_scans(1, 2, people=90, goes_with=0.5)
    train, val, test = (scans.split(name) for name in ("train", "val", "test"))
    p_N = linear.predict(linear.fit(train.examples(), val.examples(), GRID), test.values_NF)[:, 1]
    wins = {False: [], True: []}
    for n, m in itertools.product(range(len(p_N)), repeat=2):
        if test.y_N[n] == 1 and test.y_N[m] == 0:
            win = (p_N[n] > p_N[m]) + (p_N[n] == p_N[m]) / 2
            wins[False].append(win)
            if test.group_N[n] == test.group_N[m]:
                wins[True].append(win)
    result = within(scans)
    assert result.overall.value == pytest.approx(np.mean(wins[False]))
    assert result.within.value == pytest.approx(np.mean(wins[True]))
    assert result.given.value == pytest.approx(np.mean(wins[False]) - np.mean(wins[True]))


def test_a_class_that_is_the_device_leaves_nothing_within():
    result = within(made_scans(0, 30, people=120, goes_with=1.0))
    assert result.reason == "no group has test people of two classes"
    assert result.overall.value == pytest.approx(1)
    assert np.isnan(result.within.value)
