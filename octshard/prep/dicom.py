"""Ophthalmic Tomography DICOM, both directions: `write` makes a file, `read_header` takes one apart.

Writing is deterministic and by pydicom; reading costs milliseconds and takes listed fields alone. Whatever is
wrong with the bytes is a `Refused` with a reason of the closed list, in the order of DESIGN §4.
"""

import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as Items
from pydicom.uid import JPEG2000, UID, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

from octshard.errors import OctshardError
from octshard.imaging.volume import Refused, product
from octshard.prep import elements
from octshard.prep.elements import Bytes, Outline, Pixels
from octshard.prep.fields import TAGS, Fields
from octshard.prep.levels import Levels
from octshard.prep.spacing import SAME, Measures, length_mm

OPT_STORAGE = "1.2.840.10008.5.1.4.1.1.77.1.5.4"  # Ophthalmic Tomography Image Storage
LOCALIZER_STORAGE = (
    "1.2.840.10008.5.1.4.1.1.77.1.5.1"  # Ophthalmic Photography 8 Bit: what frame locations point at
)
REGION_CODES = {"Macula": ("5665001", "Retina"), "Optic Disc": ("81016008", "Optic nerve head")}  # SNOMED CT
LOSSY_RATIO = 5  # about what Topcon ships, by file size
NATIVE = frozenset(
    ("1.2.840.10008.1.2.1", elements.IMPLICIT_LITTLE, elements.EXPLICIT_BIG, elements.DEFLATED)
)
RLE = "1.2.840.10008.1.2.5"
JPEG = frozenset(f"1.2.840.10008.1.2.4.{tail}" for tail in (50, 51, 57, 70, 80, 81))  # JPEG-LS from 80
JPEG_2000 = frozenset(f"1.2.840.10008.1.2.4.{tail}" for tail in (90, 91, 201, 202, 203))  # HTJ2K from 201
COMPRESSED = JPEG | JPEG_2000 | {RLE}


@dataclass(frozen=True, eq=False)
class Scan:
    """What `write` puts into a file. locations: per frame (n_points, 2) of (row, col) localizer pixels."""

    voxels_DHW: np.ndarray  # uint8
    sop_instance_uid: str
    participant: str
    eye: str  # L or R
    manufacturer: str
    model: str
    region: str  # a key of REGION_CODES
    pixel_spacing_mm: tuple[float, float] | None  # (dy, dx)
    slice_thickness_mm: float | None
    locations: tuple[np.ndarray, ...]
    measures: str  # shared | per_frame | none
    encoding: str  # native | j2k | j2k_lossy


def write(scan: Scan) -> bytes:
    """A multi-frame Ophthalmic Tomography part-10 file: the same scan gives the same bytes.

    Like real exporters: spacing only in functional groups, never at top level; plane positions are empty.
    """
    voxels = scan.voxels_DHW
    if voxels.dtype != np.uint8 or voxels.ndim != 3 or 0 in voxels.shape:
        raise OctshardError(
            f"{scan.sop_instance_uid}: voxels {voxels.dtype}{voxels.shape}, want uint8 (D, H, W)"
        )
    if scan.locations and len(scan.locations) != len(voxels):
        raise OctshardError(
            f"{scan.sop_instance_uid}: {len(scan.locations)} locations for {len(voxels)} frames"
        )
    ds = _header(scan)
    ds.SharedFunctionalGroupsSequence = Items([_shared_groups(scan)])
    ds.PerFrameFunctionalGroupsSequence = Items([_frame_groups(scan, i) for i in range(len(voxels))])
    _put_pixels(ds, voxels, scan.encoding)
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _header(scan: Scan) -> FileDataset:
    uid = UID(scan.sop_instance_uid)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(OPT_STORAGE), uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = _derived_uid("octshard", "code"), "OCTSHARD"
    ds = FileDataset(io.BytesIO(), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = UID(OPT_STORAGE), uid, "OPT"
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.StudyInstanceUID, ds.SeriesInstanceUID = _derived_uid(uid, "study"), _derived_uid(uid, "series")
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = _derived_uid(uid, "frame of reference"), ""
    ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = scan.participant, "", "", "M"
    ds.StudyDate, ds.StudyTime, ds.ContentDate, ds.ContentTime = "20230718", "000000", "20230718", "000000"
    ds.AccessionNumber = ds.ReferringPhysicianName = ds.StudyID = ""
    ds.SeriesNumber = ds.InstanceNumber = 1
    ds.Manufacturer, ds.ManufacturerModelName = scan.manufacturer, scan.model
    ds.ImageLaterality = scan.eye
    region = Dataset()
    region.CodeValue, region.CodeMeaning = REGION_CODES[scan.region]
    region.CodingSchemeDesignator = "SCT"
    ds.AnatomicRegionSequence = Items([region])
    ds.NumberOfFrames, ds.Rows, ds.Columns = scan.voxels_DHW.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PresentationLUTShape = 1, "MONOCHROME2", "IDENTITY"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.BurnedInAnnotation, ds.LossyImageCompression = "NO", "01" if scan.encoding == "j2k_lossy" else "00"
    return ds


def _shared_groups(scan: Scan) -> Dataset:
    shared = Dataset()
    if scan.measures == "shared":
        shared.PixelMeasuresSequence = Items([_measures(scan)])
    shared.PlaneOrientationSequence = Items([Dataset()])
    return shared


def _frame_groups(scan: Scan, i: int) -> Dataset:
    frame, content = Dataset(), Dataset()
    content.StackID, content.InStackPositionNumber, content.DimensionIndexValues = "1", i + 1, [1, i + 1]
    frame.FrameContentSequence = Items([content])
    if scan.measures == "per_frame":
        frame.PixelMeasuresSequence = Items([_measures(scan)])
    if scan.locations:
        frame.OphthalmicFrameLocationSequence = Items([_location(scan, scan.locations[i])])
    frame.PlanePositionSequence = Items([Dataset()])
    return frame


def _measures(scan: Scan) -> Dataset:
    measures = Dataset()
    if scan.pixel_spacing_mm is not None:
        measures.PixelSpacing = [f"{mm:.6g}" for mm in scan.pixel_spacing_mm]
    if scan.slice_thickness_mm is not None:
        measures.SliceThickness = f"{scan.slice_thickness_mm:.6g}"
    return measures


def _location(scan: Scan, points: np.ndarray) -> Dataset:
    where = Dataset()
    where.ReferencedSOPClassUID = UID(LOCALIZER_STORAGE)
    where.ReferencedSOPInstanceUID = _derived_uid(scan.sop_instance_uid, "localizer")
    if len(points):
        where.ReferenceCoordinates = [float(value) for value in np.asarray(points, np.float32).ravel()]
    where.OphthalmicImageOrientation = "NONLINEAR" if len(points) > 2 else "LINEAR"
    return where


def _put_pixels(ds: FileDataset, voxels_DHW: np.ndarray, encoding: str) -> None:
    if encoding == "native":
        data = voxels_DHW.tobytes()
        ds.PixelData = data + b"\0" * (len(data) % 2)
        ds["PixelData"].VR = "OB"
        return
    if encoding not in ("j2k", "j2k_lossy"):
        raise OctshardError(f"{ds.SOPInstanceUID}: encoding {encoding!r}, want native, j2k or j2k_lossy")
    lossy = encoding == "j2k_lossy"
    ds.PixelData = encapsulate([_j2k(frame, lossy=lossy) for frame in voxels_DHW])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = JPEG2000 if lossy else JPEG2000Lossless


def _j2k(frame_HW: np.ndarray, *, lossy: bool) -> bytes:
    """One JPEG 2000 codestream; Pillow's encoder is single-threaded and repeats its bytes."""
    out = io.BytesIO()
    rate: dict[str, object] = {"quality_mode": "rates", "quality_layers": [LOSSY_RATIO]} if lossy else {}
    Image.fromarray(frame_HW).save(out, "JPEG2000", irreversible=lossy, no_jp2=True, **rate)
    return out.getvalue()


def _derived_uid(uid: str, what: str) -> UID:
    return generate_uid(prefix="2.25.", entropy_srcs=[str(uid), what])


@dataclass(frozen=True)
class Declared:
    """Header values that only decide over refusal."""

    sop_class: str
    samples: int
    photometric: str
    stored_frames: int | None  # as the pixel bytes tell; None where they cannot


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
    levels: Levels  # how stored numbers become grey levels
    measures: tuple[Measures, ...]  # in search order: per frame, shared, top level
    locations: tuple[np.ndarray, ...]  # per frame (n_points, 2) of (row, col) localizer pixels; () if none
    declared: Declared
    pixels: Pixels
    inflated: bytearray | None = field(repr=False)  # the dataset of a deflated file, where `pixels` lie

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W) in voxels."""
        return self.frames, self.rows, self.cols


def read_header(data: Bytes, max_voxels: int) -> Header:
    """The listed fields of a part-10 file, or Refused by a check that needs no decoding (DESIGN §4 order)."""
    header = parse(data)
    check(header, max_voxels)
    return header


def parse(data: Bytes) -> Header:
    """The listed fields, unchecked. Refused `not_dicom`, `truncated`, `no_pixel_data`, or `unreadable`."""
    found = elements.outline(data, TAGS)
    if found.pixels is None or found.pixels.nbytes == 0:
        raise Refused(
            "no_pixel_data", "the file has no PixelData" if found.pixels is None else "PixelData is empty"
        )
    try:
        return _parse(Fields(found.body, found.coding, found.listed), found, found.pixels)
    except Refused as refused:  # the file is whole: what is cut short in it is an item
        raise Refused("unreadable", f"header: {refused.detail}") from None


def check(header: Header, max_voxels: int) -> None:
    """The refusals that need a header but no decoding, in order."""
    declared, syntax = header.declared, header.transfer_syntax
    known = syntax in NATIVE or syntax in COMPRESSED
    if known and declared.stored_frames not in (None, header.frames):
        raise Refused("frame_count", f"{header.frames} frames declared, {declared.stored_frames} stored")
    if declared.sop_class != OPT_STORAGE:
        raise Refused("not_oct", f"SOP class {declared.sop_class or 'missing'}, want {OPT_STORAGE}")
    if declared.samples != 1 or declared.photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise Refused(
            "not_oct", f"{declared.samples} samples per pixel, {declared.photometric}, want 1, MONOCHROME"
        )
    if not known:
        raise Refused("unsupported_syntax", f"no decoder for transfer syntax {syntax!r}")
    if product(header.shape) > max_voxels:
        raise Refused("too_large", f"{header.shape} voxels declared, want at most {max_voxels}")
    if min(header.shape) < 1:
        raise Refused("empty", f"{header.shape} voxels declared")
    if (syntax in NATIVE) == (header.pixels.fragments is not None):
        form = "a plain value" if syntax in COMPRESSED else "fragments"
        raise Refused("unreadable", f"PixelData is {form}, which {syntax} does not allow")
    if problem := header.levels.problem():
        raise Refused("unreadable", problem)


def _parse(top: Fields, found: Outline, pixels: Pixels) -> Header:
    shared = top.first("SharedFunctionalGroupsSequence")
    frames = [_Frame.of(frame) for frame in top.items("PerFrameFunctionalGroupsSequence")]
    count = top.integer("NumberOfFrames") or 1
    rows, cols, allocated = (_wanted(top, name) for name in ("Rows", "Columns", "BitsAllocated"))
    photometric = top.text("PhotometricInterpretation")
    return Header(
        sop_instance_uid=top.text("SOPInstanceUID"),
        transfer_syntax=found.transfer_syntax,
        manufacturer=top.text("Manufacturer"),
        model=top.text("ManufacturerModelName"),
        eye=_eye(top),
        frames=count,
        rows=rows,
        cols=cols,
        levels=Levels(
            bits_allocated=allocated,
            bits_stored=_wanted(top, "BitsStored"),
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
        declared=_declared(top, photometric, found, (rows, cols, allocated)),
        pixels=pixels,
        inflated=found.body if isinstance(found.body, bytearray) else None,
    )


def _declared(top: Fields, photometric: str, found: Outline, frame: tuple[int, int, int]) -> Declared:
    """frame: rows, columns, bits allocated. Native frames are counted where what we read could be in them."""
    samples = _wanted(top, "SamplesPerPixel")
    rows, cols, allocated = frame
    stored: int | None = None
    assert found.pixels is not None
    if found.pixels.fragments is not None:
        stored = elements.encapsulated_frames(found)
    elif samples == 1 and allocated in (8, 16) and rows * cols > 0:
        stored = found.pixels.nbytes // (rows * cols * allocated // 8)
    return Declared(top.text("SOPClassUID"), samples, photometric, stored)


@dataclass(frozen=True, eq=False)
class _Frame:
    """What the item of one frame says."""

    measures: Measures | None
    rescale: tuple[float, float] | None
    location: np.ndarray  # (n_points, 2)

    @staticmethod
    def of(frame: Fields) -> "_Frame":
        measures = frame.first("PixelMeasuresSequence")
        rescale = frame.first("PixelValueTransformationSequence")
        return _Frame(
            None if measures is None else _measures_of("per_frame", measures),
            None if rescale is None else _slope_intercept(rescale),
            _location_of(frame.first("OphthalmicFrameLocationSequence")),
        )


def _wanted(top: Fields, name: str) -> int:
    value = top.integer(name)
    if value is None:
        raise Refused("unreadable", f"{name} is missing")
    return value


def _signed(top: Fields) -> bool:
    value = _wanted(top, "PixelRepresentation")
    if value not in (0, 1):
        raise Refused("unreadable", f"PixelRepresentation is {value}, want 0 or 1")
    return value == 1


def _measures_of(source: str, group: Fields | None) -> Measures:
    if group is None:
        return Measures(source)
    pair = _lengths(group, "PixelSpacing")
    plane = (pair[0], pair[1]) if len(pair) == 2 and pair[0] and pair[1] else None
    return Measures(source, plane, _length(group, "SliceThickness"), _length(group, "SpacingBetweenSlices"))


def _length(group: Fields, name: str) -> float | None:
    """The one length of the value, if there is one."""
    found = _lengths(group, name)
    return found[0] if len(found) == 1 else None


def _lengths(group: Fields, name: str) -> list[float | None]:
    """Sensible numbers of mm, None for others: exporters write 0 and blanks, or words, for the unknown."""
    try:
        return [length_mm(float(value)) for value in group.numbers(name)]
    except Refused:  # another source may know it
        return []


def _per_frame_measures(each: Sequence[Measures]) -> Measures:
    """The median over frames, marked where frames disagree."""
    planes = [m.pixel_mm for m in each if m.pixel_mm is not None]
    rows, varies_rows = _median([plane[0] for plane in planes])
    cols, varies_cols = _median([plane[1] for plane in planes])
    thickness, varies_thickness = _median([m.thickness_mm for m in each if m.thickness_mm])
    between, varies_between = _median([m.between_mm for m in each if m.between_mm])
    plane = (rows, cols) if rows and cols else None
    varies = varies_rows or varies_cols or varies_thickness or varies_between
    return Measures("per_frame", plane, thickness, between, varies)


def _median(values: Sequence[float]) -> tuple[float | None, bool]:
    if not values:
        return None, False
    middle = statistics.median_low(values)
    return middle, max(abs(value - middle) for value in values) > SAME * middle


def _location_of(where: Fields | None) -> np.ndarray:
    numbers = np.empty(0) if where is None else where.numbers("ReferenceCoordinates")
    return numbers[: len(numbers) // 2 * 2].reshape(-1, 2)


def _rescale(
    top: Fields, shared: Fields | None, items: Sequence[tuple[float, float] | None], count: int
) -> tuple[tuple[float, float], ...]:
    """`Levels.rescale` of `count` frames, each its own item's -> shared -> top level -> (1, 0)."""
    group = shared.first("PixelValueTransformationSequence") if shared is not None else None
    common = _slope_intercept(top if group is None else group)
    if not any(items):
        return (common,)
    own = [pair or common for pair in items[: max(0, count)]]
    return (*own, common) if len(own) < count else tuple(own)  # never `count` of them: that is hearsay


def _slope_intercept(group: Fields) -> tuple[float, float]:
    slope, intercept = group.number("RescaleSlope"), group.number("RescaleIntercept")
    return 1.0 if slope is None else slope, 0.0 if intercept is None else intercept


def _eye(top: Fields) -> str:
    value = (top.text("ImageLaterality") or top.text("Laterality")).upper()
    return value if value in ("L", "R") else ""
