"""How closely a label goes with the device in the table itself: Cramer's V over people, or over what else the
label is of.
"""

from dataclasses import dataclass

import numpy as np

from octshard.probes.dealt_labels import deal
from octshard.probes.grouped_scans import Scans, Units, units_of

CLOSE = 0.9999  # a V above it: the label is the device


@dataclass(frozen=True)
class Association:
    """cramers_v: 0 none, 1 the class tells the group; p: that V or more with classes dealt among people at
    random; people_CG: people of each class in each group, or eyes or scans if the label is of these.
    """

    cramers_v: float
    p: float
    people_CG: tuple[tuple[int, ...], ...]


def association(scans: Scans, deals: int, rng: np.random.Generator) -> Association:
    """Of class and group over `scans`; a person (or eye) counts once in each group, whatever their scans."""
    units = units_of(scans)
    table_CG = _table(units, units.y_U, len(scans.classes))
    value = _cramers_v(table_CG)
    dealt = (
        _cramers_v(_table(units, deal(units.y_U, units.person_U, rng), len(scans.classes)))
        for _ in range(deals)
    )
    reached = sum(v >= value - 1e-9 for v in dealt)
    return Association(value, (1 + reached) / (1 + deals), tuple(tuple(map(int, row)) for row in table_CG))


def _table(units: Units, y_U: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes, dtype=np.int64)[y_U].T @ (units.scans_UG > 0).astype(np.int64)


def _cramers_v(table_CG: np.ndarray) -> float:
    """sqrt(chi2 / n / (min(C, G) - 1)) where anybody is; 0 if class or group does not vary."""
    table_CG = table_CG[table_CG.any(axis=1)][:, table_CG.any(axis=0)]
    degrees = min(table_CG.shape) - 1
    if degrees < 1:
        return 0.0
    margins_CG = np.outer(table_CG.sum(axis=1), table_CG.sum(axis=0))
    return float(np.sqrt(max(0.0, (table_CG**2 / margins_CG).sum() - 1) / degrees))
