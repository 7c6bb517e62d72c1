"""A scan that is an array of numbers and little else: what such formats have in common.

They say nothing of the places of frames, and most of them nothing of the eye.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from octshard.imaging.volume import Shape, Spacing, length_mm, triple
from octshard.prep.readers.levels import LevelMap, level_map
from octshard.prep.readers.scan import check_size
from octshard.prep.refusals import Refused
from octshard.prep.scan_facts import Concatenation, PixelMeasures, Placement, ScanFacts

NOWHERE = Placement(np.empty(0), np.empty((0, 0)), np.empty((0, 3)), None, (), (), (), ())
LEVELS = (np.dtype(np.uint8), np.dtype(np.uint16))  # types whose values are grey levels as they are
SAMPLES = (3, 4)  # along a last axis: colour


class Stack(Protocol):
    """Frames by their index: an array (D, H, W), or what decodes one frame at a time."""

    def __getitem__(self, index: int, /) -> np.ndarray:
        """Values (H, W); Refused if they are damaged."""


@dataclass(frozen=True, eq=False)
class ArrayScan:
    """As `Scan`. load: opens the pixels; Refused if they are damaged. limit: as in `level_map`."""

    facts: ScanFacts
    dtype: np.dtype
    load: Callable[[], Stack]
    limit: float = np.inf

    def check(self, max_voxels: int) -> None:
        """Refused `empty` or `too_large`."""
        check_size(self.facts, max_voxels)

    def level_for(self, spacing_mm: Spacing, target_mm: Spacing) -> int:
        """0: there are no resolution levels."""
        return 0

    def frames(self, level: int = 0, order: Sequence[int] = ()) -> Iterator[np.ndarray]:
        """As `Scan`."""
        for index in order or range(self.facts.frames):
            values_HW = self._stack[index]
            if self._map is None:
                yield values_HW.astype(values_HW.dtype.newbyteorder("="), copy=False)
            else:
                yield self._map.apply(values_HW)

    def bits_differ(self) -> bool:
        """Never: the type of the numbers is all that such a file says of them."""
        return False

    def rescaling(self) -> str:
        """As `Scan`."""
        return "" if self._map is None else self._map.text

    @cached_property
    def _stack(self) -> Stack:
        return self.load()

    @cached_property
    def _map(self) -> LevelMap | None:
        """None where numbers are grey levels as they are."""
        if self.dtype.newbyteorder("=") in LEVELS:
            return None
        return level_map((self._stack[index] for index in range(self.facts.frames)), self.limit)


def array_facts(
    shape: Shape, dtype: np.dtype, measures: Sequence[PixelMeasures] = (), eye: str = ""
) -> ScanFacts:
    """What an array (D, H, W) says of its scan; all else is left empty."""
    frames, rows, cols = shape
    return ScanFacts(
        sop_instance_uid="",
        transfer_syntax="",
        manufacturer="",
        model="",
        eye=eye,
        frames=frames,
        rows=rows,
        cols=cols,
        bits=8 * dtype.itemsize,
        measures=tuple(measures),
        locations=(),
        placement=NOWHERE,
        concatenation=Concatenation(),
    )


def file_measures(spacing_DHW: Sequence[float | None]) -> PixelMeasures:
    """Spacing (dz, dy, dx) in mm that a file tells, None or nan where it does not."""
    told = [None if mm is None or np.isnan(mm) else float(mm) for mm in spacing_DHW]
    dz, dy, dx = (None if mm is None else length_mm(mm) for mm in told)
    unreadable = tuple(f"spacing {mm:g}" for mm in told if mm is not None and length_mm(mm) is None)
    plane = None if dy is None or dx is None else (dy, dx)
    alone = (dy, dx) if plane is None else (None, None)
    return PixelMeasures("file", plane, spacing_between_slices_mm=dz, unreadable=unreadable, alone_mm=alone)


def volume_axes(shape: Sequence[int], axes: str) -> tuple[int, int, int]:
    """The file's axes that are B-scans, depth and A-scans. axes: an order of d, h and w.

    Axes of length 1 behind the third do not count, and an image is one B-scan (its d is -1). Refused
    `not_oct` for colour or what is no array of B-scans, `several_volumes` for more axes.
    """
    kept = _without_ones(shape)
    if len(kept) == 2:
        h, w = (axes.replace("d", "").index(letter) for letter in "hw")
        return -1, h, w
    if len(kept) == 4 and kept[-1] in SAMPLES:
        raise Refused("not_oct", f"an array {tuple(shape)}: {kept[-1]} samples a pixel, want grey levels")
    if len(kept) > 3:
        raise Refused("several_volumes", f"an array {_shown(shape)}, want one of three axes")
    if len(kept) < 3:
        raise Refused("not_oct", f"an array {tuple(shape)}, want one of three axes")
    return triple([axes.index(letter) for letter in "dhw"])


def is_colour(shape: Sequence[int], told: str = "") -> bool:
    """True for an image of three axes whose last is short as that of samples, and the others are longer.

    told: the order of axes as a manifest says it; a last axis that it calls B-scans holds no colour.
    """
    kept = _without_ones(shape)
    return len(kept) == 3 and kept[-1] in SAMPLES and min(kept[:2]) > kept[-1] and told[-1:] != "d"


def check_is_grey(shape: Sequence[int], told: str) -> None:
    """Refused `not_oct` for what `is_colour`."""
    if is_colour(shape, told):
        count = _without_ones(shape)[-1]
        samples = f"{count} samples a pixel, want grey levels"
        act = f"; if these are {count} B-scans, axes hwd in the manifest"
        raise Refused("not_oct", f"an array {tuple(shape)}: {samples}{act}")


def check_dtype(dtype: np.dtype) -> None:
    """Refused for what are no grey values: `unreadable`, or `not_oct` for colours."""
    if dtype.names is not None and dtype.fields is not None and {"R", "G", "B"} <= set(dtype.names):
        raise Refused("not_oct", "pixels in colour, want grey levels")
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise Refused(
            "unreadable", f"values of type {dtype.kind}{8 * dtype.itemsize}, want whole numbers or floats"
        )


def to_volume(array: np.ndarray, axes: tuple[int, int, int]) -> np.ndarray:
    """The array as (D, H, W), a view. axes: of `volume_axes`."""
    d, h, w = axes
    if d < 0:
        return array.transpose(h, w)[None]
    return array.reshape(array.shape[:3]).transpose(d, h, w)


def volume_shape(shape: Sequence[int], axes: tuple[int, int, int]) -> Shape:
    """(D, H, W) of an array. axes: of `volume_axes`."""
    return triple([1 if axis < 0 else shape[axis] for axis in axes])


def _without_ones(shape: Sequence[int]) -> list[int]:
    """Without axes of length 1 behind the third."""
    kept = list(shape)
    while len(kept) > 3 and kept[-1] == 1:
        kept.pop()
    return kept


def _shown(shape: Sequence[int]) -> str:
    return str(tuple(shape[:8])) if len(shape) <= 8 else f"of {len(shape)} axes"
