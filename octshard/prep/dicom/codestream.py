"""What one compressed frame says of itself: size, samples and resolution levels, from its first bytes alone.

Read before any decoder sees it, so that a frame of another size than the header declares asks for no memory.
Sources: ISO/IEC 15444-1 Annex A (JPEG 2000), 10918-1 Annex B (JPEG), 14495-1 Annex C (JPEG-LS).
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

SOC, SIZ, COD, COC, SOT = 0xFF4F, 0xFF51, 0xFF52, 0xFF53, 0xFF90  # JPEG 2000
SOI, DHT, JPG, DAC, SOS, SOF_JPEG_LS = 0xFFD8, 0xFFC4, 0xFFC8, 0xFFCC, 0xFFDA, 0xFFF7  # JPEG, JPEG-LS
ALONE = frozenset([0xFF01, *range(0xFFD0, 0xFFD8)])  # JPEG markers without a segment
MOST_TILES = 4096  # of a frame: a decoder asks for kilobytes a tile


class Frame(NamedTuple):
    """What a codestream declares. levels: resolutions below the full one, 0 where they lie off the grid."""

    rows: int
    cols: int
    components: int
    bits: int
    signed: bool
    levels: int


class BadCodestream(ValueError):
    """Not a codestream of this kind, or one that cannot be this frame."""


def jpeg_2000(code: bytes) -> Frame:
    """The main header of a JPEG 2000 or HTJ2K codestream, also in JP2 boxes. BadCodestream if it is none."""
    start = _codestream_in_boxes(code)
    if code[start : start + 4] != b"\xff\x4f\xff\x51":
        raise BadCodestream(f"begins with {code[:4].hex(' ')}, want SOC and SIZ")
    frame, levels = None, []
    for marker, at, stop in _segments(code, start + 2):
        if marker == SIZ:
            frame = _siz(code, at, stop)
        elif marker == COD and stop - at >= 6:
            levels.append(code[at + 5])
        elif marker == COC and stop - at >= 3:
            levels.append(code[at + 2])  # of the only component: fewer than 257 have one-byte numbers
        elif marker == SOT:
            break
    assert frame is not None
    return frame._replace(levels=min(levels, default=0) if frame.levels else 0)


def jpeg(code: bytes) -> Frame:
    """The frame header of a JPEG or JPEG-LS codestream. BadCodestream if it has none."""
    if code[:2] != b"\xff\xd8":
        raise BadCodestream(f"begins with {code[:4].hex(' ')}, want SOI")
    for marker, at, stop in _segments(code, 2):
        if marker == SOF_JPEG_LS or (0xFFC0 <= marker <= 0xFFCF and marker not in (DHT, JPG, DAC)):
            if stop - at < 6:
                break
            bits, rows, cols, components = struct.unpack_from(">BHHB", code, at)
            return Frame(rows, cols, components, bits, False, 0)
        if marker == SOS:
            break
    raise BadCodestream("no frame header before the first scan")


def _siz(code: bytes, at: int, stop: int) -> Frame:
    """levels is 1 where the grid begins at 0, so that low-pass samples sit on even places; else 0."""
    if stop - at < 39:
        raise BadCodestream(f"SIZ has {stop - at} bytes, want 39 or more")
    _, width, height, left, top, tile_w, tile_h, tile_left, tile_top, components = struct.unpack_from(
        ">H8LH", code, at
    )
    depth, step_x, step_y = code[at + 36 : at + 39]
    if not tile_w or not tile_h or -(-width // tile_w) * -(-height // tile_h) > MOST_TILES:
        raise BadCodestream(f"tiles of {tile_h} x {tile_w} on {height} x {width}, want at most {MOST_TILES}")
    if (step_x, step_y) != (1, 1):
        raise BadCodestream(f"samples every {step_y} rows and {step_x} columns, want 1 and 1")
    at_zero = not (left or top or tile_left or tile_top)
    return Frame(height - top, width - left, components, (depth & 127) + 1, depth > 127, int(at_zero))


def _segments(code: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """(marker, start, stop) of marker segments without their length; BadCodestream if one is cut short."""
    while at + 4 <= len(code):
        marker, length = struct.unpack_from(">HH", code, at)
        if marker == 0xFFFF:  # a fill byte
            at += 1
        elif marker in ALONE:
            at += 2
        elif marker < 0xFF00 or length < 2 or at + 2 + length > len(code):
            raise BadCodestream(f"no marker segment at byte {at}")
        else:
            yield marker, at + 4, at + 2 + length
            at += 2 + length
    raise BadCodestream(f"ends at byte {len(code)}, inside its header")


def _codestream_in_boxes(code: bytes) -> int:
    """Where the codestream begins: 0, or in the jp2c box that some exporters leave on."""
    if code[4:8] != b"jP  ":
        return 0
    at = 0
    while at + 8 <= len(code):
        length = int.from_bytes(code[at : at + 4])
        if code[at + 4 : at + 8] == b"jp2c":
            return at + (16 if length == 1 else 8)
        if length < 8:
            break
        at += length
    raise BadCodestream("JP2 boxes without a codestream")
