"""Cramer's V over people: by hand, and against the formula."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import contingency

from octshard.eval.robustness.association import association
from octshard.probes.grouped_scans import Scans
from octshard.rng import rng_for
from tests.support.made_scans import made_scans


def table(counts: list[list[int]], scans_each: int = 1) -> Scans:
    """So many people of each class (row) on each device (column)."""
    y, group, people = [], [], []
    for c, row in enumerate(counts):
        for g, count in enumerate(row):
            for _ in range(count):
                y += [c] * scans_each
                group += [g] * scans_each
                people += [f"p{len(people):04}"] * scans_each
    names = tuple(people)
    return Scans(
        np.zeros((len(y), 1)), np.array(y), np.array(group), names, names, ("train",) * len(y),
        tuple("abcd"[: len(counts)]), tuple("ABCD"[: len(counts[0])]),
    )  # fmt: skip


@pytest.mark.parametrize("scans_each", [1, 3])
def test_by_hand(scans_each):
    """chi2 = n (ad - bc)^2 / (all margins) = 40 (15*15 - 5*5)^2 / 20^4 = 10; V = sqrt(10 / 40) = 0.5."""
    result = association(table([[15, 5], [5, 15]], scans_each), 199, rng_for(1))
    assert result.cramers_v == pytest.approx(0.5)
    assert result.people_CG == ((15, 5), (5, 15))
    assert result.p < 0.02


def test_everybody_on_every_device_is_no_association():
    result = association(made_scans(1, 1), 50, rng_for(1))
    assert (result.cramers_v, result.p) == (pytest.approx(0, abs=1e-9), 1.0)


def test_class_that_is_the_device_is_1():
    assert association(table([[9, 0, 0], [0, 9, 0], [0, 0, 9]]), 9, rng_for(1)).cramers_v == pytest.approx(1)


def test_labels_that_mean_nothing_have_no_small_p():
    p = np.array(
        [association(made_scans(0, 0, people=40, goes_with=0.0, seed=s), 99, rng_for(s)).p for s in range(60)]
    )
    assert (p <= 0.05).mean() < 0.15
    assert (p <= 0.6).mean() > 0.35


@pytest.mark.parametrize("seed", range(3))
def test_as_scipy_has_it(seed):
    counts = rng_for("counts", seed).integers(1, 9, size=(3, 4))
    expected = contingency.association(counts, method="cramer")
    assert association(table(counts.tolist()), 1, rng_for(1)).cramers_v == pytest.approx(expected)


def test_a_device_that_nobody_has_does_not_count():
    scans = table([[15, 5], [5, 15]])
    more = dataclasses.replace(scans, groups=("A", "B", "C"))
    assert association(more, 9, rng_for(1)).cramers_v == pytest.approx(0.5)


def test_classes_of_eyes_are_dealt_person_by_person() -> None:
    """Both eyes of everybody are alike, so that V of 20 people is that of 40 eyes, and so is p."""
    by_person = made_scans(0, 0, people=20, goes_with=0.6, seed=3)
    twice = by_person.part(np.repeat(np.arange(20), 2))
    units = tuple(f"{p}/{'LR'[n % 2]}" for n, p in enumerate(twice.participants))
    eyes = dataclasses.replace(twice, units=units)
    one, other = (association(scans, 400, rng_for("deals")) for scans in (by_person, eyes))
    assert other.cramers_v == pytest.approx(one.cramers_v)
    assert np.array_equal(np.array(other.people_CG), 2 * np.array(one.people_CG))
    assert other.p == pytest.approx(one.p, abs=0.05)
