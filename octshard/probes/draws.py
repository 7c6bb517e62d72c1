"""Scores of several draws of one thing: encoders of several seeds, trained or random, on the same people.

The value is the mean over draws. Each resample of the participants takes one draw, all draws about as often,
so that an interval holds the luck of the draw beside that of who was tested: where a new draw on new people
would come out. With one draw everything is as in `scores`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octshard.errors import OctshardError
from octshard.probes import scores
from octshard.probes.scores import Estimate, Predictions, Score
from octshard.rng import rng_for

Draws = Sequence[Predictions]


@dataclass(frozen=True, eq=False)
class Resamples:
    """weight_RP: how often each participant is drawn (`scores.draw_resamples`).

    seed: of which resample takes which draw.
    """

    weight_RP: np.ndarray
    seed: int

    def choice(self, name: str, draws: int) -> np.ndarray:
        """choice_R: the draw that each resample takes; independent for things of different names."""
        order_R = np.arange(len(self.weight_RP)) % draws
        return rng_for(self.seed, "draws", name).permutation(order_R)


def evaluate(name: str, draws: Draws, classes: Sequence[str], resamples: Resamples) -> Score:
    """As `scores.evaluate`. The confusion is that of the draw whose macro AUROC is nearest to the mean."""
    choice_R = resamples.choice(name, len(draws))
    each = [
        scores.evaluate(draw, classes, resamples.weight_RP[choice_R == i]) for i, draw in enumerate(draws)
    ]
    points, spread = _points(draws), _spread(draws, resamples.weight_RP, choice_R)
    auroc_of = {
        label: scores.estimate(
            float(np.mean([score.auroc_of[label].value for score in each])),
            _class_spread(draws, classes.index(label), resamples.weight_RP, choice_R),
        )
        for label in each[0].scored
    }
    aurocs = [score.metrics["macro_auroc"].value for score in each]
    nearest = int(np.nan_to_num(np.abs(np.array(aurocs) - np.mean(aurocs))).argmin())
    return Score(
        participants=each[0].participants,
        scored=each[0].scored,
        metrics={metric: scores.estimate(points[metric], spread[metric]) for metric in scores.METRICS},
        auroc_of=auroc_of,
        confusion=each[nearest].confusion,
    )


def difference(
    first: tuple[str, Draws], second: tuple[str, Draws], resamples: Resamples
) -> dict[str, Estimate]:
    """first - second, (name, draws) each, for each metric; the same participants in each resample."""
    one = first[1][0]
    for other in (*first[1], *second[1]):
        if one.participants != other.participants or not np.array_equal(one.y_P, other.y_P):
            raise OctshardError("paired difference: the sets of participants differ, want the same in all")
    (points_a, spread_a), (points_b, spread_b) = (
        (_points(draws), _spread(draws, resamples.weight_RP, resamples.choice(name, len(draws))))
        for name, draws in (first, second)
    )
    return {
        metric: scores.estimate(points_a[metric] - points_b[metric], spread_a[metric] - spread_b[metric])
        for metric in scores.METRICS
    }


def swap_p(first: Draws, second: Draws, swaps: int, rng: np.random.Generator) -> float:
    """`scores.swap_p`, the largest of any pair of draws: a difference that one draw does not show is none."""
    values = [scores.swap_p(one, other, swaps, rng) for one in first for other in second]
    return float(np.max(values))


def _points(draws: Draws) -> dict[str, float]:
    once_1P = np.ones((1, len(draws[0].y_P)), np.int64)
    measured = [scores.measure(draw, once_1P) for draw in draws]
    return {metric: float(np.mean([values[metric][0] for values in measured])) for metric in scores.METRICS}


def _spread(draws: Draws, weight_RP: np.ndarray, choice_R: np.ndarray) -> dict[str, np.ndarray]:
    """Metric -> its value in each resample (R,), of the draw that it takes."""
    spread = {metric: np.full(len(weight_RP), np.nan) for metric in scores.METRICS}
    for i, draw in enumerate(draws):
        if (taken_R := choice_R == i).any():
            for metric, values in scores.measure(draw, weight_RP[taken_R]).items():
                spread[metric][taken_R] = values
    return spread


def _class_spread(draws: Draws, c: int, weight_RP: np.ndarray, choice_R: np.ndarray) -> np.ndarray:
    """One class against the rest, in each resample (R,)."""
    spread_R = np.full(len(weight_RP), np.nan)
    for i, draw in enumerate(draws):
        taken_R = choice_R == i
        spread_R[taken_R] = scores.auroc(draw.y_P == c, draw.p_PC[:, c], weight_RP[taken_R])
    return spread_R
