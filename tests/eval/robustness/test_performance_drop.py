"""The performance drop: there where a head can read the device, absent where it cannot."""

import math

import pytest

from octshard.eval.robustness.performance_drop import STRENGTHS, DrawSettings, performance_drop
from octshard.probes import scores
from octshard.probes.grouped_scans import Scans, people_of
from octshard.rng import rng_for
from tests.support.made_scans import made_scans

SETTINGS = DrawSettings(3, (1e-2, 1.0), 0)


def drop_of(scans: Scans):
    weight_RP = scores.draw_resamples(people_of(scans.split("test")).y_P, 200, rng_for("resamples"))
    return performance_drop(scans, weight_RP, SETTINGS)


def test_device_beside_biology_drops():
    result = drop_of(made_scans(1.5, 30, people=240))
    first, *others = (result.score_of[s].value for s in STRENGTHS)
    assert result.absolute.value == pytest.approx(sum(others) / 4 - first)
    assert result.drop.value == pytest.approx((sum(others) / 4 - first) / first)
    assert (result.train, result.test, result.reason) == (40, 40, "")
    assert result.drop.high < -0.05
    assert list(result.score_of) == list(STRENGTHS)
    assert result.score_of[0.0].value > 0.75
    assert result.score_of[1.0].value < result.score_of[0.0].value - 0.1


def test_biology_alone_does_not_drop():
    assert drop_of(made_scans(30, 0, people=240)).drop.value == pytest.approx(0, abs=0.01)


def test_device_alone_has_nothing_to_lose():
    result = drop_of(made_scans(0, 30, people=240))
    assert result.drop.low < 0 < result.drop.high


def test_too_few_people_are_said():
    result = drop_of(made_scans(1, 1, people=24, goes_with=1.0))
    assert result.reason == (
        "too few people in train: 0 of each class can be drawn with and without correlation, want at least 4"
    )
    assert not math.isnan(result.train)
    assert math.isnan(result.drop.value)


def test_people_who_are_correlated_already_are_drawn_in_their_own_direction():
    """Of 60 train people few are on the other class's device: what goes the other way cannot be had."""
    scans = made_scans(1.5, 30, people=180, goes_with=0.7)
    result = drop_of(scans)
    train = scans.split("train")
    others = [int(((train.y_N == c) & (train.group_N != c)).sum()) for c in (0, 1)]
    assert result.train in (2 * min(others), 2 * min(others) + 1)
    assert result.reason == ""
