"""Same-eye pairs: by hand, by chance, and behind a shift between devices."""

import dataclasses

import numpy as np
import pytest

from octshard.eval.robustness.eye_pairs import eye_pairs
from octshard.probes.grouped_scans import people_of
from octshard.rng import rng_for
from tests.support.made_scans import made_scans


def test_an_eye_that_looks_the_same_on_both_is_found_behind_a_shift():
    scans = made_scans(0, 0, people=40)
    own = rng_for("eyes").normal(size=(40, 8))[people_of(scans).owner_N] * 10
    shift = scans.group_N[:, None] * np.linspace(40, -40, 8)
    result = eye_pairs(dataclasses.replace(scans, values_NF=own + scans.values_NF + shift), 100, rng_for(1))
    assert (result.pairs, result.people) == (80, 40)
    assert result.within_device.first.value > 0.95
    assert result.within_device.rank.value < 0.01
    assert result.within_device.distance.value < 0.1
    assert result.raw.distance.value > result.within_device.distance.value
    assert result.raw.chance == pytest.approx(1 / 40)


def test_noise_is_at_chance():
    result = eye_pairs(made_scans(0, 0, people=60), 200, rng_for(1))
    assert result.raw.rank.low < 0.5 < result.raw.rank.high
    assert result.raw.first.low <= result.raw.chance <= result.raw.first.high
    assert result.raw.distance.low < 1 < result.raw.distance.high


def test_features_that_are_all_alike_tie():
    scans = made_scans(0, 0, people=10)
    result = eye_pairs(dataclasses.replace(scans, values_NF=np.ones_like(scans.values_NF)), 10, rng_for(1))
    assert result.raw.rank.value == pytest.approx(0.5)
    assert result.raw.first.value == pytest.approx(0.1)  # one of ten that are all as near


def test_by_hand():
    """Three eyes on A and B on a circle: p is nearest to itself, q and r have changed places."""
    scans = made_scans(0, 0, people=3)
    at = {
        ("p0000", 0): 0,
        ("p0001", 0): 2,
        ("p0002", 0): 4,
        ("p0000", 1): 0,
        ("p0001", 1): 4,
        ("p0002", 1): 2,
    }
    angles = np.array([at[key] for key in zip(scans.participants, scans.group_N.tolist(), strict=True)])
    values = np.stack([np.cos(angles * np.pi / 3), np.sin(angles * np.pi / 3)], axis=1)
    result = eye_pairs(dataclasses.replace(scans, values_NF=values), 10, rng_for(1))
    assert result.pairs == 6
    assert result.raw.first.value == pytest.approx(1 / 3)
    assert result.raw.rank.value == pytest.approx((0 + 0.75 + 0.75) / 3)  # q: r first, then a tie of p and q


def test_one_device_has_no_pairs():
    scans = made_scans(0, 0, people=10)
    result = eye_pairs(scans.part(scans.group_N == 0), 10, rng_for(1))
    assert (result.pairs, result.people) == (0, 0)
    assert np.isnan(result.raw.rank.value)
