"""Numbers for people: thin spaces between groups of three, true minus signs, units, a dash for no value."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
NOTHING = "–"


@dataclass(frozen=True)
class Rounded:
    """A number and its displayed decimals; a table sorts by the full value."""

    value: float
    decimals: int


def integer(value: int) -> str:
    """12 345 with thin spaces."""
    return f"{value:,}".replace(",", "\u202f").replace("-", "−")


def decimal(value: float, decimals: int) -> str:
    """With that number of decimals, in groups of three; a dash for nan."""
    if math.isnan(value):
        return NOTHING
    return f"{value:,.{decimals}f}".replace(",", "\u202f").replace("-", "−")


def alike(values: Sequence[float]) -> list[str]:
    """All with the decimals that the greatest needs for three digits, without trailing zeros."""
    greatest = max(map(abs, values), default=0.0)
    decimals = max(0, 2 - math.floor(math.log10(greatest))) if greatest else 0
    words = (decimal(value, decimals) for value in values)
    return [word.rstrip("0").removesuffix(".") if decimals else word for word in words]


def pluralize(number: int, singular: str, plural: str = "") -> str:
    """`1 file`, `2 files`; plural: needed if it is not `singular` + s."""
    return f"{integer(number)} {singular if number == 1 else plural or singular + 's'}"


def byte_unit(total: float) -> tuple[float, str]:
    """The greatest unit (its size in bytes and its name) that is not larger than `total` bytes."""
    return next(((size, name) for size, name in UNITS if total >= size), (1.0, "bytes"))


def dimensions(values: Sequence[float | None] | None) -> str:
    """128 × 885 × 512 with no-break spaces; a dash for unknown values."""
    if values is None:
        return NOTHING
    return "\u00a0×\u00a0".join(NOTHING if value is None else f"{value:g}" for value in values)
