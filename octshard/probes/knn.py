"""Nearest neighbours: each scan is predicted by the train scans whose features point the same way.

A neighbour is a participant: each scan counts 1 / the scans of its participant, until that adds up to the
number of neighbours. Scans that are equally far at the border share what is left, so that no order matters.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from octshard.probes.examples import Examples, even, share, standardisation
from octshard.probes.head import Candidate, HeadSpec
from octshard.probes.targets import NUMBERS

NEIGHBOURS, TEMPERATURE = 20, 0.07  # DINO, Caron et al. 2021
UNIFORM, COSINE = "uniform", "cosine"
EQUAL = 1e-9  # cosines that differ by less are equal
BLOCK = 2**22  # cosines at once, for memory


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The train scans: rows of length 1, standardised on train, and how much each counts."""

    mean_F: np.ndarray
    scale_F: np.ndarray
    unit_NF: np.ndarray
    share_N: np.ndarray


def fit(train: Examples) -> Neighbours:
    """Nothing is learned but the standardisation."""
    mean_F, scale_F = standardisation(train.x_NF, even(train))
    return Neighbours(mean_F, scale_F, _unit((train.x_NF - mean_F) / scale_F), share(train))


def candidates(train: Examples, val: Examples, spec: HeadSpec) -> Iterator[Candidate]:
    """A head for each number of neighbours and weighting, the most neighbours first."""
    neighbours, target_NC = fit(train), as_columns(train.y_N, spec.kind)
    counts, weightings = (
        sorted(set(spec.cfg.neighbours), reverse=True),
        list(dict.fromkeys(spec.cfg.weighting)),
    )
    settings = list(itertools.product(counts, weightings))
    for setting, val_MC in zip(settings, votes(neighbours, target_NC, val.x_NF, settings), strict=True):
        predict_one = functools.partial(_one, neighbours, target_NC, setting)
        yield Candidate({"neighbours": setting[0], "weighting": setting[1]}, val_MC, predict_one)


def as_columns(y_N: np.ndarray, kind: str) -> np.ndarray:
    """What neighbours give: their class as a row of 0 and 1, or their number as one column."""
    return y_N[:, None].astype(float) if kind == NUMBERS else np.eye(int(y_N.max()) + 1)[y_N]


def predict(train: Examples, target_NC: np.ndarray, x_MF: np.ndarray) -> np.ndarray:
    """(M, C): means of 20 neighbours, weighted by their cosine: what a run scores while it trains."""
    return next(votes(fit(train), target_NC, x_MF, [(NEIGHBOURS, COSINE)]))


def votes(
    neighbours: Neighbours, target_NC: np.ndarray, x_MF: np.ndarray, settings: Sequence[tuple[int, str]]
) -> Iterator[np.ndarray]:
    """(M, C) for each (neighbours, weighting): the mean of their rows of target_NC.

    Weights are uniform, or exp(cosine / TEMPERATURE).
    """
    unit_MF = _unit((x_MF - neighbours.mean_F) / neighbours.scale_F)
    rows = max(1, BLOCK // len(target_NC))
    parts: list[list[np.ndarray]] = [[] for _ in settings]
    for block_MF in np.array_split(unit_MF, -(-len(unit_MF) // rows) or 1):
        cosine_MN = block_MF @ neighbours.unit_NF.T
        order_MN = np.argsort(-cosine_MN, axis=1, kind="stable")
        sorted_MN = np.take_along_axis(cosine_MN, order_MN, axis=1)
        people_MN = np.cumsum(neighbours.share_N[order_MN], axis=1)
        for part, (count, weighting) in zip(parts, settings, strict=True):
            last_M = np.minimum((people_MN < count - EQUAL).sum(axis=1), len(target_NC) - 1)
            border_M1 = np.take_along_axis(sorted_MN, last_M[:, None], axis=1)
            weight_MN = _counted(cosine_MN - border_M1, neighbours.share_N, count)
            if weighting == COSINE:
                weight_MN *= np.exp((cosine_MN - sorted_MN[:, :1]) / TEMPERATURE)
            part.append(weight_MN @ target_NC / weight_MN.sum(axis=1, keepdims=True))
    yield from (np.concatenate(part) for part in parts)


def _one(
    neighbours: Neighbours, target_NC: np.ndarray, setting: tuple[int, str], x_MF: np.ndarray
) -> np.ndarray:
    return next(votes(neighbours, target_NC, x_MF, [setting]))


def _counted(above_MN: np.ndarray, share_N: np.ndarray, count: int) -> np.ndarray:
    """How much of each scan is among the neighbours. above_MN: its cosine less that of the last of them."""
    nearer_MN, border_MN = above_MN > EQUAL, np.abs(above_MN) <= EQUAL
    left_M1 = count - (nearer_MN @ share_N)[:, None]
    return (nearer_MN + border_MN * np.minimum(left_M1 / (border_MN @ share_N)[:, None], 1)) * share_N


def _unit(x_NF: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros stays."""
    return np.asarray(x_NF / np.maximum(np.linalg.norm(x_NF, axis=1, keepdims=True), 1e-12))
