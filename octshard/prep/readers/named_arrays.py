"""Which of several named arrays in a file is the scan: by its name, or as the only one that can be. Pure."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from octshard.prep.readers import array_scan
from octshard.prep.refusals import Refused

# what a scan is called, the most usual first; oct_bscans is that of Harvard's data sets
NAMES = ("oct_bscans", "bscans", "oct", "volume", "vol", "scan", "image", "images", "img", "data", "arr_0")
NAMED = 6  # arrays that a message names


class NamedArray(Protocol):
    """An array of numbers in a file."""

    @property
    def name(self) -> str:
        """As the file calls it."""

    @property
    def shape(self) -> Sequence[int]:
        """In the order of the file."""


A = TypeVar("A", bound=NamedArray)


def scan_of(arrays: Sequence[A], told: str = "") -> A:
    """The scan; Refused `several_volumes` or `not_oct`, with the names of all, if that is not one.

    A name says it, of an image or in colour too: what lies beside it is something else. told: as in
    `array_scan.is_colour`.
    """
    by_name = {array.name.lower(): array for array in reversed(arrays) if _is_image(array)}
    for name in NAMES:
        if name in by_name:
            return by_name[name]
    volumes = [a for a in arrays if axes(a) >= 3 and not array_scan.is_colour(a.shape, told)]
    images = [array for array in arrays if axes(array) == 2]
    for candidates in (volumes, images if not volumes else []):
        if len(candidates) == 1:
            return candidates[0]
    texts = ", ".join(f"{array.name} {tuple(array.shape)}" for array in (volumes or arrays)[:NAMED])
    if volumes:
        detail = f"{len(volumes)} arrays could be the scan: {texts}; call it {NAMES[0]}"
        raise Refused("several_volumes", detail, (texts,))
    grey = ", and not in colour," if any(array_scan.is_colour(a.shape, told) for a in arrays) else ""
    detail = f"no array of three axes{grey} among {len(arrays)} of numbers{': ' if texts else ''}{texts}"
    raise Refused("not_oct", detail, (texts,))


def _is_image(array: NamedArray) -> bool:
    """True unless it is a number or a list, as MATLAB writes them too."""
    return axes(array) >= 2 and 1 not in array.shape[:2]


def axes(array: NamedArray) -> int:
    """How many there are, without those of length 1 at the end."""
    shape = list(array.shape)
    while len(shape) > 2 and shape[-1] == 1:
        shape.pop()
    return len(shape)
