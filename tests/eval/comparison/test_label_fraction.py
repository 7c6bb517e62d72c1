"""Shares of the labels: people of each class with all their scans, and what is too little."""

import numpy as np
import pytest

from octshard.eval.comparison.label_fraction import draw, plan
from octshard.probes.examples import Examples
from octshard.rng import rng_for

CLASSES = ("ill", "well")


def examples(ill: int, well: int, scans_each: int = 3) -> Examples:
    people = [f"i{n}" for n in range(ill)] + [f"w{n}" for n in range(well)]
    participants = tuple(np.repeat(people, scans_each).tolist())
    y_N = np.array([0 if person[0] == "i" else 1 for person in participants])
    return Examples(np.arange(len(y_N))[:, None].astype(float), y_N, participants)


@pytest.mark.parametrize(
    ("fraction", "people"), [(1.0, (20, 60)), (0.1, (2, 6)), (0.125, (3, 8)), (0.5, (10, 30))]
)
def test_people_of_each_class(fraction, people):
    train = examples(20, 60)
    chosen = plan(train, fraction, CLASSES)
    assert (chosen.people, chosen.reason) == (people, "")
    part = draw(train, chosen, rng_for(1))
    assert len(set(part.participants)) == sum(people)
    assert len(part.y_N) == 3 * sum(people)  # all scans of who is drawn
    assert np.array_equal(train.y_N[part.x_NF[:, 0].astype(int)], part.y_N)
    assert [train.participants[int(n)] for n in part.x_NF[:, 0]] == list(part.participants)


def test_all_labels_are_the_train_set_itself():
    train = examples(4, 5)
    part = draw(train, plan(train, 1.0, CLASSES), rng_for(3))
    assert np.array_equal(part.x_NF, train.x_NF)
    assert part.participants == train.participants


def test_too_few_people_are_a_reason():
    assert (
        plan(examples(20, 60), 0.01, CLASSES).reason == "1 % of 20 train people of ill are 0, want at least 2"
    )
    assert plan(examples(120, 149), 0.01, CLASSES).reason == (
        "1 % of 120 train people of ill are 1, want at least 2"
    )


def test_draws_differ_by_their_seed_alone():
    train = examples(20, 60)
    chosen = plan(train, 0.25, CLASSES)
    one, again, other = (draw(train, chosen, rng_for(seed)).participants for seed in (1, 1, 2))
    assert one == again != other


def test_numbers_are_drawn_from_all():
    some = examples(20, 60)
    train = Examples(some.x_NF, np.arange(len(some.y_N)) // 3 / 7.0, some.participants)
    chosen = plan(train, 0.25, ())
    assert (chosen.people, chosen.reason) == ((20,), "")
    assert len(set(draw(train, chosen, rng_for(1)).participants)) == 20
    assert plan(train, 0.05, ()).reason == "5 % of 80 train people are 4, want at least 8"
