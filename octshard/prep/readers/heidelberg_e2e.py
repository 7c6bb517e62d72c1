"""Heidelberg .e2e and .sdb: B-scans of a small float, with their places in degrees; any number of scans.

Layout as uocte, LibE2E and eyepy have found it out and publish it; little endian.
"""

import statistics
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np

from octshard.prep.readers import byte_fields, e2e_directory
from octshard.prep.readers.array_scan import NOWHERE, file_measures
from octshard.prep.readers.circle_path import circle
from octshard.prep.readers.e2e_directory import B, Piece
from octshard.prep.readers.frame_scan import FrameScan
from octshard.prep.readers.reflectance import NO_VALUE, ReflectanceLevels, levels_of
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from octshard.prep.release import scan_path
from octshard.prep.scan_facts import ANGLE, Concatenation, PixelMeasures, ScanFacts

EYE, DEVICE, BSCAN, IMAGE = 11, 13, 10004, 0x40000000  # types of pieces
EYE_AT = 14  # byte that is L or R
IMAGE_HEADER = struct.Struct("<5I")  # bytes, kind, values, height, width
FLOATS = 0x02200201  # kind of a B-scan: 16-bit floats; others are pictures of the fundus
# height, width; the ends (x, y) in degrees; scale of depth, mm; width that is filled, B-scans, index,
# pattern; the centre (x, y) in degrees
META = struct.Struct("<4x 2I 4f 8x f 20x 4I 2f")
PATTERNS = {2: "circle", 5: "radial"}
MM_PER_DEGREE = 0.2896  # on the retina of an eye of medium length, as Heidelberg's software has it (eyepy)
EMPTY = 1.99  # greater ones, up to 2, mark pixels without a value (eyepy)
PLACE_DEGREES = 0.001  # frame locations count in pixels, which may be of any size
SPECTRALIS = "Spectralis"
LISTED = 8  # scans that a message names
Scan = tuple[int, int, int]  # patient, study, series


class _Image(NamedTuple):
    """A stored B-scan."""

    rows: int
    cols: int
    values: memoryview


class _Place(NamedTuple):
    """What stands beside a B-scan: its ends as (y, x) in degrees, and what it says of the scan."""

    ends_22: np.ndarray
    centre_2: np.ndarray  # of a circle; of lines their middle
    scale_mm: float  # of depth
    frames: int
    pattern: str

    @property
    def path(self) -> np.ndarray:
        """(n_points, 2) in degrees; a circle has its start at one end, and no other."""
        return circle(self.ends_22[0], self.centre_2) if self.pattern == "circle" else self.ends_22

    @property
    def length(self) -> float:
        """Degrees along the A-scans."""
        if self.pattern == "circle":
            return float(2 * np.pi * np.hypot(*(self.ends_22[0] - self.centre_2)))
        return float(np.hypot(*(self.ends_22[1] - self.ends_22[0])))


def is_one(file: ScanBytes) -> bool:
    """True if it begins as such a file."""
    return e2e_directory.is_one(file.data)


def open_scan(file: ScanBytes) -> FrameScan:
    """The scan that the name asks for, or the only one; Refused `several_volumes` with a list of them."""
    body = e2e_directory.body_of(memoryview(file.data))
    pieces = e2e_directory.pieces(body, frozenset({EYE, DEVICE, BSCAN, IMAGE}))
    series = scan_path.series_of(file.name)
    images_by_scan = _images(body, _asked_for(pieces[IMAGE], series))
    eyes = _eyes(body, [piece for piece in pieces[EYE] if piece.scan in images_by_scan])
    scan, slices = _only_scan(images_by_scan, eyes)
    images = [slices[index] for index in sorted(slices)]
    _check_alike(images)
    beside = {piece.slice: piece for piece in pieces[BSCAN] if piece.scan == scan}
    places = [_place(body, beside[index]) if index in beside else None for index in sorted(slices)]
    declared = max((place.frames for place in places if place), default=0)
    if 1 < declared < len(images):  # a scan of one circle may say 0
        raise Refused("frame_count", f"{declared} B-scans declared, {len(images)} stored")
    levels = levels_of(file)
    facts = _facts(images, places, eyes.get(scan, ""), _model(body, pieces[DEVICE]))
    facts = replace(facts, display=levels.display)
    if declared > len(images):  # numbers tell where one is missing, if places do not
        numbers_F = np.array(sorted(slices), np.float64)
        placement = replace(NOWHERE, numbers_F=numbers_F, numbered_by="the number of the B-scan")
        facts = replace(facts, placement=placement, lost_frames=declared - len(images))
    return FrameScan(facts, partial(_frame, images, levels), levels)


def series_in(data: B) -> list[tuple[str, str]]:
    """Number and eye (L, R or empty) of every series in a file; Refused as `open_scan`.

    Of each scan the header of one B-scan is read.

    Scans of several studies that share a number are one: no path could name only one of them.
    """
    body = e2e_directory.body_of(data)
    pieces = e2e_directory.pieces(body, frozenset({EYE, IMAGE}))
    scans: set[Scan] = set()
    for piece in pieces[IMAGE]:
        e2e_directory.check_inside(body, piece, _name(piece))
        if piece.scan not in scans and piece.slice >= 0 and _is_b_scan(body, piece):
            scans.add(piece.scan)
    if not scans:
        raise Refused("no_pixel_data", "the file holds no B-scan")
    eyes, eyes_of = _eyes(body, pieces[EYE]), dict[int, set[str]]()
    for scan in scans:
        eyes_of.setdefault(scan[2], set()).add(eyes.get(scan, ""))
    numbered = sorted(eyes_of.items())
    return [(str(number), sides.pop() if len(sides) == 1 else "") for number, sides in numbered]


def _is_b_scan(body: B, piece: Piece) -> bool:
    content = e2e_directory.content(body, piece, _name(piece))
    return bool(byte_fields.unpack_part(content, IMAGE_HEADER, 0, _name(piece))[1] == FLOATS)


def _images(body: memoryview, pieces: Sequence[Piece]) -> dict[Scan, dict[int, _Image]]:
    """B-scans by scan and number; Refused if there are none."""
    scans: dict[Scan, dict[int, _Image]] = {}
    for piece in pieces:
        name = _name(piece)
        content = e2e_directory.content(body, piece, name)
        _, kind, _, rows, cols = byte_fields.unpack_part(content, IMAGE_HEADER, 0, name)
        if kind != FLOATS or piece.slice < 0:
            continue
        if IMAGE_HEADER.size + 2 * rows * cols > len(content):
            raise Refused("unreadable", f"{name}: {rows} x {cols} pixels in {len(content)} bytes")
        slices = scans.setdefault(piece.scan, {})
        if piece.slice in slices:
            raise Refused("unreadable", f"{name} is there twice")
        slices[piece.slice] = _Image(rows, cols, content[IMAGE_HEADER.size :])
    if not scans and pieces:
        raise Refused("not_oct", f"{len(pieces)} pictures, none of them a B-scan")
    if not scans:
        raise Refused("no_pixel_data", "the file holds no images")
    return scans


def _asked_for(pieces: Sequence[Piece], series: int | None) -> Sequence[Piece]:
    """Those of one series; Refused if there is none. None: all."""
    if series is None:
        return pieces
    numbers = sorted({piece.scan[2] for piece in pieces})
    if series not in numbers:
        told = ", ".join(map(str, numbers[:LISTED])) or "none"
        raise Refused("unreadable", f"no images of series {series} in the file; there are those of {told}")
    return [piece for piece in pieces if piece.scan[2] == series]


def _only_scan(
    scans: Mapping[Scan, Mapping[int, _Image]], eyes: Mapping[Scan, str]
) -> tuple[Scan, Mapping[int, _Image]]:
    if len(scans) == 1:
        return next(iter(scans.items()))
    listed = []
    for scan in sorted(scans)[:LISTED]:
        image = next(iter(scans[scan].values()))
        size = f"{len(scans[scan])} B-scans of {image.rows} x {image.cols}"
        listed.append(f"series {scan[2]} ({eyes.get(scan, '') or 'eye not told'}, {size})")
    more = f" and {len(scans) - LISTED} more" if len(scans) > LISTED else ""
    numbers = {scan[2] for scan in scans}
    wanted = f"want a row for each, its filepath ending in #{min(numbers)} and so on"
    if len(numbers) == 1:  # of several patients or studies
        wanted = "want a file for each, as they share their number"
    raise Refused("several_volumes", f"{len(scans)} scans: {', '.join(listed)}{more}; {wanted}")


def _check_alike(images: Sequence[_Image]) -> None:
    first = images[0]
    for index, image in enumerate(images):
        if (image.rows, image.cols) != (first.rows, first.cols):
            sizes = f"{image.rows} x {image.cols} pixels, the first has {first.rows} x {first.cols}"
            raise Refused("unreadable", f"B-scan {index + 1} has {sizes}")


def _place(body: memoryview, piece: Piece) -> _Place:
    name = f"the place of {_name(piece)}"
    fields = byte_fields.unpack_part(e2e_directory.content(body, piece, name), META, 0, name)
    start_x, start_y, end_x, end_y = fields[2:6]
    ends_22 = np.array([[start_y, start_x], [end_y, end_x]])
    centre_2 = np.array([fields[12], fields[11]])
    return _Place(ends_22, centre_2, fields[6], fields[8], PATTERNS.get(fields[10], ""))


def _facts(images: Sequence[_Image], places: Sequence[_Place | None], eye: str, model: str) -> ScanFacts:
    told = [place for place in places if place is not None]
    patterns = {place.pattern for place in told}
    pattern = patterns.pop() if len(patterns) == 1 else ""
    return ScanFacts(
        sop_instance_uid="",
        transfer_syntax="",
        manufacturer="Heidelberg Engineering",
        model=model,
        eye=eye,
        frames=len(images),
        rows=images[0].rows,
        cols=images[0].cols,
        bits=16,
        measures=(_measures(told, images[0].cols),),
        locations=tuple(map(_location, places)),
        placement=NOWHERE,
        concatenation=Concatenation(),
        pattern=pattern,
    )


def _measures(places: Sequence[_Place], cols: int) -> PixelMeasures:
    """Depth in mm as told; the width is told in degrees."""
    widths = [place.length for place in places]
    if not places or not cols:
        return PixelMeasures(ANGLE)
    scale_mm = statistics.median_low(place.scale_mm for place in places)
    width_mm = statistics.median_low(widths) * MM_PER_DEGREE
    measures = file_measures((None, scale_mm or None, width_mm / cols or None))
    depth_mm = measures.pixel_mm[0] if measures.pixel_mm else measures.alone_mm[0]
    return replace(measures, source=ANGLE, alone_mm=(depth_mm, None))


def _location(place: _Place | None) -> np.ndarray:
    if place is None or not np.isfinite(place.path).all():
        return np.empty((0, 2))
    return place.path / PLACE_DEGREES


def _eyes(body: B, pieces: Sequence[Piece]) -> dict[Scan, str]:
    """The eye of each scan, where all that is said of it agrees."""
    told: dict[Scan, set[str]] = {}
    for piece in pieces:
        letter = _aside(body, piece)[EYE_AT : EYE_AT + 1]
        if letter in (b"L", b"R"):
            told.setdefault(piece.scan, set()).add(letter.decode())
    return {scan: eyes.pop() for scan, eyes in told.items() if len(eyes) == 1}


def _model(body: memoryview, pieces: Sequence[Piece]) -> str:
    names = (_aside(body, piece) for piece in pieces)
    return SPECTRALIS if any(SPECTRALIS.encode("utf-16-le") in name for name in names) else ""


def _aside(body: B, piece: Piece) -> bytes:
    """A piece that a scan can do without; empty if it is damaged, as anonymisers leave some."""
    with suppress(Refused):
        return bytes(e2e_directory.content(body, piece, "a name"))
    return b""


def _frame(images: Sequence[_Image], levels: ReflectanceLevels, index: int) -> np.ndarray:
    image = images[index]
    stored = np.frombuffer(image.values, "<u2", image.rows * image.cols)
    return levels.of(_floats()[stored].reshape(image.rows, image.cols), index)


@lru_cache(maxsize=1)
def _floats() -> np.ndarray:
    """float32 of every 16-bit pattern: 6 bits of exponent above 10 of mantissa, no sign."""
    exponent, mantissa = np.divmod(np.arange(2**16), 2**10)
    values = np.ldexp(np.where(exponent == 0, 2 * mantissa, 2**10 + mantissa) / 2**10, exponent - 63)
    return np.where(values > EMPTY, NO_VALUE, values).astype(np.float32)


def _name(piece: Piece) -> str:
    return f"image {piece.slice} of series {piece.scan[2]}"
