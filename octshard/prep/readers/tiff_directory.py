"""The chain of pages in a TIFF file, walked within bounds before a library follows it.

A chain may lead in a circle, and tags of many pages may share bytes, so that each page costs the whole file.
Layout: TIFF 6.0, section 2; BigTIFF.
"""

import struct
from typing import NamedTuple

from octshard.prep.refusals import Refused
from octshard.storage.checksum import Buffer

MOST_PAGES = 10_000  # no scan has so many B-scans
MOST_TAGS = 1_000  # of a page; real ones have about twenty
# of a value of each type
TYPE_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
SHARED = 2  # times the bytes of the file that all tags may point at


class _Layout(NamedTuple):
    """Formats of struct: the number of tags, one tag, and the offset of the next page."""

    tags: struct.Struct
    entry: struct.Struct  # tag, type, count, value or offset
    offset: struct.Struct


def page_offsets(data: Buffer) -> list[int]:
    """Where the directory of each page lies; Refused `truncated` or `unreadable`."""
    layout, offset = _begin(data)
    offsets: list[int] = []
    seen: set[int] = set()
    pointed = 0
    while offset:
        if offset in seen or len(offsets) >= MOST_PAGES:
            raise Refused("unreadable", f"its pages lead in a circle, or are more than {MOST_PAGES}")
        seen.add(offset)
        offsets.append(offset)
        (tags,) = _unpacked(layout.tags, data, offset)
        if tags > MOST_TAGS:
            raise Refused("unreadable", f"page {len(offsets)} has {tags} tags, want at most {MOST_TAGS}")
        start = offset + layout.tags.size
        for i in range(tags):
            _, kind, count, _ = _unpacked(layout.entry, data, start + i * layout.entry.size)
            pointed += count * TYPE_BYTES.get(kind, 0)
        if pointed > SHARED * len(data):
            raise Refused("unreadable", f"tags up to page {len(offsets)} hold more bytes than the file")
        (offset,) = _unpacked(layout.offset, data, start + tags * layout.entry.size)
    return offsets


def _begin(data: Buffer) -> tuple[_Layout, int]:
    """How directories are written, and where the first one lies."""
    head = bytes(data[:16])
    order = "<" if head[:2] == b"II" else ">"
    is_big = 43 in head[2:4]
    code = "Q" if is_big else "L"  # of an offset, and of a count of values
    layout = _Layout(
        *(struct.Struct(order + form) for form in ("Q" if is_big else "H", f"HH{code}{code}", code))
    )
    (offset,) = _unpacked(layout.offset, data, 8 if is_big else 4)
    return layout, offset


def _unpacked(form: struct.Struct, data: Buffer, offset: int) -> tuple[int, ...]:
    if offset + form.size > len(data):
        raise Refused("truncated", f"its directory of pages goes on at byte {offset} of {len(data)}")
    return form.unpack_from(data, offset)
