"""The robustness index: known answers, and every resample against people copied and left out by hand."""

import numpy as np
import pytest

from octshard.probes import scores
from octshard.probes.grouped_scans import Scans, people_of, unit_rows
from octshard.probes.neighbours import robustness_index
from octshard.rng import rng_for
from tests.support.made_scans import made_scans


def index_of(scans: Scans, neighbours: int = 10, resamples: int = 200):
    weight_RP = scores.draw_resamples(people_of(scans).y_P, resamples, rng_for("resamples"))
    return robustness_index(scans, neighbours, weight_RP, rng_for("ties"))


@pytest.mark.parametrize("goes_with", [None, 0.0, 0.7])
def test_device_alone_is_0_and_biology_alone_is_1(goes_with):
    device = index_of(made_scans(0, 40, goes_with=goes_with))
    assert device.index.value < 0.03
    assert device.index.high < device.chance
    biology = index_of(made_scans(40, 0, goes_with=goes_with))
    assert biology.index.value > 0.97
    assert biology.index.low > biology.chance


@pytest.mark.parametrize("seed", range(6))
def test_noise_holds_chance(seed):
    noise = index_of(made_scans(0, 0, seed=seed))
    assert noise.index.low < noise.chance < noise.index.high
    assert noise.chance == pytest.approx(0.5, abs=0.01)


def test_by_hand():
    """Four people on a line, one scan each: a-A at 0, a-B at 1, b-B at 2.1, b-A at 3.3."""
    scans = Scans(
        np.array([[0.0, 10.0], [1.0, 9.0], [2.1, 4.0], [3.3, 0.0]]),
        np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0]),
        ("p", "q", "r", "s"), ("p", "q", "r", "s"), ("test",) * 4, ("a", "b"), ("A", "B"),
    )  # fmt: skip
    cosine_NN = (unit := unit_rows(scans.values_NF)) @ unit.T - 9 * np.eye(4)
    nearest = cosine_NN.argmax(axis=1)
    assert nearest.tolist() == [1, 0, 3, 2]  # all of the same class on another device
    result = index_of(scans, resamples=1)
    assert (result.index.value, result.neighbours) == (1.0, 1)
    assert result.chance == pytest.approx(4 / 8)  # each has one of the same class and one of the same device


def test_a_resample_is_people_copied_and_left_out():
    """The index of weights is the plain index of a table in which people stand as often as they are drawn."""
    scans = made_scans(1, 1, people=30, groups=3)
    weight_P = rng_for("weights").multinomial(30, np.full(30, 1 / 30))
    assert (weight_P == 0).any()
    counted = 4
    result = robustness_index(scans, counted, np.stack([weight_P] * 2), rng_for("ties"))
    unit_NF, owner_N = unit_rows(scans.values_NF).astype(float), people_of(scans).owner_N
    copies = [n for n, p in enumerate(owner_N) for _ in range(weight_P[p])]
    same = other = 0.0
    for n in copies:
        others = [m for m in copies if owner_N[m] != owner_N[n]]
        near = sorted(others, key=lambda m: -unit_NF[n] @ unit_NF[m])[:counted]
        for m in near:
            same += (scans.y_N[m] == scans.y_N[n]) and (scans.group_N[m] != scans.group_N[n])
            other += (scans.y_N[m] != scans.y_N[n]) and (scans.group_N[m] == scans.group_N[n])
    assert result.index.low == pytest.approx(same / (same + other))


def test_a_persons_own_scans_are_no_neighbours():
    """Everybody's two scans are alike, and far from all others: the index is that of the others."""
    scans = made_scans(0, 0, people=40)
    own = rng_for("own").normal(size=(40, 8))[people_of(scans).owner_N] * 100
    alike = Scans(own + scans.values_NF, *list(vars(scans).values())[1:])
    result = index_of(alike)
    assert result.index.low < result.chance < result.index.high


def test_chance_by_counting_pairs():
    scans = made_scans(1, 1, people=20, groups=3, classes=3, goes_with=0.5)
    same = other = 0.0
    for n, person in enumerate(scans.participants):
        for m, stranger in enumerate(scans.participants):
            if person != stranger:
                same_class = scans.y_N[n] == scans.y_N[m]
                same_group = scans.group_N[n] == scans.group_N[m]
                same += same_class and not same_group
                other += same_group and not same_class
    assert index_of(scans).chance == pytest.approx(same / (same + other))


def test_no_more_neighbours_than_the_smallest_class_has():
    scans = made_scans(1, 1, people=30)
    few = scans.part((scans.y_N == 0) | np.isin(np.array(scans.participants), ["p0001", "p0003"]))
    assert index_of(few).neighbours == 2  # the two scans of the other person of class b


def test_one_class_is_no_index():
    scans = made_scans(1, 1, people=30)
    result = index_of(scans.part(scans.y_N == 0))
    assert result.index.value != 0
    assert not np.isfinite(result.chance) or result.index.value == result.chance
