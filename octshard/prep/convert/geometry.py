"""Where the frames of a scan lie on the retina: raster, radial, circle, line, uneven, mixed or unknown.

By OphthalmicFrameLocation coordinates alone: file names may be wrong (`3d_radial` is a cube). Pure NumPy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

PARALLEL_DEG = 3.0  # frames of a raster differ less; radial scans of up to 60 lines step by 3 or more
STRAIGHT = 0.02  # deviation of a path from its chord, as a share of the chord
ROUND = 0.1  # spread of a circle's radius, as a share of it
MEETING = 0.05  # how far from one common point radial lines may pass, as a share of their length
EVEN = 0.25  # deviation of a frame from an even step, as a share of the step
SLID = 0.1  # how far a raster's frames may be shifted along each other, as a share of their length
SAME_LENGTH = 0.1  # how much the lengths of its frames may differ, as a share
ONE_PLACE = 1e-3  # frames within this share of their length lie on one line
ROUNDED_PX = 0.75  # an end's error where coordinates are whole pixels: both ends are rounded by up to half
SHORTEST_PX = 1e-3  # a path that extends over less is a point
FARTHEST_PX = 1e6  # no localizer is so large: greater numbers are no coordinates
POINTS = 24  # of a path that are used; a Spectralis circle has 768
UPRIGHT_DEG = 50.0  # frames steeper than this are vertical; not 45, which is an angle that operators choose


@dataclass(frozen=True)
class Geometry:
    """`kind` is one of volume.GEOMETRIES; `missing` counts frames without coordinates.

    step_px between neighbouring frames (the mean, where uneven), length_px along one frame. The rest holds
    for rasters alone. flipped: frames run from inferior to superior (vertical: from right to left), to be
    put in reverse order. fast_axis_reversed: most frames' A-scans run from right to left (vertical ones:
    upwards). mirrored: indices of the frames that run against the others, as every second one of a
    serpentine does. step_error: by what share the step may be off where coordinates are whole pixels.
    note: what else tells the kind, where locations do not.
    """

    kind: str
    step_px: float | None = None
    length_px: float | None = None
    missing: int = 0
    flipped: bool = False
    fast_axis_reversed: bool = False
    mirrored: tuple[int, ...] = ()
    step_error: float = field(default=0.0, compare=False)
    note: str = field(default="", compare=False)

    def step_mm(self, width_mm: float) -> float | None:
        """The slice step if one frame is `width_mm` wide and the localizer's pixels are square."""
        if not self.step_px or not self.length_px:
            return None
        return self.step_px / self.length_px * width_mm


@dataclass(frozen=True, eq=False)
class _Segments:
    """Straight frames. index_F: which frames they are; ends_F22: their first and last (row, col)."""

    index_F: np.ndarray
    ends_F22: np.ndarray

    @property
    def along_F2(self) -> np.ndarray:
        return self.ends_F22[:, 1] - self.ends_F22[:, 0]

    @property
    def rounded_px(self) -> float:
        """How far off an end may be because coordinates are whole pixels; 0 where they are not."""
        return ROUNDED_PX if (self.ends_F22 == np.rint(self.ends_F22)).all() else 0.0


def classify(locations: Sequence[np.ndarray], frames: int) -> Geometry:
    """Geometry of a scan from per-frame (n_points, 2) arrays of (row, col) localizer pixels.

    Lines with circles (Spectralis ONH: 24 radial lines, 3 circles) are `mixed`, like everything that is more
    than one pattern. No usable coordinates (none, or every path a point) is `unknown`, and so is a raster of
    which most frames have none; one frame is a `line`, or a `circle`.
    Repeats of every place, or passes that interleave, are `uneven`: the frames are no volume as they come.
    """
    kinds, segments = _segments(locations[:frames])
    usable = len(segments.index_F)
    missing = frames - usable
    if frames == 1:
        return Geometry("circle" if kinds == {"circle"} else "line")
    if usable < 2:
        return Geometry("unknown", missing=missing)
    if kinds != {"segment"}:
        return Geometry("circle" if kinds == {"circle"} else "mixed", missing=missing)
    geometry = _of_segments(segments, missing)
    return (
        Geometry("unknown", missing=missing) if geometry.kind == "raster" and usable < missing else geometry
    )


def places(locations: Sequence[np.ndarray], frames: int) -> tuple[np.ndarray, float] | None:
    """Where parallel lines lie across their direction, in pixels, NaN for a frame without one; and the least
    difference that tells two apart. None if the frames are no such lines, or all lie in one place."""
    kinds, segments = _segments(locations[:frames])
    if kinds != {"segment"} or len(segments.index_F) < 2:
        return None
    length, _, turned_F, place_F = _across(segments)
    rounded = 2 * segments.rounded_px
    if turned_F.max() > np.deg2rad(PARALLEL_DEG) + rounded / length:
        return None
    if np.ptp(place_F) <= max(ONE_PLACE * length, rounded):
        return None
    place_by_frame_F = np.full(frames, np.nan)
    place_by_frame_F[segments.index_F] = place_F
    return place_by_frame_F, max(rounded, ONE_PLACE * float(np.ptp(place_F)) / len(place_F))


def _segments(locations: Sequence[np.ndarray]) -> tuple[set[str], _Segments]:
    """The kinds of all usable paths, and these as segments in the order of their frames."""
    kinds: set[str] = set()
    index, ends = [np.empty(0, np.intp)], [np.empty((0, 2, 2))]
    for index_F, path_FP2 in _by_length(locations):
        usable_F = _usable(path_FP2)
        index_F, path_FP2 = index_F[usable_F], path_FP2[usable_F]
        kinds |= set(_path_kinds(path_FP2))
        index.append(index_F)
        ends.append(path_FP2[:, [0, -1]])
    order = np.argsort(np.concatenate(index))
    return kinds, _Segments(np.concatenate(index)[order], np.concatenate(ends)[order])


def _across(segments: _Segments) -> tuple[float, float, np.ndarray, np.ndarray]:
    """(median length, mean angle, turn of each frame against it, place of each frame across it)."""
    along_F2 = segments.along_F2
    angle_F = np.arctan2(along_F2[:, 0], along_F2[:, 1])
    angle = float(np.angle(np.exp(2j * angle_F).mean()) / 2)  # doubled: a line has no sense of direction
    turned_F = np.abs((angle_F - angle + np.pi / 2) % np.pi - np.pi / 2)
    place_F = segments.ends_F22.mean(axis=1) @ np.array([np.cos(angle), -np.sin(angle)])
    return float(np.median(np.hypot(*along_F2.T))), angle, turned_F, place_F


def _by_length(locations: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Frame indices and paths (F, P, 2) of each number of points, two or more; of many, POINTS are kept."""
    groups: dict[int, list[int]] = {}
    for i, path in enumerate(locations):
        if len(path) >= 2:
            groups.setdefault(len(path), []).append(i)
    grouped = []
    for points, group in groups.items():
        paths = [locations[i] for i in group]
        if points > POINTS:
            keep = np.linspace(0, points - 1, POINTS).astype(np.intp)
            paths = [path[keep] for path in paths]
        grouped.append((np.array(group), np.array(paths, np.float64)))
    return grouped


def _usable(path_FP2: np.ndarray) -> np.ndarray:
    """Which paths are more than a point, of numbers that can be pixels; no warning for those that cannot."""
    farthest_F = np.abs(path_FP2).max(axis=(1, 2))  # NaN stays NaN, and fails every comparison
    sane_F = farthest_F <= FARTHEST_PX
    extent_F = np.zeros(len(path_FP2))
    extent_F[sane_F] = np.ptp(path_FP2[sane_F], axis=1).max(axis=1)
    float32_F = 1e-6 * farthest_F  # what rounding makes of one point
    return sane_F & (extent_F > np.maximum(float32_F, SHORTEST_PX))


def _path_kinds(path_FP2: np.ndarray) -> list[str]:
    """segment | circle | curve, for paths of equally many points."""
    if path_FP2.shape[1] == 2:
        return ["segment"] * len(path_FP2)
    chord_F2 = path_FP2[:, -1] - path_FP2[:, 0]
    length_F = np.hypot(*chord_F2.T)
    from_start = path_FP2 - path_FP2[:, :1]
    off = np.abs(from_start[..., 0] * chord_F2[:, None, 1] - from_start[..., 1] * chord_F2[:, None, 0])
    extent_F = np.ptp(path_FP2, axis=1).max(axis=1)
    straight_F = (length_F > 0.5 * extent_F) & (off.max(axis=1) <= STRAIGHT * length_F**2)
    kinds = np.where(straight_F, "segment", "curve").tolist()
    for i in np.flatnonzero(~straight_F):
        path = path_FP2[i]
        radius = np.hypot(*(path - (path.min(axis=0) + path.max(axis=0)) / 2).T)
        if radius.std() <= ROUND * radius.mean():
            kinds[i] = "circle"
    return kinds


def _of_segments(segments: _Segments, missing: int) -> Geometry:
    along_F2, middle_F2 = segments.along_F2, segments.ends_F22.mean(axis=1)
    lengths_F, angle_F = np.hypot(*along_F2.T), np.arctan2(along_F2[:, 0], along_F2[:, 1])
    length, angle, turned_F, place_F = _across(segments)
    if turned_F.max() > np.deg2rad(PARALLEL_DEG) + 2 * segments.rounded_px / length:
        return Geometry("radial" if _meet(middle_F2, angle_F, length) else "mixed", missing=missing)
    if np.ptp(place_F) <= max(ONE_PLACE * length, 2 * segments.rounded_px):
        return Geometry("line", missing=missing)
    step = float(np.polyfit(segments.index_F, place_F, 1)[0])
    if _fans_out(segments, angle, step):
        return Geometry("radial" if _meet(middle_F2, angle_F, length) else "uneven", missing=missing)
    slide_F = middle_F2 @ np.array([np.sin(angle), np.cos(angle)])
    aligned = np.ptp(slide_F) <= SLID * length + 2 * segments.rounded_px
    same_length = bool((np.abs(lengths_F - length) <= SAME_LENGTH * length + 2 * segments.rounded_px).all())
    if not (aligned and same_length and _even(segments, place_F, step)):
        return Geometry("uneven", abs(step), length, missing)
    return _raster(segments, angle, step, Geometry("raster", abs(step), length, missing))


def _fans_out(segments: _Segments, angle: float, step: float) -> bool:
    """True if one end of the frames moves on faster than the other, in a turn too slow for PARALLEL_DEG."""
    forward_F = segments.along_F2 @ np.array([np.sin(angle), np.cos(angle)]) >= 0
    ends_F22 = np.where(forward_F[:, None, None], segments.ends_F22, segments.ends_F22[:, ::-1])
    place_F2 = ends_F22 @ np.array([np.cos(angle), -np.sin(angle)])
    first, last = np.polyfit(segments.index_F, place_F2, 1)[0]
    rounded = 4 * segments.rounded_px / max(1, int(np.ptp(segments.index_F)))
    return bool(abs(first - last) > 2 * EVEN * abs(step) + rounded)


def _even(segments: _Segments, place_F: np.ndarray, step: float) -> bool:
    """True if the frames move on by one step each, missing ones counted."""
    allowed = max(EVEN * abs(step), segments.rounded_px)
    # a step below the rounding allowance could hide disorder: the frames must also move on, one by one
    onward_F = np.diff(place_F) * np.sign(step)
    if onward_F.min() <= -2 * segments.rounded_px - 1e-9 or _stutters(segments, onward_F):
        return False
    return _deviation(segments.index_F, place_F, step) <= allowed


def _stutters(segments: _Segments, onward_F: np.ndarray) -> bool:
    """True if places come twice: rounding makes frames repeat a place, or skip one, never both."""
    if not segments.rounded_px:
        return False
    neighbours_F = np.diff(segments.index_F) == 1
    jumps = (onward_F[neighbours_F] > 2 * segments.rounded_px).any()
    return bool(jumps and np.mean(onward_F < 1e-6) > EVEN)


def _deviation(index_F: np.ndarray, place_F: np.ndarray, step: float) -> float:
    """How far the worst frame lies from the line that is best for it, searched for around `step`.

    A least-squares line would not do: it bends towards rounding errors, and misses by more than they are.
    """

    def worst(slope: float) -> float:
        return float(np.ptp(place_F - slope * index_F)) / 2

    reach = 2 * worst(step) / max(1, int(np.ptp(index_F)))
    low, high = step - reach, step + reach
    for _ in range(20):  # the worst deviation is convex in the slope: two thirds of the bracket are left
        third = (high - low) / 3
        low, high = (low, high - third) if worst(low + third) < worst(high - third) else (low + third, high)
    return worst((low + high) / 2)


def _raster(segments: _Segments, angle: float, step: float, plain: Geometry) -> Geometry:
    """`plain` and which way its axes run. angle: radians in (-pi/2, pi/2] from the localizer's rows."""
    vertical = abs(angle) > np.deg2rad(UPRIGHT_DEG)
    across = -np.sin(angle) if vertical else np.cos(angle)  # its column or its row
    backwards_F = segments.along_F2[:, 0 if vertical else 1] < 0
    leftwards = bool(2 * backwards_F.sum() > len(backwards_F))
    against = tuple(int(i) for i in segments.index_F[backwards_F != leftwards])
    length = plain.length_px or 1.0
    error = 2 * segments.rounded_px * (1 / max(abs(step) * np.ptp(segments.index_F), 1e-9) + 1 / length)
    return replace(
        plain,
        flipped=bool(step * across < 0),
        fast_axis_reversed=leftwards,
        mirrored=against,
        step_error=float(error),
    )


def _meet(middle_F2: np.ndarray, angle_F: np.ndarray, length: float) -> bool:
    """True if all lines pass near one point (least squares over distances), and do not end before it."""
    normal_F2 = np.stack([np.cos(angle_F), -np.sin(angle_F)], axis=1)
    offset_F = (normal_F2 * middle_F2).sum(axis=1)
    point = np.linalg.lstsq(normal_F2, offset_F, rcond=None)[0]
    near = np.abs(normal_F2 @ point - offset_F).max() <= MEETING * length
    return bool(near and np.hypot(*(middle_F2 - point).T).max() <= (0.5 + MEETING) * length)
