"""How stored pixel numbers become grey levels: sign, RescaleSlope/Intercept, MONOCHROME1. Pure NumPy.

One table per (slope, intercept) maps every stored bit pattern, so a frame costs one gather, and nothing where
stored numbers already are grey levels.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np


class LevelRange(NamedTuple):
    """Least and greatest rescaled level that stored bits can express, over all frames."""

    low: float
    high: float
    bits: int


@dataclass(frozen=True)
class PixelTransform:
    """PS3.3 Pixel Value Transformation: how stored numbers become grey levels.

    rescale: (slope, intercept) of frame after frame; the last one holds for all frames that follow.
    scan_range: of the scan that the file is a part of, so that a level means the same in all parts.
    """

    bits_allocated: int  # 8 or 16
    bits_stored: int
    signed: bool
    inverted: bool  # MONOCHROME1: more is darker
    rescale: tuple[tuple[float, float], ...]
    scan_range: LevelRange | None = None

    def problem(self) -> str:
        """Why these numbers cannot be read, or an empty text."""
        if self.bits_allocated not in (8, 16) or not 1 <= self.bits_stored <= self.bits_allocated:
            return f"{self.bits_stored} of {self.bits_allocated} bits stored, want 8 or 16 allocated"
        for slope, intercept in self.rescale:
            if not (math.isfinite(slope) and math.isfinite(intercept) and slope != 0):
                pair = f"rescale slope and intercept {(slope, intercept)}"
                return f"{pair}, want finite and a slope other than 0"
        low, high, _ = self.range
        if not (math.isfinite(high - low) and high > low):
            return f"rescale slope and intercept {self.rescale[0]} give levels {low} to {high}, want a range"
        return ""

    @cached_property
    def is_identity(self) -> bool:
        """True if stored numbers already are grey levels."""
        is_plain = set(self.rescale) == {(1.0, 0.0)} and not self.signed and not self.inverted
        return is_plain and self.scan_range is None

    @cached_property
    def range(self) -> LevelRange:
        """That of the scan, if the file is a part of one."""
        if self.scan_range is not None:
            return self.scan_range
        half = 2 ** (self.bits_stored - 1)
        low, high = (-half, half - 1) if self.signed else (0, 2 * half - 1)
        ends = [level * slope + intercept for slope, intercept in self.rescale for level in (low, high)]
        return LevelRange(min(ends), max(ends), self.bits_stored)

    def apply(self, frame_HW: np.ndarray, index: int) -> np.ndarray:
        """Grey levels of frame `index`, uint8 or uint16: the narrowest that holds the rescaled range.

        A range that reaches below 0 or beyond 65535, or that would squeeze the stored numbers into fewer
        whole levels than they have (a slope of 1/255), is mapped linearly onto uint16.
        """
        stored = frame_HW.astype(self._stored, copy=False)
        if self.is_identity:
            return stored
        pair = self.rescale[min(index, len(self.rescale) - 1)]
        if pair not in self._tables:
            self._tables[pair] = self._table(pair)
        return np.take(self._tables[pair], stored.view(f"u{self._stored.itemsize}"))

    @property
    def _stored(self) -> np.dtype:
        return np.dtype(f"{'i' if self.signed else 'u'}{self.bits_allocated // 8}")

    @cached_property
    def _tables(self) -> dict[tuple[float, float], np.ndarray]:
        return {}

    def _table(self, pair: tuple[float, float]) -> np.ndarray:
        """Output level of every stored bit pattern."""
        patterns = np.arange(2**self.bits_allocated, dtype=f"u{self.bits_allocated // 8}")
        values = patterns.view(self._stored).astype(np.float64) * pair[0] + pair[1]
        low, high, bits = self.range
        if self.inverted:
            values = low + high - values
        if low < 0 or high > 65535 or high - low < 2**bits - 1:
            values, high = (values - low) * (65535.0 / (high - low)), 65535.0
        dtype = np.uint8 if high <= 255 else np.uint16
        return np.clip(np.rint(values), 0, np.iinfo(dtype).max).astype(dtype)
