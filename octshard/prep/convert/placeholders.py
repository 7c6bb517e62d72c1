"""Spacings that converters invent where they know none: taken for missing, never for a measurement. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from octshard.prep.scan_facts import PixelMeasures

ONE_MM = 1.0  # the most usual one: no pixel of an OCT is so large, and hardly a step
EXACTLY = 1e-6  # relative, of numbers that were written as text


class Placeholder(NamedTuple):
    """maker: a word in the manufacturer's name, in lower case; empty: any."""

    maker: str
    pixel_mm: tuple[float, float]
    thickness_mm: float


PLACEHOLDERS = (  # of OCT-Converter, for formats that hold no spacing: Zeiss .img, Bioptigen .OCT
    Placeholder("", (0.002, 0.002), 0.004),
    Placeholder("bioptigen", (0.02, 0.02), 0.2),
)


def is_one_mm(length_mm: float | None) -> bool:
    """True for exactly 1 mm, which nobody measured."""
    return length_mm is not None and _same(length_mm, ONE_MM)


def without_placeholders(measures: Sequence[PixelMeasures], maker: str) -> tuple[PixelMeasures, ...]:
    """The measures without invented in-plane spacings, and steps that came with them."""
    return tuple(_without(m, maker.lower()) for m in measures)


def _without(measures: PixelMeasures, maker: str) -> PixelMeasures:
    plane = measures.pixel_mm
    if plane is None:
        return measures
    if any(map(is_one_mm, plane)):
        return replace(measures, pixel_mm=None, invented_mm=plane)
    for known in PLACEHOLDERS:
        if known.maker in maker and all(map(_same, plane, known.pixel_mm)):
            thickness = measures.thickness_mm
            real_mm = None if thickness is not None and _same(thickness, known.thickness_mm) else thickness
            return replace(measures, pixel_mm=None, thickness_mm=real_mm, invented_mm=plane)
    return measures


def _same(length_mm: float, other_mm: float) -> bool:
    return abs(length_mm - other_mm) <= EXACTLY * other_mm
