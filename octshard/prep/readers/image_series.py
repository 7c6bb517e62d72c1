"""Which names in a folder are the B-scans of one scan: names that differ in one number alone. Pure."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from octshard.prep.refusals import Refused
from octshard.prep.release import folder_listing

NAMED = 3  # names that a message shows


class Series(NamedTuple):
    """names: in their order, each with its number; others: images beside it, which are not of it."""

    names: tuple[str, ...]
    numbers: tuple[int, ...]
    others: tuple[str, ...]


def series_of(names: Sequence[str]) -> Series:
    """The series among names; Refused if there is none, or more than one.

    One image alone is a series. A few others may lie beside one, such as a fundus photograph.
    """
    if not names:
        raise Refused("empty", f"no image in the folder ({', '.join(folder_listing.ENDINGS)})")
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in names:
        groups[folder_listing.pieces(name)[0]].append(name)
    runs = [group for group in groups.values() if len(group) > 1]
    if len(runs) > 1:
        texts = ", ".join(f"{len(group)} as {group[0]}" for group in runs[:NAMED])
        detail = f"images of {len(runs)} series: {texts}; want a folder for each"
        raise Refused("several_volumes", detail, (texts,))
    images = runs[0] if runs else list(names)
    members = set(images)
    others = tuple(name for name in names if name not in members)
    if len(images) <= len(others) or (not runs and len(names) > 1):
        texts = ", ".join(names[:NAMED])
        raise Refused("frame_order", f"images are not numbered alike: {texts}", (texts,))
    numbers_NK = [folder_listing.pieces(name)[1] for name in images]
    counting = [k for k, column in enumerate(zip(*numbers_NK, strict=True)) if len(set(column)) > 1]
    if len(counting) != 1 and len(images) > 1:
        detail = f"names differ in {len(counting) or 'no'} numbers, as {images[0]} and {images[-1]}"
        private = images[0], images[-1]
        raise Refused("frame_order", f"{detail}; want one that counts B-scans", private)
    order = sorted(range(len(images)), key=lambda i: numbers_NK[i])
    numbers = tuple(numbers_NK[i][counting[0]] if counting else 0 for i in order)
    return Series(tuple(images[i] for i in order), numbers, others)
