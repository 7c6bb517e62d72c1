"""What heads say of the people of test, averaged, beside the truth: who is wrong most, and that in words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octshard.probes.labels import LabelledScans
from octshard.probes.predictions import Predictions
from octshard.probes.targets import NUMBERS
from octshard.report.numbers import alike

CLASSES_TOLD = 3  # probabilities in words, the greatest first


@dataclass(frozen=True, eq=False)
class Judged:
    """A unit of test (a person, eye or scan). p_C: its probabilities or its number, the mean of all heads;
    miss: 1 - the probability of its class, or the distance from its number; wrong: heads that are wrong.
    """

    unit: str
    p_C: np.ndarray
    y: float
    miss: float
    wrong: int = 0
    heads: int = 1

    @property
    def predicted(self) -> int:
        """The most probable class."""
        return int(self.p_C.argmax())


def ranking(predictions: Sequence[Predictions]) -> list[Judged]:
    """All units, the worst first; what heads say is averaged. predictions: of the same rows."""
    first = predictions[0]
    p_HPC = np.stack([each.p_PC for each in predictions])
    wrong_P = np.zeros(len(first.y_P), int)
    if first.kind != NUMBERS:
        wrong_P = (p_HPC.argmax(2) != first.y_P).sum(0)
    judged = [
        Judged(unit, p_C, y, miss_of(p_C, y, first.kind), int(wrong), len(predictions))
        for unit, p_C, y, wrong in zip(
            first.units or first.participants, p_HPC.mean(0), first.y_P.tolist(), wrong_P, strict=True
        )
    ]
    return sorted(judged, key=lambda each: (-each.miss, each.unit))


def miss_of(p_C: np.ndarray, y: float, kind: str) -> float:
    """1 - the probability of the true class, or the distance from the true number."""
    return float(abs(p_C[0] - y) if kind == NUMBERS else 1 - p_C[int(y)])


def said(each: Judged, labelled: LabelledScans) -> list[str]:
    """Lines: whether it is right, the truth, and what was predicted."""
    if labelled.kind == NUMBERS:
        y, predicted, miss = alike([each.y, float(each.p_C[0]), each.miss])
        return [f"True {y}, predicted {predicted}: {miss} away"]
    names = [name.replace("_", " ") for name in labelled.classes]
    verdict = "Right" if each.predicted == each.y else "Wrong"
    often = f", in {each.wrong} of {each.heads} heads" if each.heads > 1 and each.wrong else ""
    order = np.argsort(-each.p_C, kind="stable")[:CLASSES_TOLD].tolist()
    told = [c for c in dict.fromkeys((*order, int(each.y))) if c != each.predicted]
    others = "; ".join(f"{names[c]} {each.p_C[c]:.2f}" for c in told)
    return [
        f"{verdict}{often}: truly {names[int(each.y)]}",
        f"predicted {names[each.predicted]} {each.p_C[each.predicted]:.2f} (others: {others})",
    ]
