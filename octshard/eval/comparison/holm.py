"""Holm's correction: of many comparisons, each p as it must be so that all of them together err as rarely."""

import math
from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p, in the order given (Holm 1979): the smallest times their number, the next times one less,
    never less than the one before, at most 1. A p that is not defined counts in the family, and stays so.
    """
    adjusted, least = [math.nan] * len(p_values), 0.0
    defined = sorted((p, n) for n, p in enumerate(p_values) if not math.isnan(p))
    for rank, (p, n) in enumerate(defined):
        least = min(1.0, max(least, (len(p_values) - rank) * p))
        adjusted[n] = least
    return adjusted
