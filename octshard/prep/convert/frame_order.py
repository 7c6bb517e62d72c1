"""In which order the frames of a file lie in space, by everything that tells it. Pure.

Frames are sorted where every source agrees, in one direction or the other; a file whose sources contradict
each other, or that holds less than one volume, is Refused.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from octshard.prep.convert.geometry import classify, places
from octshard.prep.convert.positions import Positions
from octshard.prep.refusals import Refused
from octshard.prep.scan_facts import Placement, ScanFacts

JOIN = "want a row of the first part whose column parts names the others"


@dataclass(frozen=True, eq=False)
class _Source:
    """What one source tells of the order: greater numbers lie further on. slack: what counts as equal."""

    name: str
    value_F: np.ndarray  # NaN where it says nothing
    slack: float = 0.0

    def agrees(self, order: np.ndarray) -> bool:
        """True if the frames, in this order, move on in one direction."""
        value_F = self.value_F[order]
        onward_F = np.diff(value_F[np.isfinite(value_F)])
        return bool((onward_F >= -self.slack).all() or (onward_F <= self.slack).all())

    @property
    def order(self) -> np.ndarray | None:
        """The order of rising values; None if they do not tell all frames apart."""
        rising = np.argsort(self.value_F, kind="stable")
        tells_all = (np.diff(self.value_F[rising]) > self.slack).all()  # not if one is NaN
        return rising if tells_all else None


def check_is_whole(scan: ScanFacts) -> None:
    """Refused `part_of_scan`."""
    concatenation = scan.concatenation
    if concatenation.is_part:
        part, parts = concatenation.part or "?", concatenation.parts or "?"
        raise Refused("part_of_scan", f"part {part} of {parts} of a concatenation, {JOIN}")


def order_of(scan: ScanFacts, positions: Positions | None) -> tuple[int, ...]:
    """The file's index of each frame in the order of space; () if that is the file's order.

    Refused `frame_order` if the sources contradict each other. Frame locations sort alone only where nothing
    else speaks and the result is a raster: else the frames are uneven, which is told from their geometry.
    """
    as_filed = np.arange(scan.frames)
    numbered = _numbered(scan.placement, positions, scan.frames)
    located = _located(scan)
    disordered = [source for source in numbered if not source.agrees(as_filed)]
    if not disordered:
        if located is None or numbered or located.agrees(as_filed) or (order := located.order) is None:
            return ()
        is_raster = classify(in_order(scan.locations, order), scan.frames).kind == "raster"
        return tuple(order.tolist()) if is_raster else ()
    order = next((order for source in disordered if (order := source.order) is not None), None)
    if order is None:
        raise Refused("frame_order", f"frames are out of order, or repeat, by {disordered[0].name}")
    sources = [*numbered, *([located] if located is not None else [])]
    if against := [source.name for source in sources if not source.agrees(order)]:
        detail = f"frames come in one order by {disordered[0].name}, in another by {against[0]}"
        raise Refused("frame_order", detail)
    return tuple(order.tolist())


def gap_in(scan: ScanFacts, order: Sequence[int]) -> str:
    """Where the frames' numbers, in the order of `order_of`, repeats or leaves some out; empty: nowhere."""
    number_F = _padded(scan.placement.numbers_F, scan.frames)
    number_F = number_F[list(order)] if order else number_F
    strides = np.abs(np.diff(number_F))
    if not np.isfinite(strides).all() or not strides.any() or (strides == strides[0]).all():
        return ""
    at = int(np.argmin(strides) if not strides.all() else np.argmax(strides))
    return f"{scan.placement.numbered_by} goes from {number_F[at]:.0f} to {number_F[at + 1]:.0f}"


def in_order(values: Sequence[np.ndarray], order: Iterable[int]) -> tuple[np.ndarray, ...]:
    """Per-frame values in the order of space; frames without one get an empty one."""
    return tuple(values[i] if i < len(values) else np.empty((0, 2)) for i in order)


def _numbered(placement: Placement, positions: Positions | None, frames: int) -> list[_Source]:
    """Sources that number frames or place them in mm; not those that say the same of all."""
    sources = [
        _Source(placement.numbered_by, _padded(placement.numbers_F, frames)),
        _Source("DimensionIndexValues", _padded(_ranks(placement.indices_FK), frames)),
    ]
    if positions is not None:
        sources.insert(1, _Source("ImagePositionPatient", positions.place_F, positions.rounding_mm))
    return [source for source in sources if _tells(source.value_F)]


def _located(scan: ScanFacts) -> _Source | None:
    located = places(scan.locations, scan.frames)
    return None if located is None else _Source("frame locations", *located)


def _ranks(indices_FK: np.ndarray) -> np.ndarray:
    """Vectors of indices as numbers in their lexical order; NaN for a frame without one."""
    rank_F = np.full(len(indices_FK), np.nan)
    told_F = np.isfinite(indices_FK).all(axis=1) & (indices_FK.shape[1] > 0)
    if told_F.any():
        rank_F[told_F] = np.unique(indices_FK[told_F], axis=0, return_inverse=True)[1].reshape(-1)
    return rank_F


def _padded(value_F: np.ndarray, frames: int) -> np.ndarray:
    padded_F = np.full(frames, np.nan)
    padded_F[: len(value_F)] = value_F[:frames]
    return padded_F


def _tells(value_F: np.ndarray) -> bool:
    return len(np.unique(value_F[np.isfinite(value_F)])) > 1
