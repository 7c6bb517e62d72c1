"""Values that are no grey levels, such as floats or negative numbers, become levels by one linear map. Pure.

Whole numbers that uint8 or uint16 can hold stay what they are.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from octshard.prep.refusals import Refused

TOP = 65535


@dataclass(frozen=True)
class LevelMap:
    """`low` becomes 0 and `high` becomes `top`; invalid ones become 0 too. limit: from it on all are."""

    low: float
    high: float
    top: int
    dtype: type[np.unsignedinteger]
    invalid: int = 0
    limit: float = np.inf

    @property
    def text(self) -> str:
        """For the detail of a row; empty if values stay what they are."""
        if self.low == 0 and self.high == self.top and not self.invalid:
            return ""
        invalid = f"; {self.invalid} invalid ones became 0" if self.invalid else ""
        return f"values {self.low:.6g} to {self.high:.6g} became 0 to {self.top}{invalid}"

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Levels of the same shape, uint8 or uint16."""
        if values.dtype.kind in "iu" and self.top == self.high - self.low:
            return (values - values.dtype.type(int(self.low))).astype(self.dtype)  # what wraps, wraps back
        with np.errstate(invalid="ignore"):  # a NaN that signals is no more than a NaN
            half = values.astype(np.float64) / 2  # of the values: their difference may be no float64
        span = self.high / 2 - self.low / 2
        share = (half - self.low / 2) / span if span > 0 else np.zeros(values.shape)
        return np.rint(np.where(_valid(values, self.limit), share, 0) * self.top).astype(self.dtype)


def level_map(frames: Iterable[np.ndarray], limit: float = np.inf) -> LevelMap:
    """The map of a volume, by one pass over its frames, all of one number type.

    limit: magnitude from which on a value is a mark for none. Refused `empty` if no value is valid.
    """
    low, high, invalid, dtype = np.inf, -np.inf, 0, np.dtype(np.uint8)
    for frame in frames:
        dtype = frame.dtype
        valid = _valid(frame, limit)
        found = frame[valid] if dtype.kind == "f" else frame
        invalid += frame.size - found.size
        if found.size:
            low, high = min(low, found.min().item()), max(high, found.max().item())
    if low > high:
        raise Refused("empty", f"none of its {invalid} values is a number")
    if dtype.kind == "f":
        return LevelMap(low, high, TOP, np.uint16, invalid, limit)
    if low >= 0 and high <= TOP:
        return LevelMap(0, int(high), int(high), np.uint8 if dtype.itemsize == 1 else np.uint16)
    narrow = high - low <= TOP
    return LevelMap(
        low, high, int(high - low) if narrow else TOP, np.uint8 if dtype.itemsize == 1 else np.uint16
    )


def _valid(values: np.ndarray, limit: float) -> np.ndarray:
    if values.dtype.kind != "f":
        return np.ones(values.shape, bool)
    return np.isfinite(values) & (np.abs(values) < limit)
