"""Where frames lie by ImagePositionPatient: places along the line on which they move on, mm. Pure NumPy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from octshard.prep.scan_facts import Placement

STILL_MM = 1e-6  # positions that differ by less are one: dummies
FARTHEST_MM = 1e6  # greater numbers are no places, and arithmetic on them could overflow
STRAIGHT = 0.1  # how far positions may lie beside their line, as a share of its length
ACROSS = 0.1  # share of the way that must lead along the frames' normal, where that is known
EVEN = 0.25  # deviation of a frame from an even step, as a share of the step
DECIMALS = 6  # that positions may be rounded to
ROUNDINGS = 3.0  # in a frame's distance from the first one: both are rounded, and so is the mean step


@dataclass(frozen=True, eq=False)
class Positions:
    """Places of frames, mm, NaN where a frame tells none; rounding_mm: by how much a place may be off."""

    place_F: np.ndarray
    rounding_mm: float

    @property
    def step_mm(self) -> float | None:
        """The step from frame to frame; None if most frames do not tell their place."""
        (index_P,) = np.nonzero(np.isfinite(self.place_F))
        if 2 * len(index_P) <= len(self.place_F):
            return None
        return abs(float(np.polyfit(index_P, self.place_F[index_P], 1)[0]))

    @property
    def is_even(self) -> bool:
        """True if the frames move on by one step each, as far as their decimals tell."""
        (index_P,) = np.nonzero(np.isfinite(self.place_F))
        place_F, index_F = self.place_F[index_P] - self.place_F[index_P[0]], index_P - index_P[0]
        step = place_F[-1] / index_F[-1]
        allowed = max(EVEN * abs(step), ROUNDINGS * self.rounding_mm)
        return bool(np.abs(place_F - step * index_F).max() <= allowed)

    def ordered(self, order: Sequence[int]) -> "Positions":
        """The same with frames in another order."""
        return Positions(self.place_F[list(order)], self.rounding_mm)


def positions_of(placement: Placement, frames: int) -> Positions | None:
    """The places of `frames` frames; None if fewer than two different ones are told, or they form no stack.

    The frames of an oblique raster are shifted along each other, so only the way along their normal counts.
    A normal that the way does not follow is a dummy. Positions round a circle are no stack.
    """
    position_F3 = np.full((frames, 3), np.nan)
    position_F3[: len(placement.positions_F3)] = placement.positions_F3[:frames]
    position_F3[~(np.abs(position_F3) <= FARTHEST_MM).all(axis=1)] = np.nan
    told_F = np.isfinite(position_F3).all(axis=1)
    if told_F.sum() < 2:
        return None
    way_F3 = position_F3 - position_F3[told_F].mean(axis=0)
    direction_3 = np.linalg.svd(way_F3[told_F], full_matrices=False)[2][0]
    direction_3 = direction_3 * np.sign(
        direction_3[np.abs(direction_3).argmax()]
    )  # along an axis, not against
    place_F = way_F3 @ direction_3
    extent = float(np.ptp(place_F[told_F]))
    beside_F3 = way_F3[told_F] - np.outer(place_F[told_F], direction_3)
    if extent < STILL_MM or np.linalg.norm(beside_F3, axis=1).max() > STRAIGHT * extent:
        return None
    if placement.normal_3 is not None and abs(share := placement.normal_3 @ direction_3) > ACROSS:
        place_F = way_F3 @ placement.normal_3 * np.sign(share)
    return Positions(place_F, _rounding_mm(position_F3[told_F]))


def _rounding_mm(numbers: np.ndarray) -> float:
    """Half of the last decimal that any of the numbers uses; 0 if they use more than DECIMALS."""
    for decimals in range(DECIMALS + 1):
        scaled = numbers * 10.0**decimals
        if np.abs(scaled - np.rint(scaled)).max() < 1e-6:
            return 0.5 / 10.0**decimals
    return 0.0
