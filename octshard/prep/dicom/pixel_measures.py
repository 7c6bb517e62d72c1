"""What each source in a file says of voxel spacing (PS3.3 Pixel Measures), read leniently."""

import statistics
from collections.abc import Sequence

from octshard.prep import lengths
from octshard.prep.dicom.attributes import Attributes
from octshard.prep.refusals import Refused
from octshard.prep.scan_facts import PixelMeasures

SAME = 0.01  # two spacings closer than this share are one


def read(source: str, group: Attributes | None) -> PixelMeasures:
    """The measures of one item, or of the top level."""
    if group is None:
        return PixelMeasures(source)
    plane = _reading(group, "PixelSpacing", 2)
    thickness = _reading(group, "SliceThickness", 1)
    between = _reading(group, "SpacingBetweenSlices", 1, signed=True)
    return PixelMeasures(
        source,
        (plane.mm[0], plane.mm[1]) if plane.mm else None,
        thickness.mm[0] if thickness.mm else None,
        between.mm[0] if between.mm else None,
        unreadable=tuple(reading.problem for reading in (plane, thickness, between) if reading.problem),
    )


def median(measures: Sequence[PixelMeasures]) -> PixelMeasures:
    """The median over frames, marked where frames disagree."""
    planes = [m.pixel_mm for m in measures if m.pixel_mm is not None]
    rows, varies_rows = _median([plane[0] for plane in planes])
    cols, varies_cols = _median([plane[1] for plane in planes])
    thickness, varies_thickness = _median([m.thickness_mm for m in measures if m.thickness_mm])
    between, varies_between = _median(
        [m.spacing_between_slices_mm for m in measures if m.spacing_between_slices_mm]
    )
    return PixelMeasures(
        "per_frame",
        (rows, cols) if rows and cols else None,
        thickness,
        between,
        varies_rows or varies_cols or varies_thickness or varies_between,
        tuple(dict.fromkeys(problem for m in measures for problem in m.unreadable)),
    )


def _reading(group: Attributes, name: str, count: int, *, signed: bool = False) -> lengths.Reading:
    try:
        text = group.numeric_text(name)
    except Refused as refused:  # another source may give it
        return lengths.Reading((), refused.detail)
    return lengths.read(name, text, count, signed=signed)


def _median(values: Sequence[float]) -> tuple[float | None, bool]:
    if not values:
        return None, False
    middle = statistics.median_low(values)
    return middle, max(abs(value - middle) for value in values) > SAME * middle
