"""Draws of people: the counts asked for, one scan a person, and the most that there can be."""

import numpy as np
import pytest
from scipy.stats import contingency

from octshard.eval.robustness.association import association
from octshard.eval.robustness.correlated_draw import Pairing, draw, largest, pairing
from octshard.rng import rng_for
from tests.eval.robustness.test_association import table
from tests.support.made_scans import made_scans

STRAIGHT = Pairing(np.eye(2, dtype=bool))
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


def test_counts_by_hand():
    assert STRAIGHT.counts(8, 0.0).tolist() == [[4, 4], [4, 4]]
    assert STRAIGHT.counts(8, 0.5).tolist() == [[6, 2], [2, 6]]
    assert STRAIGHT.counts(8, 1.0).tolist() == [[8, 0], [0, 8]]
    assert STRAIGHT.counts(7, 0.0).sum(axis=1).tolist() == [7, 7]


@pytest.mark.parametrize("strength", STRENGTHS)
def test_strength_is_cramers_v_of_two_by_two(strength):
    counts = STRAIGHT.counts(80, strength)
    expected = contingency.association(counts, method="cramer")
    assert expected == pytest.approx(strength)
    scans = made_scans(1, 1, people=240)
    drawn = scans.part(draw(scans, STRAIGHT, strength, 80, rng_for(1)))
    assert association(drawn, 1, rng_for(1)).people_CG == tuple(map(tuple, counts.tolist()))
    assert len(set(drawn.participants)) == len(drawn.participants) == 160


@pytest.mark.parametrize(("classes", "groups"), [(2, 2), (2, 4), (4, 2), (3, 2), (3, 5)])
def test_every_class_has_its_groups_and_every_group_its_classes(classes, groups):
    match_CG = pairing(classes, groups, rng_for("pairing")).match_CG
    assert match_CG.any(axis=0).all()
    assert match_CG.any(axis=1).all()
    assert match_CG.sum() == max(classes, groups)


def test_the_most_people_by_hand():
    """One device a person. Cells [[30, 6], [8, 20]]: of 13 of class a, at strength 0, 7 are on A and 6 on B,
    where there are no more. The other way round, at strength 1, all of class a are on B.
    """
    scans = table([[30, 6], [8, 20]])
    assert largest(scans, [STRAIGHT], STRENGTHS) == 13
    assert largest(scans, [Pairing(np.eye(2, dtype=bool)[::-1])], STRENGTHS) == 6


def test_everybody_on_every_device_can_all_be_drawn():
    scans = made_scans(1, 1, people=60, groups=3)
    assert largest(scans, [pairing(2, 3, rng_for(n)) for n in range(3)], STRENGTHS) == 30


def test_a_mixed_table_is_matched_not_dealt_greedily():
    """Class a: two people have both devices, two have A alone. Two on each: the two must give B."""
    scans = table([[4, 0], [2, 2]])
    both = [n for n, name in enumerate(scans.participants) if name in ("p0000", "p0001")]
    rows = list(range(8)) + both
    mixed = scans.part(np.array(rows))
    mixed.group_N[8:] = 1
    places = draw(mixed, STRAIGHT, 0.0, 4, rng_for(1))
    drawn = mixed.part(places)
    assert sorted(zip(drawn.participants, drawn.group_N.tolist(), strict=True))[:4] == [
        ("p0000", 1), ("p0001", 1), ("p0002", 0), ("p0003", 0),
    ]  # fmt: skip


def test_too_many_is_an_error():
    with pytest.raises(ValueError, match="too few people"):
        draw(table([[4, 0], [2, 2]]), STRAIGHT, 0.0, 4, rng_for(1))
