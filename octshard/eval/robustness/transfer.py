"""The transfer matrix: a head trained on the scans of one device, tested on those of every device."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octshard.probes import linear, scores
from octshard.probes.grouped_scans import Scans, people_of
from octshard.probes.labels import MIN_TRAIN_PARTICIPANTS
from octshard.probes.scores import Estimate, estimate


@dataclass(frozen=True)
class Cell:
    """Macro AUROC of a head of `train` on test people of `test`. people: the fewest of a class in test.

    reason: why there is no value, or empty.
    """

    train: str
    test: str
    auroc: Estimate
    people: int
    reason: str = ""


@dataclass(frozen=True)
class Transfer:
    """cells by train group, then test group; loss: mean of the others minus the mean of the diagonal, over
    the rows and columns of devices that have both.
    """

    cells: tuple[Cell, ...]
    loss: Estimate


def transfer(scans: Scans, regularisation: Sequence[float], weight_RP: np.ndarray) -> Transfer:
    """Heads on train people, C chosen on val people of the same group; weight_RP counts test people."""
    names = people_of(scans.split("test")).names
    once_RP = np.concatenate([np.ones((1, len(names)), np.int64), weight_RP])
    cells, values = [], {}
    for g in range(len(scans.groups)):
        own = scans.part(scans.group_N == g)
        head, reason = _head(own, regularisation)
        for other, name in enumerate(scans.groups):
            test = scans.part(scans.group_N == other).split("test")
            few = _fewest(test)
            nothing = reason or ("" if few else f"no test person of one class on {name}")
            auroc_R = np.full(len(once_RP), np.nan)
            if head is not None and few:
                auroc_R = values[g, other] = _auroc(head, test, names, once_RP)
            auroc = estimate(float(auroc_R[0]), auroc_R[1:])
            cells.append(Cell(scans.groups[g], name, auroc, few, nothing))
    return Transfer(tuple(cells), _loss(values))


def _loss(values: dict[tuple[int, int], np.ndarray]) -> Estimate:
    """Each cell off the diagonal minus the diagonal's cell of the same test group, as people differ."""
    losses = [
        value_R - values[other, other]
        for (g, other), value_R in values.items()
        if g != other and (other, other) in values
    ]
    if not losses:
        return Estimate(float("nan"), float("nan"), float("nan"))
    loss_R = np.stack(losses).mean(axis=0)
    return estimate(float(loss_R[0]), loss_R[1:])


def _head(own: Scans, regularisation: Sequence[float]) -> tuple[linear.Probe | None, str]:
    train, val = own.split("train"), own.split("val")
    if (few := _fewest(train)) < MIN_TRAIN_PARTICIPANTS:
        return None, f"{few} train people in a class, want at least {MIN_TRAIN_PARTICIPANTS}"
    if len(np.unique(val.y_N)) < 2:
        return None, "fewer than 2 classes in val"
    return linear.fit(train.examples(), val.examples(), regularisation), ""


def _fewest(scans: Scans) -> int:
    """The people of the class that has the fewest."""
    if not len(scans.y_N):
        return 0
    return int(people_of(scans).people_C.min())


def _auroc(head: linear.Probe, test: Scans, names: Sequence[str], weight_RP: np.ndarray) -> np.ndarray:
    p_NC = linear.predict(head, test.values_NF)
    predictions = scores.by_unit(p_NC, test.y_N, test.owners, test.participants)
    place_of = {name: p for p, name in enumerate(names)}
    columns = [place_of[name] for name in predictions.participants]
    return scores.measure(predictions, weight_RP[:, columns])["macro_auroc"]
