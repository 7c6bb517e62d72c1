"""The functional groups of a multi-frame file (PS3.3): what they say of each frame, and of all together.

Each item is read once. What a frame does not say, or says in a way that makes no sense, is missing.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

from octshard.prep.dicom import pixel_measures
from octshard.prep.dicom.attributes import Attributes
from octshard.prep.refusals import Refused
from octshard.prep.scan_facts import FrameLabel, PixelMeasures, Placement

Rescale = tuple[float, float]  # slope, intercept
T = TypeVar("T")
NOTHING = np.empty(0)  # shared by all frames that say nothing: hostile files have millions
UNIT = 0.01  # how far the length of a direction may be from 1
MOST = 2.0**53  # whole numbers beyond are not exact
LONGEST_KNOWN = 1024  # bytes of an item that is remembered
PARALLEL = np.cos(np.deg2rad(3.0))  # normals of one stack; as PARALLEL_DEG of frame locations


class FrameItem(NamedTuple):
    """What the item of one frame says, or the one that all share."""

    measures: PixelMeasures | None
    rescale: Rescale | None
    location: np.ndarray
    position: np.ndarray
    orientation: np.ndarray
    number: np.ndarray
    indices: np.ndarray
    stack: str
    time: str
    eye: str


SILENT = FrameItem(None, None, NOTHING.reshape(0, 2), NOTHING, NOTHING, NOTHING, NOTHING, "", "", "")


@dataclass(frozen=True, eq=False)
class FrameGroups:
    """The items of all frames. common: of the shared groups, for what is said there of all frames."""

    frames: tuple[FrameItem, ...]
    common: FrameItem | None

    def of_frames(self, index: Sequence[int]) -> "FrameGroups":
        """Those of some frames, in their order; frames without an item are left out."""
        return FrameGroups(tuple(self.frames[i] for i in index if i < len(self.frames)), self.common)

    def filled(self, count: int) -> tuple[FrameItem, ...]:
        """The items of `count` frames; what one frame does not say, and all share, is taken from there."""
        if count == 1 and self.common is not None:
            own = self.frames[0] if self.frames else self.common
            return (_filled(own, self.common),)
        return (*self.frames[:count], *[SILENT] * (count - len(self.frames)))

    @property
    def measures(self) -> PixelMeasures:
        """The median over the frames."""
        return pixel_measures.median([frame.measures for frame in self.frames if frame.measures is not None])

    @property
    def rescale(self) -> tuple[Rescale | None, ...]:
        """Of each frame."""
        return tuple(frame.rescale for frame in self.frames)

    @property
    def placement(self) -> Placement:
        """What the frames say of their place."""
        frames, common = self.frames, self.common
        orientations = [frame.orientation for frame in frames if len(frame.orientation)]
        if common is not None and not orientations:
            orientations = [common.orientation]
        eyes = [frame.eye for frame in frames] + ([common.eye] if common is not None else [])
        widths = [len(frame.indices) for frame in frames]
        width = max(set(widths), key=widths.count, default=0)
        return Placement(
            numbers_F=_rows([frame.number for frame in frames], 1)[:, 0],
            indices_FK=_rows([frame.indices for frame in frames], width),
            positions_F3=_rows([frame.position for frame in frames], 3),
            normal_3=_normal(orientations),
            stacks=_each_once(frame.stack for frame in frames),
            times=_each_once(frame.time for frame in frames),
            eyes=_each_once(eyes),
            locations=tuple(frame.location for frame in frames),
            labels=tuple(FrameLabel(frame.eye, frame.stack, frame.time) for frame in frames),
        )


def read(top: Attributes, shared: Attributes | None) -> FrameGroups:
    """The per-frame groups of a dataset, and the shared ones."""
    cache = _Cache({})
    frames = tuple(_frame(item, cache) for item in top.items("PerFrameFunctionalGroupsSequence"))
    return FrameGroups(frames, _frame(shared, cache) if shared is not None else None)


def slope_intercept(group: Attributes) -> Rescale:
    """RescaleSlope and RescaleIntercept; 1 and 0 where they are missing."""
    slope, intercept = group.number("RescaleSlope"), group.number("RescaleIntercept")
    return 1.0 if slope is None else slope, 0.0 if intercept is None else intercept


def whole_number(group: Attributes, name: str) -> int | None:
    """The one whole number of a value that no pixel depends on; None if it is none."""
    numbers = _whole_numbers(group, name, (1,))
    return int(numbers[0]) if len(numbers) else None


@dataclass(frozen=True)
class _Cache:
    """Items that were read: frames mostly repeat those that do not place them."""

    by_bytes: dict[tuple[str, bytes], Any]

    def read(
        self, frame: Attributes, name: str, read: Callable[[Attributes | None], T], *, needed: bool = True
    ) -> T:
        """`read` of the first item of a sequence, once for all items of the same bytes."""
        first, raw = Attributes.first if needed else _first, frame.raw(name)
        if not raw or len(raw) > LONGEST_KNOWN:
            return read(first(frame, name))
        if (name, raw) not in self.by_bytes:
            self.by_bytes[name, raw] = read(first(frame, name))
        value: T = self.by_bytes[name, raw]
        return value


def _frame(item: Attributes, cache: _Cache) -> FrameItem:
    content = _first(item, "FrameContentSequence")
    return FrameItem(
        cache.read(item, "PixelMeasuresSequence", _measures),
        cache.read(item, "PixelValueTransformationSequence", _rescale),
        _location(item.first("OphthalmicFrameLocationSequence")),
        _numbers(_first(item, "PlanePositionSequence"), "ImagePositionPatient", (3,)),
        cache.read(item, "PlaneOrientationSequence", _orientation, needed=False),
        _whole_numbers(content, "InStackPositionNumber", (1,)),
        _whole_numbers(content, "DimensionIndexValues", range(1, 32)),
        "" if content is None else content.text("StackID"),
        "" if content is None else "".join(map(str, _whole_numbers(content, "TemporalPositionIndex", (1,)))),
        cache.read(item, "FrameAnatomySequence", _eye, needed=False),
    )


def _filled(own: FrameItem, common: FrameItem) -> FrameItem:
    """One frame: its place and eye may stand in the shared groups."""
    return own._replace(
        location=own.location if len(own.location) else common.location,
        position=own.position if len(own.position) else common.position,
        orientation=own.orientation if len(own.orientation) else common.orientation,
        eye=own.eye or common.eye,
    )


def _first(frame: Attributes, name: str) -> Attributes | None:
    """The first item of a sequence that pixels do not depend on: None if it is damaged."""
    try:
        return frame.first(name)
    except Refused:
        return None


def _measures(item: Attributes | None) -> PixelMeasures | None:
    return None if item is None else pixel_measures.read("per_frame", item)


def _rescale(item: Attributes | None) -> Rescale | None:
    return None if item is None else slope_intercept(item)


def _orientation(item: Attributes | None) -> np.ndarray:
    return _numbers(item, "ImageOrientationPatient", (6,))


def _eye(item: Attributes | None) -> str:
    return "" if item is None else item.text("FrameLaterality").upper()


def _location(item: Attributes | None) -> np.ndarray:
    numbers = NOTHING if item is None else item.numbers("ReferenceCoordinates")
    return numbers[: len(numbers) // 2 * 2].reshape(-1, 2)


def _numbers(item: Attributes | None, name: str, counts: Container[int]) -> np.ndarray:
    """All numbers of a value, empty if they are not as many as `counts` allows, or no numbers."""
    if item is None:
        return NOTHING
    try:
        numbers = item.numbers(name)
    except Refused:  # words where numbers belong: nothing here is needed to read the pixels
        return NOTHING
    return numbers if len(numbers) in counts else NOTHING


def _whole_numbers(item: Attributes | None, name: str, counts: Container[int]) -> np.ndarray:
    """As `_numbers`; empty too if one is not whole, or too great to be a count."""
    numbers = _numbers(item, name, counts)
    # plain floats: of so few, NumPy takes longer
    return numbers if all(abs(n) < MOST and n.is_integer() for n in numbers.tolist()) else NOTHING


def _rows(values: Sequence[np.ndarray], width: int) -> np.ndarray:
    """(F, width), NaN for a frame that has another number of values."""
    rows = np.full((len(values), width), np.nan)
    for row, numbers in zip(rows, values, strict=True):
        if len(numbers) == width:
            row[:] = numbers
    return rows


def _each_once(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in words if word))


def _normal(orientations: Sequence[np.ndarray]) -> np.ndarray | None:
    """The unit normal to planes of these orientations (PS3.3 C.7.6.2.1.1: row, then column direction)."""
    usable = [o for o in orientations if len(o) == 6 and (np.abs(o) <= 1 + UNIT).all()]
    if not usable or len(usable) < len(orientations):
        return None
    rows_F3, columns_F3 = np.split(np.array(usable), 2, axis=1)
    normals = np.cross(rows_F3, columns_F3)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    if not (np.abs(lengths - 1) < UNIT).all():
        return None
    normals /= lengths
    mean = normals.mean(axis=0)
    length = float(np.linalg.norm(mean))
    return mean / length if length and (normals @ mean / length).min() > PARALLEL else None
