"""Labels dealt among people: who keeps what, and p where labels mean nothing."""

import numpy as np
import pytest

from octshard.probes.dealt_labels import deal, label_p
from octshard.probes.examples import Examples, shuffled
from octshard.probes.predictions import Predictions
from octshard.rng import rng_for


def test_all_labels_of_a_person_go_to_another_one_in_their_order() -> None:
    person_U = np.tile(np.arange(10), 3)  # rows of a person do not stand together
    label_U = np.arange(30)
    dealt_U = deal(label_U, person_U, rng_for("deal"))
    givers = [dealt_U[person_U == person] % 10 for person in range(10)]
    assert all(len(set(giver.tolist())) == 1 for giver in givers)
    assert sorted(giver[0] for giver in givers) == list(range(10))
    assert all((np.diff(dealt_U[person_U == person]) == 10).all() for person in range(10))
    assert (dealt_U != label_U).any()


def test_those_of_one_row_are_permuted_as_a_list_is() -> None:
    y_U = np.arange(20) ** 2
    expected = rng_for("deal").permutation(y_U)
    np.testing.assert_array_equal(deal(y_U, np.arange(20), rng_for("deal")), expected)


@pytest.mark.parametrize("counts", [[1, 2, 3, 4], [1] * 8 + [2] * 8 + [9], [1] * 3 + [2] * 20, [5]])
def test_no_label_is_lost_or_doubled_whatever_the_counts(counts: list[int]) -> None:
    person_U = np.repeat(np.arange(len(counts)), counts)
    for seed in range(20):
        dealt_U = deal(np.arange(len(person_U)), person_U, rng_for(seed))
        assert sorted(dealt_U) == list(range(len(person_U)))


def test_people_of_as_many_rows_deal_among_themselves() -> None:
    counts = np.repeat([1, 2], [8, 8])
    person_U = np.repeat(np.arange(16), counts)
    for seed in range(20):
        giver_U = deal(person_U, person_U, rng_for(seed))
        np.testing.assert_array_equal(counts[giver_U], counts[person_U])


def test_people_of_whom_none_has_as_many_rows_give_theirs_away_too() -> None:
    person_U = np.repeat(np.arange(9), np.arange(1, 10))
    kept = [(deal(person_U, person_U, rng_for(seed)) == person_U).mean() for seed in range(50)]
    assert np.mean(kept) < 0.4


def noise(rows: int, seed: int) -> Predictions:
    """30 people of `rows` rows, each with one label and one guess that tells nothing of it."""
    rng, people = rng_for("null", seed), 30
    y_P = rng.permutation(np.arange(people) % 2).repeat(rows)
    z_P = rng.normal(size=people).repeat(rows) + 0.1 * rng.normal(size=people * rows)
    p_P = 1 / (1 + np.exp(-z_P))
    names = np.arange(people).repeat(rows)
    units = tuple(f"{name}/{i}" for i, name in enumerate(names))
    return Predictions(tuple(map(str, names)), np.stack([1 - p_P, p_P], axis=1), y_P, units)


@pytest.mark.parametrize("rows", [1, 2, 8])
def test_p_of_labels_that_mean_nothing_is_small_no_more_often_than_it_says(rows: int) -> None:
    """Torn apart, the labels of 8 scans of a person give p <= 0.05 in 23 of these 120 draws."""
    p_values = np.array([label_p([noise(rows, seed)], 39, rng_for("deals", seed)) for seed in range(120)])
    assert (p_values <= 0.05).mean() <= 0.11  # 0.05 and three standard errors
    assert abs(p_values.mean() - 0.5) < 0.1


def test_the_shuffled_control_keeps_the_eyes_of_a_person_together() -> None:
    people = tuple(f"p{i:02}" for i in range(20) for _ in range(4))
    units = tuple(f"{person}/{'LLRR'[i % 4]}" for i, person in enumerate(people))
    y_N = np.repeat(np.arange(20) % 2, 4)
    dealt = shuffled(Examples(np.zeros((80, 1)), y_N, people, units), rng_for("deal", 1))
    assert all(len(set(row)) == 1 for row in dealt.y_N.reshape(20, 4))
    assert (dealt.y_N != y_N).any()


def test_labels_dealt_anew_seldom_reach_a_perfect_score_and_always_that_of_chance() -> None:
    y_P, names = np.arange(40) % 2, tuple(f"p{i}" for i in range(40))
    perfect, constant = np.eye(2)[y_P], np.full((40, 2), 0.5)
    assert label_p([Predictions(names, perfect, y_P)], 199, rng_for("p")) == pytest.approx(1 / 200)
    assert label_p([Predictions(names, constant, y_P)], 199, rng_for("p")) == 1
