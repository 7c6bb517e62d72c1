"""Verdicts on heads of maps: every random draw counts, and nobody wins who has learned nothing."""

import numpy as np
import pytest

from octshard.config.dense import SegmentConfig
from octshard.eval.dense import comparison
from octshard.eval.dense.comparison import Comparison

PEOPLE = [f"p{i}" for i in range(20)]
CFG = SegmentConfig(bootstrap=200)


def scores(mean: float) -> list[dict[str, float]]:
    """Of each person's scan, spread a little around `mean`."""
    return [{"dice": mean + 0.001 * (i % 5 - 2)} for i in range(len(PEOPLE))]


def on_random(pretrained: float, draws: list[float], floor: float = -np.inf) -> Comparison:
    scans = {("pretrained", "linear"): scores(pretrained)}
    for i, value in enumerate(draws, start=1):
        shifted = [{"dice": s["dice"] + 0.0001 * j} for j, s in enumerate(scores(value))]
        scans["random-init " + str(i), "linear"] = shifted
    scans["raw-intensity", "linear"] = scores(0.1)
    _, comparisons = comparison.compare(scans, PEOPLE, "dice", CFG, floor)
    return comparisons[0]


@pytest.mark.parametrize(
    ("draws", "verdict"),
    [([0.6], "better"), ([0.6, 0.65, 0.62], "better"), ([0.5, 0.5, 0.8], "cannot tell")],
)
def test_every_random_draw_must_be_on_the_side_of_a_verdict(draws: list[float], verdict: str) -> None:
    """The mean of the last three is 0.6 as well, but one draw is better than pretrained."""
    told = on_random(0.7, draws)
    assert told.verdict.verdict == verdict
    assert ("seed_spread" in told.verdict.reasons) == (verdict == "cannot tell")


def test_nobody_wins_below_what_nothing_learned_has() -> None:
    assert on_random(0.7, [0.6], floor=0.65).verdict.verdict == "better"
    told = on_random(0.7, [0.6], floor=0.71)
    assert told.verdict.verdict == "cannot tell"
    assert told.sentence == (
        "linear: cannot tell pretrained from random-init: neither is above the 0.710 of a head that has "
        f"learned nothing (difference in dice {told.sentence.rsplit('dice ', 1)[1]}"
    )
