"""Where the frames of a scan lie on the retina: raster, radial, circle, line, uneven, mixed or unknown.

Told from OphthalmicFrameLocation coordinates alone, because names lie: `3d_radial` is a cube. Pure NumPy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PARALLEL_DEG = (
    3.0  # frames of a raster differ less in direction; radial scans of up to 60 lines step by 3 or more
)
STRAIGHT = 0.02  # deviation of a path from its chord, as a share of the chord
ROUND = 0.1  # spread of a circle's radius, as a share of it
MEETING = 0.05  # how far from one common point radial lines may pass, as a share of their length
EVEN = 0.25  # deviation of a frame from an even step, as a share of the step
ROUNDED_PX = 0.75  # the same where coordinates are whole pixels: both ends are rounded by up to half a pixel


@dataclass(frozen=True)
class Geometry:
    """`kind` is one of volume.GEOMETRIES; `missing` counts frames without coordinates.

    step_px between neighbouring frames (the mean, where uneven), length_px along one frame.
    """

    kind: str
    step_px: float | None = None
    length_px: float | None = None
    missing: int = 0

    def step_mm(self, width_mm: float) -> float | None:
        """The slice step if one frame is `width_mm` wide and the localizer's pixels are square."""
        if not self.step_px or not self.length_px:
            return None
        return self.step_px / self.length_px * width_mm


def classify(locations: Sequence[np.ndarray], frames: int) -> Geometry:
    """Geometry of a scan from per-frame (n_points, 2) arrays of (row, col) localizer pixels.

    Lines with circles (Spectralis ONH: 24 radial lines, 3 circles) are `mixed`, like everything that is more
    than one pattern. No usable coordinates (none, or every path a point) is `unknown`; one frame is a `line`.
    """
    paths = {i: np.asarray(points, np.float64) for i, points in enumerate(locations)}
    usable = {
        i: path
        for i, path in paths.items()
        if len(path) >= 2 and np.isfinite(path).all() and np.ptp(path, axis=0).max() > 0
    }
    missing = frames - len(usable)
    if frames == 1:
        return Geometry("line", missing=missing)
    if len(usable) < 2:
        return Geometry("unknown", missing=missing)
    shapes = [_path_kind(path) for path in usable.values()]
    if set(shapes) == {"circle"}:
        return Geometry("circle", missing=missing)
    if set(shapes) != {"segment"}:
        return Geometry("mixed", missing=missing)
    ends = np.stack([path[[0, -1]] for path in usable.values()])
    return _of_segments(ends, np.array(list(usable)), missing)


def _path_kind(path: np.ndarray) -> str:
    chord = path[-1] - path[0]
    length = float(np.hypot(*chord))
    extent = float(np.ptp(path, axis=0).max())
    if length > 0.5 * extent:
        off = np.abs((path[:, 0] - path[0, 0]) * chord[1] - (path[:, 1] - path[0, 1]) * chord[0]) / length
        if off.max() <= STRAIGHT * length:
            return "segment"
    radius = np.hypot(*(path - (path.min(axis=0) + path.max(axis=0)) / 2).T)
    return "circle" if radius.std() <= ROUND * radius.mean() else "curve"


def _of_segments(ends: np.ndarray, index: np.ndarray, missing: int) -> Geometry:
    """ends (F, 2, 2): first and last point of each frame's straight path; index: which frame it is."""
    along = ends[:, 1] - ends[:, 0]
    lengths = np.hypot(along[:, 0], along[:, 1])
    middle, length = ends.mean(axis=1), float(np.median(lengths))
    angle = np.arctan2(along[:, 0], along[:, 1])
    mean_angle = np.angle(np.exp(2j * angle).mean()) / 2  # doubled: a line has no sense of direction
    turned = np.abs((angle - mean_angle + np.pi / 2) % np.pi - np.pi / 2)
    if turned.max() > np.deg2rad(PARALLEL_DEG):
        return Geometry("radial" if _meet(middle, angle, length) else "mixed", missing=missing)
    place = middle @ np.array([np.cos(mean_angle), -np.sin(mean_angle)])  # across the frames
    step, start = np.polyfit(index, place, 1)
    residual = float(np.abs(place - (start + step * index)).max())
    if np.ptp(place) <= 1e-3 * length:
        return Geometry("line", missing=missing)
    whole = bool((ends == np.rint(ends)).all())
    allowed = max(EVEN * abs(step), ROUNDED_PX if whole else 0.0)
    # a step below the rounding allowance could hide disorder: the frames must also move on, one by one
    even = residual <= allowed and bool(
        (np.diff(place) * np.sign(step) > -2 * ROUNDED_PX * whole - 1e-9).all()
    )
    same_length = bool((np.abs(lengths - length) <= 0.1 * length).all())
    return Geometry("raster" if even and same_length else "uneven", float(abs(step)), length, missing)


def _meet(middle: np.ndarray, angle: np.ndarray, length: float) -> bool:
    """True if all lines pass near one common point (least squares over their distances)."""
    normal = np.stack([np.cos(angle), -np.sin(angle)], axis=1)
    offset = (normal * middle).sum(axis=1)
    point = np.linalg.lstsq(normal, offset, rcond=None)[0]
    return bool(np.abs(normal @ point - offset).max() <= MEETING * length)
