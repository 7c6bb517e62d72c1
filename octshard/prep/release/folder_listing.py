"""A folder that is one scan, as bytes: the names and sizes of its images, one in a line; both directions.

Of the names in the folder only those that end as an image does are in it: notes, tables and hidden files may
come and go, and the scan is the same.
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from octshard.prep.refusals import Refused
from octshard.storage.checksum import Buffer

HEADER = b"octshard: the images of a folder, 1\n"
ENDINGS = (
    ".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff", ".npy", ".nii", ".nii.gz", ".mha", ".nrrd",
)  # fmt: skip
SHORT = {".jpeg": ".jpg", ".tiff": ".tif"}
_DIGITS = re.compile(r"(\d{1,15})", re.ASCII)  # as many as a float64 tells apart


class Image(NamedTuple):
    """A file of the folder."""

    name: str
    size: int


def is_image(name: str) -> bool:
    """True for a name that is not hidden, and ends as an image does."""
    return not name.startswith(".") and name.lower().endswith(ENDINGS)


def pieces(name: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The text of a name, without regard to case, and the numbers between: img_007.png is (img_, .png), 7.

    .jpeg and .tiff count as .jpg and .tif.
    """
    lower = name.lower()
    long = next((ending for ending in SHORT if lower.endswith(ending)), "")
    parts = _DIGITS.split(lower.removesuffix(long) + SHORT.get(long, ""))
    return tuple(parts[::2]), tuple(map(int, parts[1::2]))


def write(images: Iterable[Image]) -> bytes:
    """The listing, in the order in which people count: 2.png comes before 10.png."""
    ordered = sorted(images, key=lambda image: (_order(image.name), image.name))
    return HEADER + b"".join(json.dumps([*image]).encode() + b"\n" for image in ordered)


def read(data: Buffer) -> list[Image]:
    """The images in their order; Refused `unreadable` for what `write` did not make."""
    try:
        images = [Image(*json.loads(line)) for line in bytes(data).removeprefix(HEADER).splitlines()]
        if all(type(image.name) is str and type(image.size) is int for image in images):
            return images
    except (TypeError, ValueError, RecursionError):
        pass
    raise Refused("unreadable", "the listing of the folder is damaged")


def is_one(data: Buffer) -> bool:
    """True if it begins as a listing does."""
    return bytes(data[: len(HEADER)]) == HEADER


def total_bytes(images: Sequence[Image]) -> int:
    """Of all images."""
    return sum(image.size for image in images)


def _order(name: str) -> tuple[tuple[int, int, str], ...]:
    """Numbers come before text, by their value."""
    parts = _DIGITS.split(name.lower())
    return tuple((0, int(part), "") if i % 2 else (1, 0, part) for i, part in enumerate(parts) if part)
