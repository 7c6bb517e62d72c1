"""The header of an Ophthalmic Tomography DICOM file: its listed fields, and the checks that need no pixels.

Reading costs milliseconds. Whatever is wrong with the bytes is a `Refused` with a reason of the closed list,
in the order of DESIGN §4.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from octshard.imaging.volume import length_mm, product
from octshard.prep.dicom import elements, encapsulation
from octshard.prep.dicom.attributes import TAGS, Attributes
from octshard.prep.dicom.elements import ParsedFile, Pixels
from octshard.prep.dicom.pixel_measures import SAME, PixelMeasures
from octshard.prep.dicom.pixel_values import PixelTransform
from octshard.prep.refusals import Refused
from octshard.storage.checksum import Buffer

OPT_STORAGE = "1.2.840.10008.5.1.4.1.1.77.1.5.4"  # Ophthalmic Tomography Image Storage
NATIVE = frozenset(
    ("1.2.840.10008.1.2.1", elements.IMPLICIT_LITTLE, elements.EXPLICIT_BIG, elements.DEFLATED)
)
RLE = "1.2.840.10008.1.2.5"
JPEG_LS = frozenset(("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"))
JPEG = JPEG_LS | {f"1.2.840.10008.1.2.4.{tail}" for tail in (50, 51, 57, 70)}
JPEG_2000 = frozenset(f"1.2.840.10008.1.2.4.{tail}" for tail in (90, 91, 201, 202, 203))  # HTJ2K from 201
COMPRESSED = JPEG | JPEG_2000 | {RLE}


@dataclass(frozen=True)
class Declared:
    """Header values that only serve to refuse a file."""

    sop_class: str
    samples: int
    photometric: str
    stored_frames: int | None  # counted in the pixel bytes; None where they cannot be counted


@dataclass(frozen=True, eq=False)
class Header:
    """The fields that leave a file, and where its pixels lie."""

    sop_instance_uid: str
    transfer_syntax: str
    manufacturer: str
    model: str
    eye: str  # L, R or empty
    frames: int
    rows: int
    cols: int
    pixel_transform: PixelTransform  # how stored numbers become grey levels
    measures: tuple[PixelMeasures, ...]  # in search order: per frame, shared, top level
    locations: tuple[np.ndarray, ...]  # per frame (n_points, 2) of (row, col) localizer pixels; () if none
    declared: Declared
    pixels: Pixels
    inflated: bytearray | None = field(repr=False)  # the dataset of a deflated file, where `pixels` lie

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W) in voxels."""
        return self.frames, self.rows, self.cols


def read_header(data: Buffer, max_voxels: int) -> Header:
    """The listed fields of a part-10 file, or Refused by a check that needs no decoding (DESIGN §4 order)."""
    header = parse(data)
    check(header, max_voxels)
    return header


def parse(data: Buffer) -> Header:
    """The listed fields, unchecked. Refused `not_dicom`, `truncated`, `no_pixel_data`, or `unreadable`."""
    parsed = elements.parse(data, TAGS)
    if parsed.pixels is None or parsed.pixels.nbytes == 0:
        raise Refused(
            "no_pixel_data", "the file has no PixelData" if parsed.pixels is None else "PixelData is empty"
        )
    try:
        return _parse(Attributes(parsed.body, parsed.encoding, parsed.elements), parsed, parsed.pixels)
    except Refused as refused:  # the walk found the file whole: what is cut short is an item inside it
        raise Refused("unreadable", f"header: {refused.detail}") from None


def check(header: Header, max_voxels: int) -> None:
    """The refusals that need a header but no decoding, in order."""
    declared, syntax = header.declared, header.transfer_syntax
    supported = syntax in NATIVE or syntax in COMPRESSED
    if supported and declared.stored_frames not in (None, header.frames):
        raise Refused("frame_count", f"{header.frames} frames declared, {declared.stored_frames} stored")
    if declared.sop_class != OPT_STORAGE:
        raise Refused("not_oct", f"SOP class {declared.sop_class or 'missing'}, want {OPT_STORAGE}")
    if declared.samples != 1 or declared.photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise Refused(
            "not_oct", f"{declared.samples} samples per pixel, {declared.photometric}, want 1, MONOCHROME"
        )
    if not supported:
        raise Refused("unsupported_syntax", f"no decoder for transfer syntax {syntax!r}")
    if product(header.shape) > max_voxels:
        raise Refused("too_large", f"{header.shape} voxels declared, want at most {max_voxels}")
    if min(header.shape) < 1:
        raise Refused("empty", f"{header.shape} voxels declared")
    if (syntax in NATIVE) == (header.pixels.fragments is not None):
        form = "a plain value" if syntax in COMPRESSED else "fragments"
        raise Refused("unreadable", f"PixelData is {form}, which {syntax} does not allow")
    if problem := header.pixel_transform.problem():
        raise Refused("unreadable", problem)


def _parse(top: Attributes, parsed: ParsedFile, pixels: Pixels) -> Header:
    shared = top.first("SharedFunctionalGroupsSequence")
    frames = [_Frame.of(frame) for frame in top.items("PerFrameFunctionalGroupsSequence")]
    count = top.integer("NumberOfFrames") or 1
    rows, cols, allocated = (_required_integer(top, name) for name in ("Rows", "Columns", "BitsAllocated"))
    photometric = top.text("PhotometricInterpretation")
    return Header(
        sop_instance_uid=top.text("SOPInstanceUID"),
        transfer_syntax=parsed.transfer_syntax,
        manufacturer=top.text("Manufacturer"),
        model=top.text("ManufacturerModelName"),
        eye=_eye(top),
        frames=count,
        rows=rows,
        cols=cols,
        pixel_transform=PixelTransform(
            bits_allocated=allocated,
            bits_stored=_required_integer(top, "BitsStored"),
            signed=_signed(top),
            inverted=photometric == "MONOCHROME1",
            rescale=_rescale(top, shared, [frame.rescale for frame in frames], count),
        ),
        measures=(
            _per_frame_measures([frame.measures for frame in frames if frame.measures is not None]),
            _measures_of("shared", shared and shared.first("PixelMeasuresSequence")),
            _measures_of("top_level", top),
        ),
        locations=tuple(frame.location for frame in frames),
        declared=_declared(top, photometric, parsed, (rows, cols, allocated)),
        pixels=pixels,
        inflated=parsed.body if isinstance(parsed.body, bytearray) else None,
    )


def _declared(top: Attributes, photometric: str, parsed: ParsedFile, frame: tuple[int, int, int]) -> Declared:
    """frame: rows, columns, bits allocated. Native frames are counted only if we can read such frames."""
    samples = _required_integer(top, "SamplesPerPixel")
    rows, cols, allocated = frame
    stored: int | None = None
    assert parsed.pixels is not None
    if parsed.pixels.fragments is not None:
        stored = encapsulation.encapsulated_frames(parsed)
    elif samples == 1 and allocated in (8, 16) and rows * cols > 0:
        stored = parsed.pixels.nbytes // (rows * cols * allocated // 8)
    return Declared(top.text("SOPClassUID"), samples, photometric, stored)


@dataclass(frozen=True, eq=False)
class _Frame:
    """What the functional groups of one frame say."""

    measures: PixelMeasures | None
    rescale: tuple[float, float] | None
    location: np.ndarray  # (n_points, 2)

    @staticmethod
    def of(frame: Attributes) -> "_Frame":
        measures = frame.first("PixelMeasuresSequence")
        rescale = frame.first("PixelValueTransformationSequence")
        return _Frame(
            None if measures is None else _measures_of("per_frame", measures),
            None if rescale is None else _slope_intercept(rescale),
            _location_of(frame.first("OphthalmicFrameLocationSequence")),
        )


def _required_integer(top: Attributes, name: str) -> int:
    value = top.integer(name)
    if value is None:
        raise Refused("unreadable", f"{name} is missing")
    return value


def _signed(top: Attributes) -> bool:
    value = _required_integer(top, "PixelRepresentation")
    if value not in (0, 1):
        raise Refused("unreadable", f"PixelRepresentation is {value}, want 0 or 1")
    return value == 1


def _measures_of(source: str, group: Attributes | None) -> PixelMeasures:
    if group is None:
        return PixelMeasures(source)
    pair = _lengths(group, "PixelSpacing")
    plane = (pair[0], pair[1]) if len(pair) == 2 and pair[0] and pair[1] else None
    return PixelMeasures(
        source, plane, _length(group, "SliceThickness"), _length(group, "SpacingBetweenSlices")
    )


def _length(group: Attributes, name: str) -> float | None:
    """The one length of the value, if there is one."""
    lengths = _lengths(group, name)
    return lengths[0] if len(lengths) == 1 else None


def _lengths(group: Attributes, name: str) -> list[float | None]:
    """Sensible numbers of mm, None for others: for the unknown exporters write 0, blanks or words."""
    try:
        return [length_mm(float(value)) for value in group.numbers(name)]
    except Refused:  # another source may give it
        return []


def _per_frame_measures(measures: Sequence[PixelMeasures]) -> PixelMeasures:
    """The median over frames, marked where frames disagree."""
    planes = [m.pixel_mm for m in measures if m.pixel_mm is not None]
    rows, varies_rows = _median([plane[0] for plane in planes])
    cols, varies_cols = _median([plane[1] for plane in planes])
    thickness, varies_thickness = _median([m.thickness_mm for m in measures if m.thickness_mm])
    between, varies_between = _median(
        [m.spacing_between_slices_mm for m in measures if m.spacing_between_slices_mm]
    )
    plane = (rows, cols) if rows and cols else None
    varies = varies_rows or varies_cols or varies_thickness or varies_between
    return PixelMeasures("per_frame", plane, thickness, between, varies)


def _median(values: Sequence[float]) -> tuple[float | None, bool]:
    if not values:
        return None, False
    middle = statistics.median_low(values)
    return middle, max(abs(value - middle) for value in values) > SAME * middle


def _location_of(item: Attributes | None) -> np.ndarray:
    numbers = np.empty(0) if item is None else item.numbers("ReferenceCoordinates")
    return numbers[: len(numbers) // 2 * 2].reshape(-1, 2)


def _rescale(
    top: Attributes, shared: Attributes | None, items: Sequence[tuple[float, float] | None], count: int
) -> tuple[tuple[float, float], ...]:
    """`PixelTransform.rescale` of `count` frames: from its item, else shared, else top level, else (1, 0)."""
    group = shared.first("PixelValueTransformationSequence") if shared is not None else None
    common = _slope_intercept(top if group is None else group)
    if not any(items):
        return (common,)
    pairs = [pair or common for pair in items[: max(0, count)]]
    # not one pair for each of `count` frames: nothing has checked that number yet
    return (*pairs, common) if len(pairs) < count else tuple(pairs)


def _slope_intercept(group: Attributes) -> tuple[float, float]:
    slope, intercept = group.number("RescaleSlope"), group.number("RescaleIntercept")
    return 1.0 if slope is None else slope, 0.0 if intercept is None else intercept


def _eye(top: Attributes) -> str:
    value = (top.text("ImageLaterality") or top.text("Laterality")).upper()
    return value if value in ("L", "R") else ""
