"""What one compressed frame declares: size, samples and resolution levels, from its first bytes alone.

Read before any decoder runs, so that a frame of another size than the header declares costs no memory.
Sources: ISO/IEC 15444-1 Annex A (JPEG 2000), 10918-1 Annex B (JPEG), 14495-1 Annex C (JPEG-LS).
"""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

SOC, SIZ, COD, COC, SOT = 0xFF4F, 0xFF51, 0xFF52, 0xFF53, 0xFF90  # JPEG 2000
SOI, DHT, JPG, DAC, SOS, SOF_JPEG_LS = 0xFFD8, 0xFFC4, 0xFFC8, 0xFFCC, 0xFFDA, 0xFFF7  # JPEG, JPEG-LS
DRI, RESTART = 0xFFDD, re.compile(rb"\xff[\xd0-\xd7]")  # every so many lines of JPEG-LS one of these markers
EOI = b"\xff\xd9"  # of JPEG and JPEG-LS, whose data hold no such pair of bytes
ALONE = frozenset([0xFF01, *range(0xFFD0, 0xFFD8)])  # JPEG markers without a segment
MAX_TILES = 4096  # of a frame: a decoder takes kilobytes for each tile


class Frame(NamedTuple):
    """What a codestream declares. levels: resolutions below the full one, 0 where they are off the grid."""

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
    soc = _codestream_in_boxes(code)
    if code[soc : soc + 4] != b"\xff\x4f\xff\x51":
        raise BadCodestream(f"begins with {code[:4].hex(' ')}, want SOC and SIZ")
    frame, levels = None, []
    for marker, start, stop in _segments(code, soc + 2):
        if marker == SIZ:
            frame = _siz(code, start, stop)
        elif marker == COD and stop - start >= 6:
            levels.append(code[start + 5])
        elif marker == COC and stop - start >= 3:
            levels.append(code[start + 2])  # of the only component: fewer than 257 have one-byte numbers
        elif marker == SOT:
            break
    assert frame is not None
    return frame._replace(levels=min(levels, default=0) if frame.levels else 0)


def jpeg(code: bytes) -> Frame:
    """The frame header of a JPEG or JPEG-LS codestream. BadCodestream if it has none."""
    if code[:2] != b"\xff\xd8":
        raise BadCodestream(f"begins with {code[:4].hex(' ')}, want SOI")
    for marker, start, stop in _segments(code, 2):
        if marker == SOF_JPEG_LS or (0xFFC0 <= marker <= 0xFFCF and marker not in (DHT, JPG, DAC)):
            if stop - start < 6:
                break
            bits, rows, cols, components = struct.unpack_from(">BHHB", code, start)
            if marker == SOF_JPEG_LS:
                _check_restarts(code, rows)
            return Frame(rows, cols, components, bits, False, 0)
        if marker == SOS:
            break
    raise BadCodestream("no frame header before the first scan")


def check_end(code: bytes) -> None:
    """BadCodestream for JPEG or JPEG-LS that was cut before its end: decoders fill the rest with anything."""
    if EOI not in code:
        raise BadCodestream("no end of image (EOI): it was cut")


def _check_restarts(code: bytes, rows: int) -> None:
    """BadCodestream for lines without their restart markers: the decoder would leave them as memory was."""
    interval = 0
    for marker, start, stop in _segments(code, 2):
        if marker == DRI:
            interval = int.from_bytes(code[start:stop])
        elif marker == SOS:
            expected = (rows - 1) // interval if interval else 0
            if expected and (count := len(RESTART.findall(code, stop))) < expected:
                raise BadCodestream(f"{count} restart markers, want {expected} for {rows} rows")
            return


def _siz(code: bytes, start: int, stop: int) -> Frame:
    """levels is 1 where the grid begins at 0, so that low-pass samples sit on even places; else 0."""
    if stop - start < 39:
        raise BadCodestream(f"SIZ has {stop - start} bytes, want 39 or more")
    _, width, height, left, top, tile_w, tile_h, tile_left, tile_top, components = struct.unpack_from(
        ">H8LH", code, start
    )
    depth, step_x, step_y = code[start + 36 : start + 39]
    if not tile_w or not tile_h or -(-width // tile_w) * -(-height // tile_h) > MAX_TILES:
        raise BadCodestream(f"tiles of {tile_h} x {tile_w} on {height} x {width}, want at most {MAX_TILES}")
    if (step_x, step_y) != (1, 1):
        raise BadCodestream(f"samples every {step_y} rows and {step_x} columns, want 1 and 1")
    at_zero = not (left or top or tile_left or tile_top)
    return Frame(height - top, width - left, components, (depth & 127) + 1, depth > 127, int(at_zero))


def _segments(code: bytes, offset: int) -> Iterator[tuple[int, int, int]]:
    """(marker, start, stop) of marker segments without their length; BadCodestream if one is cut short."""
    while offset + 4 <= len(code):
        marker, length = struct.unpack_from(">HH", code, offset)
        if marker == 0xFFFF:  # a fill byte
            offset += 1
        elif marker in ALONE:
            offset += 2
        elif marker < 0xFF00 or length < 2 or offset + 2 + length > len(code):
            raise BadCodestream(f"no marker segment at byte {offset}")
        else:
            yield marker, offset + 4, offset + 2 + length
            offset += 2 + length
    raise BadCodestream(f"ends at byte {len(code)}, inside its header")


def _codestream_in_boxes(code: bytes) -> int:
    """Where the codestream begins: 0, or in the jp2c box that some exporters leave on."""
    if code[4:8] != b"jP  ":
        return 0
    offset = 0
    while offset + 8 <= len(code):
        length = int.from_bytes(code[offset : offset + 4])
        if code[offset + 4 : offset + 8] == b"jp2c":
            return offset + (16 if length == 1 else 8)
        if length < 8:
            break
        offset += length
    raise BadCodestream("JP2 boxes without a codestream")
