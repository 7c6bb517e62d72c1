"""The header of an Ophthalmic Tomography DICOM file: its listed fields, and the checks that need no pixels.

Reading costs milliseconds. Whatever is wrong with the bytes is a `Refused` with a reason of the closed list,
in the order of DESIGN §4.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from octshard.imaging.volume import product
from octshard.prep.dicom import elements, encapsulation, file_kind, frame_groups, pixel_measures
from octshard.prep.dicom.attributes import TAGS, Attributes
from octshard.prep.dicom.elements import ParsedFile, Pixels
from octshard.prep.dicom.file_kind import COMPRESSED, NATIVE, SUPPORTED
from octshard.prep.dicom.frame_groups import FrameGroups
from octshard.prep.dicom.pixel_values import PixelTransform
from octshard.prep.refusals import Refused
from octshard.prep.scan_facts import Concatenation, ScanFacts
from octshard.storage.checksum import Buffer


@dataclass(frozen=True)
class Declared:
    """Header values that only serve to refuse a file."""

    sop_class: str
    samples: int
    photometric: str
    stored_frames: int | None  # counted in the pixel bytes; None where they cannot be counted
    says_frames: bool = True  # without NumberOfFrames there is one
    is_codestream: bool = False  # the pixels are a plain value, but not of pixels
    surplus: int = 0  # bytes behind the last native frame, unless they are zeros or one byte


class SeriesPlace(NamedTuple):
    """Which file of a series this one is, to tell whether files are parts of one scan; never stored."""

    uid: str
    instance: int | None
    frame_of_reference: str


@dataclass(frozen=True, eq=False)
class Header(ScanFacts):
    """The fields that leave a file, and where its pixels lie."""

    pixel_transform: PixelTransform  # how stored numbers become grey levels
    declared: Declared
    pixels: Pixels
    groups: FrameGroups = field(repr=False)  # what the frames say, one by one
    series: SeriesPlace
    inflated: bytearray | None = field(repr=False)  # the dataset of a deflated file, where `pixels` lie

    def of_frames(self, index: Sequence[int]) -> "Header":
        """What the file says of some of its frames. An eye that they all name is believed first."""
        groups = self.groups.of_frames(index)
        placement = groups.placement
        named = placement.eyes[0] if len(placement.eyes) == 1 else ""
        return replace(
            self,
            frames=len(index),
            eye=named if named in ("L", "R") else self.eye,
            measures=(groups.measures, *self.measures[1:]),
            locations=placement.locations,
            placement=placement,
            groups=groups,
        )


def read_header(data: Buffer, max_voxels: int) -> Header:
    """The listed fields of a part-10 file, or Refused by a check that needs no decoding (DESIGN §4 order)."""
    header = parse(data)
    check(header, max_voxels)
    return header


def parse(data: Buffer) -> Header:
    """The listed fields, unchecked.

    Refused `empty`, `not_dicom`, `truncated` or `unreadable`, and what makes these no question: `not_oct`,
    `unsupported_syntax`, `no_pixel_data`.
    """
    try:
        parsed = elements.parse(data, TAGS)
    except Refused as refused:
        if refused.reason in ("truncated", "unreadable"):  # by rules that an unknown syntax need not follow
            with suppress(Refused):
                syntax = elements.transfer_syntax(data)
                if syntax not in SUPPORTED:
                    refused = file_kind.unsupported(syntax)
        raise refused from None
    top = Attributes(parsed.body, parsed.encoding, parsed.elements)
    if parsed.pixels is None or parsed.pixels.nbytes == 0:
        raise _without_pixels(top, parsed)
    try:
        return _parse(top, parsed, parsed.pixels)
    except Refused as refused:  # the walk found the file whole: what is cut short is an item inside it
        file_kind.check_class(top.text("SOPClassUID"))
        raise refused.behind("header: ", reason="unreadable") from None


def check(header: Header, max_voxels: int) -> None:
    """The refusals that need a header but no decoding, in an order in which each is true."""
    declared, syntax = header.declared, header.transfer_syntax
    file_kind.check_class(declared.sop_class)
    file_kind.check_colour(declared.samples, declared.photometric)
    if syntax not in SUPPORTED:
        raise file_kind.unsupported(syntax)
    if (syntax in NATIVE) == (header.pixels.fragments is not None):
        form = "a plain value" if syntax in COMPRESSED else "in fragments"
        raise Refused("unreadable", f"PixelData is {form}, which {syntax} does not allow")
    if min(header.rows, header.cols) < 1:
        raise Refused("empty", f"{header.shape} voxels declared")
    if declared.stored_frames not in (None, header.frames):
        says = (
            f"{header.frames} frames declared" if declared.says_frames else "no NumberOfFrames, want 1 frame"
        )
        if declared.is_codestream:
            raise Refused("unreadable", f"PixelData is a compressed image, which {syntax} does not allow")
        raise Refused("frame_count", f"{says}, {declared.stored_frames} stored")
    if declared.surplus:
        raise Refused("unreadable", f"{declared.surplus} bytes behind the pixels of {header.shape} voxels")
    if product(header.shape) > max_voxels:
        raise Refused("too_large", f"{header.shape} voxels declared, want at most {max_voxels}")
    if header.frames < 1:
        raise Refused("empty", f"{header.shape} voxels declared")
    if problem := header.pixel_transform.problem():
        raise Refused("unreadable", problem)


def _without_pixels(top: Attributes, parsed: ParsedFile) -> Refused:
    """Why a whole file has no pixels, as far as it can be told."""
    if uid := top.text("SOPClassUID"):  # it may be cut off too
        file_kind.check_class(uid)
    if parsed.transfer_syntax not in SUPPORTED:  # they may be elsewhere, as with JPIP
        return file_kind.unsupported(parsed.transfer_syntax)
    if parsed.pixels is None and parsed.padding:
        size = len(parsed.body)
        return Refused("truncated", f"only zeros from byte {size - parsed.padding} to its end at {size}")
    text = "the file has no PixelData" if parsed.pixels is None else "PixelData is empty"
    return Refused("no_pixel_data", text)


def _parse(top: Attributes, parsed: ParsedFile, pixels: Pixels) -> Header:
    shared = top.first("SharedFunctionalGroupsSequence")
    groups = frame_groups.read(top, shared)
    placement = groups.placement
    count = _frame_count(top)
    rows, cols, allocated = (_required_integer(top, name) for name in ("Rows", "Columns", "BitsAllocated"))
    photometric = top.text("PhotometricInterpretation")
    bits = _required_integer(top, "BitsStored")
    return Header(
        sop_instance_uid=top.uid("SOPInstanceUID"),
        transfer_syntax=parsed.transfer_syntax,
        manufacturer=top.text("Manufacturer"),
        model=top.text("ManufacturerModelName"),
        eye=_eye(top, placement.eyes),
        frames=count,
        rows=rows,
        cols=cols,
        bits=bits,
        pixel_transform=PixelTransform(
            bits_allocated=allocated,
            bits_stored=bits,
            signed=_signed(top),
            inverted=photometric == "MONOCHROME1",
            rescale=_rescale(top, shared, groups.rescale, count),
        ),
        measures=(
            groups.measures,
            pixel_measures.read("shared", shared and shared.first("PixelMeasuresSequence")),
            pixel_measures.read("top_level", top),
        ),
        locations=placement.locations,
        placement=placement,
        concatenation=_concatenation(top),
        declared=_declared(top, photometric, parsed, (rows, cols, allocated)),
        pixels=pixels,
        groups=groups,
        series=_series(top),
        inflated=parsed.body if isinstance(parsed.body, bytearray) else None,
    )


def _declared(top: Attributes, photometric: str, parsed: ParsedFile, frame: tuple[int, int, int]) -> Declared:
    """frame: rows, columns, bits allocated. Native frames are counted only if we can read such frames."""
    samples = _required_integer(top, "SamplesPerPixel")
    rows, cols, allocated = frame
    stored: int | None = None
    surplus = 0
    assert parsed.pixels is not None
    if parsed.pixels.fragments is not None:
        stored = encapsulation.encapsulated_frames(parsed, _frame_count(top))
    elif samples == 1 and allocated in (8, 16) and rows * cols > 0:
        stored, surplus = divmod(parsed.pixels.nbytes, rows * cols * allocated // 8)
        stop = parsed.pixels.start + parsed.pixels.nbytes
        if surplus == 1 or not any(parsed.body[stop - surplus : stop]):
            surplus = 0  # padding
    says_frames = top.integer("NumberOfFrames") is not None
    is_codestream = encapsulation.begins_with_codestream(parsed)
    return Declared(
        top.text("SOPClassUID"), samples, photometric, stored, says_frames, is_codestream, surplus
    )


def _frame_count(top: Attributes) -> int:
    count = top.integer("NumberOfFrames")
    return 1 if count is None else count


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


def _rescale(
    top: Attributes, shared: Attributes | None, items: Sequence[tuple[float, float] | None], count: int
) -> tuple[tuple[float, float], ...]:
    """`PixelTransform.rescale` of `count` frames: from its item, else shared, else top level, else (1, 0)."""
    group = shared.first("PixelValueTransformationSequence") if shared is not None else None
    common = frame_groups.slope_intercept(top if group is None else group)
    if not any(items):
        return (common,)
    pairs = [pair or common for pair in items[: max(0, count)]]
    # not one pair for each of `count` frames: nothing has checked that number yet
    return (*pairs, common) if len(pairs) < count else tuple(pairs)


def _concatenation(top: Attributes) -> Concatenation:
    return Concatenation(
        top.text("ConcatenationUID"),
        frame_groups.whole_number(top, "InConcatenationNumber"),
        frame_groups.whole_number(top, "InConcatenationTotalNumber"),
        frame_groups.whole_number(top, "ConcatenationFrameOffsetNumber"),
    )


def _series(top: Attributes) -> SeriesPlace:
    return SeriesPlace(
        top.uid("SeriesInstanceUID"),
        frame_groups.whole_number(top, "InstanceNumber"),
        top.uid("FrameOfReferenceUID"),
    )


def _eye(top: Attributes, by_frame: Sequence[str]) -> str:
    """L or R, of the image, else of the series, else the one that all frames name."""
    value = (top.text("ImageLaterality") or top.text("Laterality")).upper()
    if not value and len(by_frame) == 1:
        (value,) = by_frame
    return value if value in ("L", "R") else ""
