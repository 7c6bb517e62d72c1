"""Verdicts: better or worse only without a reason against it, and seldom enough on noise."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import pytest

from octshard.eval.verdict import BETTER, UNTOLD, WORSE, Evidence, bracketed, judge
from octshard.probes import scores
from octshard.probes.scores import Estimate, Predictions
from octshard.rng import rng_for

SOUND = Evidence(Estimate(0.05, 0.01, 0.11), 0.004, 0.02, {"a": 12, "b": 10})


@pytest.mark.parametrize(
    ("change", "verdict", "reasons"),
    [
        ({}, BETTER, set()),
        ({"gain": Estimate(-0.05, -0.11, -0.01)}, WORSE, set()),
        ({"gain": Estimate(-0.05, -0.11, -0.01), "shuffled_p": 0.9}, WORSE, set()),
        ({"gain": Estimate(0.05, -0.02, 0.11)}, UNTOLD, {"holds_zero"}),
        ({"gain": Estimate(0.05, 0.0, 0.11)}, UNTOLD, {"holds_zero"}),
        ({"gain": Estimate(-0.05, -0.11, 0.0)}, UNTOLD, {"holds_zero"}),
        ({"gain": Estimate(0.05, -0.11, -0.01)}, UNTOLD, {"holds_zero"}),
        ({"gain": Estimate(0.5, 0.5, 0.5)}, UNTOLD, {"no_width"}),
        ({"gain": Estimate(0.0, 0.0, 0.0), "swap_p": 1.0}, UNTOLD, {"no_width", "swap_p"}),
        (
            {"gain": Estimate(math.nan, math.nan, math.nan), "swap_p": math.nan},
            UNTOLD,
            {"undefined", "swap_p"},
        ),
        ({"gain": Estimate(0.05, math.nan, math.nan)}, UNTOLD, {"undefined"}),
        ({"swap_p": 0.051}, UNTOLD, {"swap_p"}),
        ({"shuffled_p": 1 / 5}, UNTOLD, {"shuffled_p"}),
        ({"participants": {"a": 200, "b": 9}}, UNTOLD, {"few_participants"}),
        ({"participants": {"a": 200, "b": 200, "c": 0}}, UNTOLD, {"few_participants"}),
        ({"kind": "numbers", "participants": {"age": 19}}, UNTOLD, {"few_participants"}),
        ({"kind": "numbers", "participants": {"age": 20}}, BETTER, set()),
        ({"kind": "ordinal", "participants": {"0": 20, "1": 9}}, UNTOLD, {"few_participants"}),
        ({"seed_gains": (0.04, 0.06)}, BETTER, set()),
        ({"seed_gains": (0.11, -0.01)}, UNTOLD, {"seed_spread"}),
        ({"seed_gains": (0.1, 0.0)}, UNTOLD, {"seed_spread"}),
        ({"gain": Estimate(-0.05, -0.11, -0.01), "seed_gains": (-0.2, 0.1)}, UNTOLD, {"seed_spread"}),
        ({"participants": {"a": 1, "b": 1}, "swap_p": 1.0}, UNTOLD, {"few_participants", "swap_p"}),
    ],
)
def test_a_winner_is_named_only_where_nothing_speaks_against_it(change, verdict, reasons):
    judged = judge(dataclasses.replace(SOUND, **change))
    assert (judged.verdict, set(judged.reasons)) == (verdict, reasons)


def test_sentences():
    assert judge(SOUND).sentence("x", SOUND.gain) == (
        "Pretrained is better than x by 0.050 [0.010, 0.110] macro AUROC (p = 0.004)."
    )
    worse = dataclasses.replace(SOUND, gain=Estimate(-0.05, -0.11, -0.01))
    assert judge(worse).sentence("x", worse.gain) == (
        "Pretrained is worse than x by 0.050 [0.010, 0.110] macro AUROC (p = 0.004)."
    )
    untold = Evidence(Estimate(-0.05, -0.11, 0.02), 0.3, 0.9, {"a": 3, "b": 12, "c": 0})
    assert judge(untold).sentence("x", untold.gain) == (
        "Cannot tell pretrained from x: fewer than 10 test participants in c (0) and 1 more of the classes; "
        "the interval of the difference holds 0; paired permutation p = 0.300, want at most 0.05 "
        "(difference in macro AUROC −0.050 [−0.110, 0.020])."
    )
    assert "shuffled labels reach as much (permutation p = 0.200, want at most 0.05)" in judge(
        dataclasses.replace(SOUND, shuffled_p=0.2)
    ).sentence("x", SOUND.gain)


def test_sentences_name_the_metric_and_the_seeds():
    evidence = dataclasses.replace(SOUND, kind="numbers", participants={"age": 40})
    assert judge(evidence).sentence("x", SOUND.gain).endswith("by 0.050 [0.010, 0.110] R² (p = 0.004).")
    evidence = dataclasses.replace(evidence, participants={"age": 12}, seed_gains=(0.1, 0.2, -0.15))
    assert judge(evidence).sentence("x", SOUND.gain) == (
        "Cannot tell pretrained from x: fewer than 20 test participants with a number (12); 1 of 3 pairs of "
        "seeds are not on that side (difference in R² 0.050 [0.010, 0.110])."
    )


def test_brackets():
    assert bracketed(Estimate(-0.5, -0.61, 0.4)) == "−0.500 [−0.610, 0.400]"
    assert bracketed(Estimate(math.nan, math.nan, math.nan)) == "–"
    assert bracketed(Estimate(0.5, math.nan, math.nan)) == "0.500"


def noise(name: str, people: int, classes: int, draws: int) -> Iterator[tuple[Predictions, Predictions]]:
    """Pairs of predictions that know nothing of the classes, `people` of each."""
    for draw in range(draws):
        rng = rng_for("noise", name, people, classes, draw)
        y_P = np.repeat(np.arange(classes), people)
        p_2PC = rng.dirichlet(np.ones(classes), size=(2, len(y_P)))
        yield tuple(Predictions(tuple(map(str, range(len(y_P)))), p_PC, y_P) for p_PC in p_2PC)


def verdicts_on_noise(people: int, classes: int, draws: int, resamples: int) -> list[str]:
    """With the real bootstrap and permutations, and shuffled labels that never speak against it."""
    counts = dict.fromkeys("abcd"[:classes], people)
    verdicts = []
    for draw, (first, second) in enumerate(noise("rate", people, classes, draws)):
        rng = rng_for("resamples", people, classes, draw)
        gain = scores.difference(first, second, scores.resample(first, resamples, rng))["macro_auroc"]
        swap_p = scores.swap_p(first, second, resamples, rng)
        verdicts.append(judge(Evidence(gain, swap_p, 0.0, counts)).verdict)
    return verdicts


@pytest.mark.parametrize(("people", "draws"), [(1, 40), (2, 40), (5, 40), (10, 150)])
def test_noise_seldom_wins(people, draws):
    """Never below 10 people a class; from there on 2.5 % on each side, here 3.75 draws."""
    verdicts = verdicts_on_noise(people, 2, draws, 200)
    assert max(verdicts.count(BETTER), verdicts.count(WORSE)) <= (8 if people >= 10 else 0)


def number_verdicts_on_noise(people: int, draws: int) -> list[str]:
    """Of two predictors as good as each other, with noise of their own."""
    verdicts = []
    for draw in range(draws):
        rng = rng_for("numbers", people, draw)
        y_P = rng.normal(size=people)
        names = tuple(map(str, range(people)))
        first, second = (Predictions(names, (y_P + rng.normal(size=people))[:, None], y_P) for _ in range(2))
        gain = scores.difference(first, second, scores.resample(first, 200, rng))["r2"]
        swap_p = scores.swap_p(first, second, 200, rng)
        verdicts.append(judge(Evidence(gain, swap_p, 0.0, {"age": people}, "numbers")).verdict)
    return verdicts


@pytest.mark.parametrize("people", [10, 20])
def test_noise_seldom_wins_for_numbers(people):
    """Never below 20 people; from there on 2.5 % on each side, here 2.5 draws."""
    verdicts = number_verdicts_on_noise(people, 100)
    assert max(verdicts.count(BETTER), verdicts.count(WORSE)) <= (7 if people >= 20 else 0)


@pytest.mark.slow
@pytest.mark.parametrize(("people", "classes", "draws"), [(10, 2, 2000), (50, 2, 1000), (10, 4, 600)])
def test_noise_wins_in_at_most_one_draw_of_forty(people, classes, draws):
    verdicts = verdicts_on_noise(people, classes, draws, 400)
    rate = (verdicts.count(BETTER) + verdicts.count(WORSE)) / (2 * draws)
    assert rate <= 0.025 + 3 * math.sqrt(0.025 / (2 * draws))
