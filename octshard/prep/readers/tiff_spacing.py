"""What the first page of a TIFF stack says of the whole: how many pages there are, and their spacing. Pure.

Sources: OME-XML (Pixels), ImageJ's description, else the resolution tags.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from octshard.prep.refusals import Refused

PIXELS = re.compile(r"<(?:\w+:)?Pixels\b([^>]*)>")
ATTRIBUTE = re.compile(r"""(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
# of a unit as OME and ImageJ write it, in lower case
MM = {"nm": 1e-6, "um": 1e-3, "micron": 1e-3, "microns": 1e-3, "mm": 1.0, "cm": 10.0, "m": 1e3, "inch": 25.4}
X_RESOLUTION, Y_RESOLUTION = 282, 283
UNIT_MM = {2: 25.4, 3: 10.0}  # ResolutionUnit: inch, cm
# dots per inch that programs write for screens and printers
SCREEN_DPI = (
    1, 72, 75, 90, 92, 96, 100, 110, 120, 144, 150, 180, 200, 220, 240, 254, 300, 350, 360, 400, 600, 1200,
)  # fmt: skip
SAME = 1e-3  # relative
MICRO = "\N{GREEK SMALL LETTER MU}", "\N{MICRO SIGN}", "\\u00b5"  # the last as ImageJ spells it


class StackSpacing(NamedTuple):
    """mm between pages, rows and columns; None where nothing is said. is_screen: it is a screen's."""

    mm: tuple[float | None, float | None, float | None]
    is_screen: bool = False


def spacing(page: Any, pages: int) -> StackSpacing:
    """Of a stack of so many pages by its first one; Refused if these are not all, or of several volumes."""
    text = str(page.description or "")
    if found := PIXELS.search(text):
        return _by_ome({key: double or single for key, double, single in ATTRIBUTE.findall(found[1])}, pages)
    rows_mm, cols_mm = _resolution(page, UNIT_MM.get(int(page.resolutionunit), math.nan))
    if text.startswith("ImageJ="):
        keys = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        return _by_imagej(keys, page, pages)
    if math.isnan(rows_mm) or math.isnan(cols_mm):
        return StackSpacing((None, None, None))
    dots = 25.4 / rows_mm if rows_mm else 0.0
    is_screen = rows_mm == cols_mm and any(abs(dots - dpi) <= SAME * dpi for dpi in SCREEN_DPI)
    return StackSpacing((None, rows_mm, cols_mm), is_screen)


def _by_ome(pixels: Mapping[str, str], pages: int) -> StackSpacing:
    _check_pages({name: pixels.get(f"Size{name}", "1") for name in "ZCT"}, pages)
    lengths = []
    for axis in "ZYX":
        value = pixels.get(f"PhysicalSize{axis}", "")
        lengths.append(_length(value, pixels.get(f"PhysicalSize{axis}Unit", "um")) if value else None)
    z, y, x = lengths
    return StackSpacing((z, y, x))


def _by_imagej(keys: Mapping[str, str], page: Any, pages: int) -> StackSpacing:
    axes = {name: keys.get(name, "1") for name in ("slices", "channels", "frames")}
    _check_pages(axes, pages)
    unit = keys.get("unit", "").strip()
    if not unit or unit.lower() in ("pixel", "pixels"):
        return StackSpacing((None, None, None))
    rows_mm, cols_mm = _resolution(page, _length("1", unit))
    step = keys.get("spacing", "")
    return StackSpacing((_length(step, unit) if step else None, rows_mm, cols_mm))


def _check_pages(sizes: Mapping[str, str], pages: int) -> None:
    """Refused `several_volumes` for more than one long axis, `frame_count` if the file has other pages."""
    counts = {name: int(text) if text.strip().isdigit() else 0 for name, text in sizes.items()}
    if len([count for count in counts.values() if count > 1]) > 1:
        text = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise Refused("several_volumes", f"a stack of {text}, want one axis of B-scans")
    if (declared := math.prod(counts.values())) != pages:
        raise Refused("frame_count", f"{declared} B-scans declared in the description, {pages} pages stored")


def _resolution(page: Any, unit_mm: float) -> tuple[float, float]:
    """mm from row to row and from column to column; nan where it is not known."""
    rows, cols = _number(page, Y_RESOLUTION), _number(page, X_RESOLUTION)
    return unit_mm / rows if rows > 0 else math.nan, unit_mm / cols if cols > 0 else math.nan


def _number(page: Any, code: int) -> float:
    """The value of a tag, a fraction or a number; nan without one."""
    tag = page.tags.get(code)
    value = None if tag is None else tag.value
    if isinstance(value, Sequence) and len(value) == 2:
        return value[0] / value[1] if value[1] else math.nan
    return float(value) if isinstance(value, int | float) else math.nan


def _length(text: str, unit: str) -> float:
    """mm; nan for what is no number, or in no unit that is known."""
    name = unit.strip().lower()
    for micro in MICRO:
        name = name.replace(micro, "u")
    try:
        return float(text) * MM.get(name, math.nan)
    except ValueError:
        return math.nan
