"""The average performance drop: a head trained where class and device go together, tested where not.

After Koemen et al. 2025 (PathoROB): train sets of one size, in which class and device are correlated more and
more; drop = the mean over the correlated ones of (score - score without correlation) / score without.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octshard.eval.robustness import correlated_draw
from octshard.eval.robustness.correlated_draw import Pairing
from octshard.probes import linear, scores
from octshard.probes.grouped_scans import Scans, people_of
from octshard.probes.scores import Estimate, Predictions, estimate
from octshard.rng import rng_for

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
MIN_TRAIN = 2  # people of each class in each group, without correlation
MIN_TEST = 1
TRIES = 10  # pairings drawn for each that is used, at most


@dataclass(frozen=True)
class PerformanceDrop:
    """score_of: strength of the correlation -> macro AUROC on balanced test people, mean over draws; drop:
    relative, negative is worse; absolute: the same in AUROC. reason: why there is nothing, or empty.

    train, test: people of each class in every draw.
    """

    score_of: dict[float, Estimate]
    drop: Estimate
    absolute: Estimate
    train: int
    test: int
    reason: str = ""


@dataclass(frozen=True)
class DrawSettings:
    """draws: of people, each with another pairing of classes and groups; regularisation: values of C."""

    draws: int
    regularisation: Sequence[float]
    seed: int


def performance_drop(scans: Scans, weight_RP: np.ndarray, settings: DrawSettings) -> PerformanceDrop:
    """Heads on train, their C chosen on val without correlation; weight_RP counts the people of test."""
    train, val, test = (scans.split(name) for name in ("train", "val", "test"))
    groups = len(scans.groups)
    pairings, size = _pairings(train, settings)
    test_size = correlated_draw.largest(test, pairings[:1], STRENGTHS[:1]) if len(test.y_N) else 0
    for split, people, least in (("train", size, MIN_TRAIN), ("test", test_size, MIN_TEST)):
        if people < least * groups:
            return _nothing(
                f"too few people in {split}: {people} of each class can be drawn with and without "
                f"correlation, want at least {least * groups}",
                (size, test_size),
            )
    if not len(val.y_N):
        return _nothing("nobody in val, by whom the regularisation is chosen", (size, test_size))
    names = people_of(test).names
    curve_DSR = np.stack([
        _curve((train, val, test), chosen, _Sizes(size, test_size, names), weight_RP, (settings, n))
        for n, chosen in enumerate(pairings)
    ])  # fmt: skip
    mean_SR = curve_DSR.mean(axis=0)  # the first resample is everybody once
    absolute_R = mean_SR[1:].mean(axis=0) - mean_SR[0]
    nan_R = np.full_like(absolute_R, np.nan)  # of a score of 0 there is no share
    drop_R = np.divide(absolute_R, mean_SR[0], out=nan_R, where=mean_SR[0] != 0)
    score_of = {s: estimate(float(row[0]), row[1:]) for s, row in zip(STRENGTHS, mean_SR, strict=True)}
    return PerformanceDrop(
        score_of, estimate(float(drop_R[0]), drop_R[1:]), estimate(float(absolute_R[0]), absolute_R[1:]),
        size, test_size,
    )  # fmt: skip


def _pairings(train: Scans, settings: DrawSettings) -> tuple[list[Pairing], int]:
    """(one pairing for each draw, people a class that all of them can be given).

    Where the train people are correlated themselves, some pairings leave few of them: those with less than
    three quarters of the most are not used.
    """
    shape, size_of = (len(train.classes), len(train.groups)), {}
    drawn = [
        correlated_draw.pairing(*shape, rng_for(settings.seed, "pairing", n))
        for n in range(TRIES * settings.draws)
    ]
    for chosen in {chosen.match_CG.tobytes(): chosen for chosen in drawn}.values():
        size = correlated_draw.largest(train, [chosen], STRENGTHS) if len(train.y_N) else 0
        size_of[chosen.match_CG.tobytes()] = size
    sizes = [size_of[chosen.match_CG.tobytes()] for chosen in drawn]
    used = [n for n, size in enumerate(sizes) if 4 * size >= 3 * max(sizes)][: settings.draws]
    return [drawn[n] for n in used], min(sizes[n] for n in used)


@dataclass(frozen=True)
class _Sizes:
    train: int
    test: int
    test_people: tuple[str, ...]


def _curve(
    splits: tuple[Scans, Scans, Scans],
    pairing: Pairing,
    sizes: _Sizes,
    weight_RP: np.ndarray,
    settings_draw: tuple[DrawSettings, int],
) -> np.ndarray:
    """(S, 1 + R): macro AUROC at each strength, of everybody once and of each resample, for one draw."""
    (train, val, test), (settings, n) = splits, settings_draw
    balanced = test.part(
        correlated_draw.draw(test, pairing, 0.0, sizes.test, rng_for(settings.seed, "test people", n))
    )
    place_of = {name: p for p, name in enumerate(sizes.test_people)}
    whose = dict(zip(balanced.owners, balanced.participants, strict=True))
    columns = np.array([place_of[whose[owner]] for owner in sorted(whose)])  # one scan a unit
    weight_RP = np.concatenate([np.ones((1, len(columns)), np.int64), weight_RP[:, columns]])
    grid, rows = settings.regularisation, []
    for strength in STRENGTHS:
        rng = rng_for(settings.seed, "train people", n)  # at every strength the same luck
        examples = train.part(correlated_draw.draw(train, pairing, strength, sizes.train, rng)).examples()
        head = linear.fit(examples, val.examples(), grid)
        grid = (head.regularisation,)
        predictions = scores.by_unit(
            linear.predict(head, balanced.values_NF), balanced.y_N, balanced.owners, balanced.participants
        )
        rows.append(_macro_auroc(predictions, weight_RP))
    return np.stack(rows)


def _macro_auroc(predictions: Predictions, weight_RP: np.ndarray) -> np.ndarray:
    auroc_CR = np.stack([
        scores.auroc(predictions.y_P == c, predictions.p_PC[:, c], weight_RP)
        for c in range(predictions.p_PC.shape[1])
    ])  # fmt: skip
    return np.asarray(auroc_CR.mean(axis=0))


def _nothing(reason: str, sizes: tuple[int, int]) -> PerformanceDrop:
    nothing = Estimate(float("nan"), float("nan"), float("nan"))
    return PerformanceDrop({}, nothing, nothing, *sizes, reason)
