"""The control of labels that mean nothing: the same features, the labels of train and val dealt
among people.

One permutation is not enough: features in few clusters move it far from chance, to either side.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from octshard.eval.controls.provenance_reading import Probe
from octshard.probes import examples, scores
from octshard.probes.examples import Examples
from octshard.probes.scores import Estimate
from octshard.progress import OnProgress
from octshard.rng import rng_for

NAME = "shuffled labels"


@dataclass(frozen=True)
class Control:
    """The pretrained features with permuted labels: mean and 95 % range over the permutations (deals).

    `reached`: deals whose score (`scores.primary`) is at least the true labels'; p_value = (1 + reached) /
    (1 + deals).
    """

    deals: int
    metrics: Mapping[str, Estimate]
    reached: int
    p_value: float


@dataclass(frozen=True)
class Deals:
    """How many permutations, and their seed."""

    count: int
    seed: int


def control(
    parts: tuple[Examples, Examples, Examples],
    probe: Probe,
    true_score: float,
    deals: Deals,
    on_progress: OnProgress,
) -> Control:
    """Fits on permuted train and val people, deal by deal; test keeps its true labels."""
    values_by_metric: dict[str, list[float]] = {}
    train, val, test = parts
    for deal in range(deals.count):
        on_progress(deal, deals.count, NAME)
        dealt_train, dealt_val = (
            examples.shuffled(part, rng_for(deals.seed, "shuffle", deal, split))
            for split, part in (("train", train), ("val", val))
        )
        predictions = probe(dealt_train, dealt_val, test)
        primary = scores.primary(predictions.kind)
        for name, value in scores.measure(predictions, scores.once(predictions)).items():
            values_by_metric.setdefault(name, []).append(float(value[0]))
    on_progress(deals.count, deals.count, NAME)
    reached = sum(value >= true_score for value in values_by_metric[primary])
    metrics = {
        name: scores.estimate(float(np.mean(values)), np.array(values))
        for name, values in values_by_metric.items()
    }
    return Control(deals.count, metrics, reached, (1 + reached) / (1 + deals.count))
