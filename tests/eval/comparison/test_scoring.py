"""Arms, ensembles and pairs: by hand, on noise, and on what is better by construction."""

import dataclasses
import math

import numpy as np
import pytest

from octshard.eval.comparison import scoring
from octshard.eval.comparison.holm import holm
from octshard.eval.comparison.scoring import ALL, Rules, ensemble, ensembles, label_p, pairs, scored, winner
from octshard.probes import scores
from octshard.probes.scores import Predictions, Resamples
from octshard.rng import rng_for

CLASSES = ("a", "b")
PEOPLE = 60
Y = np.arange(PEOPLE) % 2
RULES = Rules(400, 99, 0, {"a": 30, "b": 30})


def run(name: object, strength: float) -> Predictions:
    """Two classes, one score: that of the others moved by `strength` standard deviations."""
    z = rng_for("run", name).normal(size=PEOPLE) + strength * Y
    p = 1 / (1 + np.exp(-z))
    return Predictions(tuple(f"p{n:02}" for n in range(PEOPLE)), np.stack([1 - p, p], axis=1), Y)


def resamples() -> Resamples:
    return scores.resample(run(0, 0), 400, rng_for("bootstrap"))


def arm(name: str, *runs: Predictions) -> scoring.ScoredArm:
    return scored(name, runs, CLASSES, resamples())


def test_an_ensemble_by_hand():
    one = Predictions(("p", "q"), np.array([[0.9, 0.1], [0.3, 0.7]]), np.array([0, 1]))
    other = dataclasses.replace(one, p_PC=np.array([[0.5, 0.5], [0.6, 0.4]]))
    together = ensemble((one, other))
    np.testing.assert_allclose(together.p_PC, [[0.7, 0.3], [0.45, 0.55]])
    assert together.participants == ("p", "q")


def test_ensembles_of_seeds_and_of_all_with_the_same_weight_for_each_arm():
    many, few = (run(0, 1), run(1, 1), run(2, 1)), (run(3, 1),)
    made = ensembles({"many": many, "few": few}, CLASSES, resamples())
    assert [each.name for each in made] == ["many, ensemble of 3", ALL]
    expected = (np.mean([each.p_PC for each in many], axis=0) + few[0].p_PC) / 2
    np.testing.assert_allclose(made[1].runs[0].p_PC, expected)
    assert all(each.is_ensemble for each in made)
    assert ensembles({"few": few}, CLASSES, resamples()) == ()


def test_the_spread_over_seeds():
    each = [run(n, 1.0) for n in range(3)]
    scored_arm = arm("x", *each)
    aurocs = [scores.macro_auroc(one) for one in each]
    assert scored_arm.of_seeds == tuple(aurocs)
    assert scored_arm.spread == pytest.approx(np.std(aurocs, ddof=1))
    assert scored_arm.score.metrics["macro_auroc"].value == pytest.approx(np.mean(aurocs))
    assert math.isnan(arm("x", each[0]).spread)


def test_every_pair_is_in_one_family():
    arms = [arm("weak", run(0, 0)), arm("strong", run(1, 3)), arm("strongest", run(2, 5))]
    together = ensembles({each.name: each.runs for each in arms}, CLASSES, resamples())[-1]
    compared = pairs(arms, together, resamples(), RULES)
    assert [(pair.first, pair.second) for pair in compared] == [
        ("weak", "strong"), ("weak", "strongest"), ("strong", "strongest"),
        (ALL, "weak"), (ALL, "strong"), (ALL, "strongest"),
    ]  # fmt: skip
    assert [pair.holm_p for pair in compared] == holm([pair.p for pair in compared])
    first = compared[0]
    assert first.verdict.verdict == "worse"
    assert first.text.startswith("strong is better than weak by 0.")
    assert first.text.endswith(f"(Holm p = {first.holm_p:.3f}).")
    expected = scores.macro_auroc(arms[0].runs[0]) - scores.macro_auroc(arms[1].runs[0])
    assert first.difference["macro_auroc"].value == pytest.approx(expected)


def test_holm_keeps_a_winner_from_being_called_that_one_test_would_call():
    """A p between 0.05 / 15 and 0.05: alone a verdict, in a family of 15 none."""
    arms = [arm(f"noise {n}", run(("noise", n), 0.8)) for n in range(5)]
    arms.append(arm("better", run(("better", 3), 1.6)))
    alone = {pair.first: pair for pair in pairs([arms[0], arms[5]], None, resamples(), RULES)}
    family = pairs(arms, None, resamples(), RULES)
    same = next(pair for pair in family if (pair.first, pair.second) == ("noise 0", "better"))
    assert same.p == alone["noise 0"].p
    assert same.holm_p >= min(1, same.p)
    assert len(family) == 15
    for pair in family:
        if pair.holm_p > 0.05:
            assert pair.verdict.verdict == "cannot tell"
            assert "in a family of 15, want at most 0.05" in pair.verdict.reasons["swap_p"]


def test_noise_has_no_winner():
    for seed in range(4):
        arms = [arm(name, run((name, seed), 0.0)) for name in ("x", "y", "z")]
        compared = pairs(arms, None, resamples(), RULES)
        assert winner(arms, compared) == ""
        assert all("Cannot tell" in pair.text for pair in compared)


def test_the_winner_is_better_than_every_other():
    arms = [arm("weak", run(0, 0)), arm("strong", run(1, 5)), arm("middle", run(2, 1.5))]
    compared = pairs(arms, None, resamples(), RULES)
    assert winner(arms, compared) == "strong"
    assert winner(arms[:1], ()) == ""


def test_few_people_of_a_class_have_no_winner():
    rules = dataclasses.replace(RULES, participants={"a": 9, "b": 51})
    arms = [arm("weak", run(0, 0)), arm("strong", run(1, 5))]
    (pair,) = pairs(arms, None, resamples(), rules)
    assert pair.verdict.verdict == "cannot tell"
    assert "fewer than 10 test participants in a (9)" in pair.text
    assert winner(arms, (pair,)) == ""


def test_two_that_know_nothing_are_not_told_apart_even_if_they_differ():
    """One is as far below chance as the other above: the better one is no better than dealt labels."""
    rules = dataclasses.replace(RULES, deals=9)  # p of 0.1 at best
    arms = [arm("below", run(0, -1.5)), arm("above", run(1, 1.5))]
    (pair,) = pairs(arms, None, resamples(), rules)
    assert pair.verdict.verdict == "cannot tell"
    assert "labels dealt at random reach as much as the better one (p = 0.100" in pair.text


def test_label_p_is_small_for_who_knows_and_large_for_who_does_not():
    assert label_p(arm("knows", run(0, 3)), RULES) == pytest.approx(0.01)
    values = [label_p(arm("x", run(("nothing", n), 0)), RULES) for n in range(20)]
    assert 0.2 < np.mean(values) < 0.8
