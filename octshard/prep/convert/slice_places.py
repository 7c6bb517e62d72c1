"""Where the slices of a scan that is no stack lie: lines by their angle, circles by their radius. Pure NumPy.

Such slices have no step in mm, so none is measured and nothing is resampled from one to the next: D of the
stored volume are the frames themselves. An angle is that of the A-scans' direction, in degrees from the
localizer's right, anticlockwise as it is shown.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

NO_STACK = ("radial", "circle", "line", "mixed")  # geometries
NO_STEP_MM = 1.0  # stands where a step would
DEGREES, RADIUS, NONE = "degrees", "radius_mm", "none"
HALF_TURN = 180.0  # a line comes back to itself
DECIMALS = 4  # of what is stored: localizers have pixels of 10 um


class SlicePlaces(NamedTuple):
    """axis: DEGREES, RADIUS or NONE; empty: a stack, with a step. values: one for each slice, or none."""

    axis: str = ""
    values: tuple[float, ...] = ()

    @property
    def text(self) -> str:
        """The values with a blank between."""
        return " ".join(f"{value:.9g}" for value in self.values)


def turning_order(locations: Sequence[np.ndarray], frames: int) -> tuple[int, ...]:
    """The file's index of each radial line by its angle; () if they turn one way already, or one is not told.

    Half a turn holds them all, so lines that are filed in turns of their own are sorted too.
    """
    angle_F = _angles(locations, frames)
    if angle_F is None:
        return ()
    half_F = angle_F % HALF_TURN
    steps = np.diff(half_F) % HALF_TURN
    onward, back = steps.sum(), (HALF_TURN - steps).sum()
    turns_once = bool((steps > 0).all()) and min(onward, back) < HALF_TURN
    return () if turns_once else tuple(np.argsort(half_F, kind="stable").tolist())


def places_of(kind: str, locations: Sequence[np.ndarray], frames: int, width_mm: float | None) -> SlicePlaces:
    """Of the slices in the order in which they are stored. width_mm: of a B-scan along its A-scans."""
    if kind not in NO_STACK:
        return SlicePlaces()
    if kind == "radial" and (angle_F := _angles(locations, frames)) is not None:
        return SlicePlaces(DEGREES, _rounded(angle_F))
    if kind == "circle" and width_mm is not None:
        radius_F = _radii(locations, frames)
        if radius_F is not None:  # else the width may be another length than that round the circle
            return SlicePlaces(RADIUS, _rounded(radius_F / np.median(radius_F) * width_mm / (2 * np.pi)))
    return SlicePlaces(NONE)


def _angles(locations: Sequence[np.ndarray], frames: int) -> np.ndarray | None:
    ends = _usable(locations, frames)
    if ends is None:
        return None
    along_F2 = np.array([path[-1] - path[0] for path in ends])
    return np.rad2deg(np.arctan2(-along_F2[:, 0], along_F2[:, 1])) % (2 * HALF_TURN)  # rows count downwards


def _radii(locations: Sequence[np.ndarray], frames: int) -> np.ndarray | None:
    """Of circles in pixels, around the middle of what each covers; None if one is not told."""
    paths = _usable(locations, frames)
    if paths is None:
        return None
    middles = [(path.min(axis=0) + path.max(axis=0)) / 2 for path in paths]
    radius_F = np.array([np.hypot(*(p - m).T).mean() for p, m in zip(paths, middles, strict=True)])
    return radius_F if (radius_F > 0).all() else None


def _usable(locations: Sequence[np.ndarray], frames: int) -> list[np.ndarray] | None:
    paths = [np.asarray(path, np.float64) for path in locations[:frames]]
    is_told = len(paths) == frames > 0 and all(len(p) > 1 and np.isfinite(p).all() for p in paths)
    return paths if is_told else None


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(np.round(values, DECIMALS).tolist())
