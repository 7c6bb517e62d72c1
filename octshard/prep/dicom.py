"""Ophthalmic Tomography DICOM, both directions: `write` makes a file, `read` takes one apart or refuses it.

The only pydicom import. Writing is deterministic. Reading gives listed header fields and frames one by one;
whatever is wrong with the bytes is a `Refused` with a reason of the closed list, in the order of DESIGN §4.
"""

import io
import logging
import statistics
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.errors import InvalidDicomError
from pydicom.pixels import get_decoder, iter_pixels
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000, UID, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

from octshard.errors import OctshardError
from octshard.prep import elements
from octshard.prep.levels import Levels
from octshard.prep.spacing import SAME, Measures, length_mm
from octshard.volume import Refused, product

OPT_STORAGE = "1.2.840.10008.5.1.4.1.1.77.1.5.4"  # Ophthalmic Tomography Image Storage
LOCALIZER_STORAGE = (
    "1.2.840.10008.5.1.4.1.1.77.1.5.1"  # Ophthalmic Photography 8 Bit: what frame locations point at
)
REGION_CODES = {"Macula": ("5665001", "Retina"), "Optic Disc": ("81016008", "Optic nerve head")}  # SNOMED CT
LOSSY_RATIO = 5  # about what Topcon ships, by file size
LISTED = (
    "SOPClassUID", "SOPInstanceUID", "Manufacturer", "ManufacturerModelName", "ImageLaterality", "Laterality",
    "NumberOfFrames", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated",
    "BitsStored", "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "PixelSpacing", "SliceThickness",
    "SpacingBetweenSlices", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip  # no other element is even parsed, so no name, date, comment or private tag can leave
HEADER_ERRORS = (
    InvalidDicomError, AttributeError, EOFError, IndexError, KeyError, NotImplementedError, OverflowError,
    RecursionError, TypeError, ValueError, struct.error,
)  # fmt: skip  # what pydicom 3 raises on values that cannot be parsed


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
    ds.SharedFunctionalGroupsSequence = Sequence([_shared_groups(scan)])
    ds.PerFrameFunctionalGroupsSequence = Sequence([_frame_groups(scan, i) for i in range(len(voxels))])
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
    ds.AnatomicRegionSequence = Sequence([region])
    ds.NumberOfFrames, ds.Rows, ds.Columns = scan.voxels_DHW.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PresentationLUTShape = 1, "MONOCHROME2", "IDENTITY"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.BurnedInAnnotation, ds.LossyImageCompression = "NO", "01" if scan.encoding == "j2k_lossy" else "00"
    return ds


def _shared_groups(scan: Scan) -> Dataset:
    shared = Dataset()
    if scan.measures == "shared":
        shared.PixelMeasuresSequence = Sequence([_measures(scan)])
    shared.PlaneOrientationSequence = Sequence([Dataset()])
    return shared


def _frame_groups(scan: Scan, i: int) -> Dataset:
    frame, content = Dataset(), Dataset()
    content.StackID, content.InStackPositionNumber, content.DimensionIndexValues = "1", i + 1, [1, i + 1]
    frame.FrameContentSequence = Sequence([content])
    if scan.measures == "per_frame":
        frame.PixelMeasuresSequence = Sequence([_measures(scan)])
    if scan.locations:
        frame.OphthalmicFrameLocationSequence = Sequence([_location(scan, scan.locations[i])])
    frame.PlanePositionSequence = Sequence([Dataset()])
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


@dataclass(frozen=True, eq=False)
class Header:
    """The fields that leave a file."""

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

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W) in voxels."""
        return self.frames, self.rows, self.cols


def read_header(data: bytes, max_voxels: int) -> Header:
    """The listed fields of a part-10 file, or Refused by a check that needs no decoding (DESIGN §4 order)."""
    found = elements.outline(data)
    if found.pixels is None or found.pixels.nbytes == 0:
        raise Refused(
            "no_pixel_data", "the file has no PixelData" if found.pixels is None else "PixelData is empty"
        )
    with _quiet():
        try:
            ds = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=list(LISTED))
            header, checks = _parse(ds, found.transfer_syntax)
        except HEADER_ERRORS as error:
            raise Refused("unreadable", f"header: {_one_line(error)}") from error
    _check(header, checks, found, max_voxels)
    return header


def read_frames(data: bytes, header: Header) -> Iterator[np.ndarray]:
    """Frames (H, W) uint8 or uint16 one by one: pydicom's `pixel_array`, then rescale and MONOCHROME1.

    Exactly header.frames of them, or Refused. `levels.Levels` says which type comes out.
    """
    count = 0
    for count, frame_HW in enumerate(_decoded(data, header), start=1):
        if frame_HW.shape != (header.rows, header.cols):
            raise Refused(
                "decoder_error", f"frame {count}: {frame_HW.shape}, want {header.rows, header.cols}"
            )
        if count > header.frames:
            break
        yield header.levels.apply(frame_HW, count - 1)
    if count != header.frames:
        raise Refused("frame_count", f"{header.frames} frames declared, {count} or more decoded")


def _decoded(data: bytes, header: Header) -> Iterator[np.ndarray]:
    """Frames as pydicom decodes them, at most one more than declared; a failing codec is a refusal."""
    file = io.BytesIO(data)
    source = pydicom.dcmread(file) if header.transfer_syntax == elements.DEFLATED else file
    frames = iter_pixels(source, raw=True)
    for index in range(header.frames + 1):
        with _quiet():
            try:
                frame = next(frames)
            except StopIteration:
                return
            except Exception as error:  # codecs are foreign code on hostile bytes: they raise anything at all
                raise Refused("decoder_error", f"frame {index + 1}: {_one_line(error)}") from error
        yield frame


@dataclass(frozen=True)
class _Checks:
    """Header values that only decide over refusal."""

    sop_class: str
    samples: int
    photometric: str


def _parse(ds: Dataset, syntax: str) -> tuple[Header, _Checks]:
    shared = _first(ds.get("SharedFunctionalGroupsSequence"))
    frames = list(ds.get("PerFrameFunctionalGroupsSequence") or [])
    groups = [_first(frame.get("PixelMeasuresSequence")) for frame in frames]
    measures = (
        _per_frame_measures([group for group in groups if group is not None]),
        _measures_of("shared", _first(shared.get("PixelMeasuresSequence")) if shared is not None else None),
        _measures_of("top_level", ds),
    )
    header = Header(
        sop_instance_uid=str(ds.get("SOPInstanceUID") or ""),
        transfer_syntax=syntax,
        manufacturer=str(ds.get("Manufacturer") or ""),
        model=str(ds.get("ManufacturerModelName") or ""),
        eye=_eye(ds),
        frames=int(ds.get("NumberOfFrames") or 1),
        rows=int(ds.Rows),
        cols=int(ds.Columns),
        levels=Levels(
            bits_allocated=int(ds.BitsAllocated),
            bits_stored=int(ds.get("BitsStored") or ds.BitsAllocated),
            signed=bool(ds.get("PixelRepresentation")),
            inverted=str(ds.get("PhotometricInterpretation")) == "MONOCHROME1",
            rescale=_rescale(ds, shared, frames),
        ),
        measures=measures,
        locations=_locations(frames),
    )
    photometric = str(ds.get("PhotometricInterpretation") or "")
    return header, _Checks(str(ds.get("SOPClassUID") or ""), int(ds.get("SamplesPerPixel") or 1), photometric)


def _check(header: Header, checks: _Checks, found: elements.Outline, max_voxels: int) -> None:
    """The refusals that need no decoding, in order."""
    supported, native = _is_supported(header.transfer_syntax)
    _check_frame_count(header, checks, found, countable=supported or native)
    if checks.sop_class != OPT_STORAGE:
        raise Refused("not_oct", f"SOP class {checks.sop_class or 'missing'}, want {OPT_STORAGE}")
    if checks.samples != 1 or checks.photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise Refused(
            "not_oct", f"{checks.samples} samples per pixel, {checks.photometric}, want 1, MONOCHROME"
        )
    if not supported:
        raise Refused("unsupported_syntax", f"no decoder for transfer syntax {header.transfer_syntax}")
    if product(header.shape) > max_voxels:
        raise Refused("too_large", f"{header.shape} voxels declared, want at most {max_voxels}")
    if product(header.shape) == 0:
        raise Refused("empty", f"{header.shape} voxels declared")
    if native == elements.is_encapsulated(found):
        form = "a plain value" if not native else "fragments"
        raise Refused("unreadable", f"PixelData is {form}, which {header.transfer_syntax} does not allow")
    if problem := header.levels.problem():
        raise Refused("unreadable", problem)


def _check_frame_count(header: Header, checks: _Checks, found: elements.Outline, *, countable: bool) -> None:
    """Frames declared against frames stored; bits of unknown or impossible frames cannot be counted."""
    assert found.pixels is not None
    frame_bits = header.rows * header.cols * checks.samples * header.levels.bits_allocated
    if elements.is_encapsulated(found):
        stored = elements.encapsulated_frames(found)
    elif frame_bits > 0:
        stored = found.pixels.nbytes * 8 // frame_bits
    else:
        return
    if countable and stored != header.frames:
        raise Refused("frame_count", f"{header.frames} frames declared, {stored} stored")


def _is_supported(syntax: str) -> tuple[bool, bool]:
    """(a decoder stands ready, the syntax is native)."""
    try:
        decoder = get_decoder(UID(syntax))
    except NotImplementedError:
        return False, False
    return decoder.is_available, decoder.is_native


def _measures_of(source: str, group: Dataset | None) -> Measures:
    if group is None:
        return Measures(source)
    pair = group.get("PixelSpacing")
    values = [_length(value) for value in pair] if pair is not None and len(pair) == 2 else [None, None]
    plane = (values[0], values[1]) if values[0] and values[1] else None
    return Measures(
        source, plane, _length(group.get("SliceThickness")), _length(group.get("SpacingBetweenSlices"))
    )


def _per_frame_measures(groups: list[Dataset]) -> Measures:
    """The median over frames, marked where frames disagree."""
    each = [_measures_of("per_frame", group) for group in groups]
    planes = [m.pixel_mm for m in each if m.pixel_mm is not None]
    rows, varies_rows = _median([plane[0] for plane in planes])
    cols, varies_cols = _median([plane[1] for plane in planes])
    thickness, varies_thickness = _median([m.thickness_mm for m in each if m.thickness_mm])
    between, varies_between = _median([m.between_mm for m in each if m.between_mm])
    plane = (rows, cols) if rows and cols else None
    varies = varies_rows or varies_cols or varies_thickness or varies_between
    return Measures("per_frame", plane, thickness, between, varies)


def _median(values: list[float]) -> tuple[float | None, bool]:
    if not values:
        return None, False
    middle = statistics.median_low(values)
    return middle, max(abs(value - middle) for value in values) > SAME * middle


def _length(value: Any) -> float | None:
    """A sensible number of mm, else None: exporters write 0 and blanks for what they do not know."""
    return None if value is None or value == "" else length_mm(float(value))


def _locations(frames: list[Dataset]) -> tuple[np.ndarray, ...]:
    found = []
    for frame in frames:
        where = _first(frame.get("OphthalmicFrameLocationSequence"))
        values = where.get("ReferenceCoordinates") if where is not None else None
        numbers = np.asarray([] if values is None else values, np.float64).ravel()
        found.append(numbers[: len(numbers) // 2 * 2].reshape(-1, 2))
    return tuple(found)


def _rescale(ds: Dataset, shared: Dataset | None, frames: list[Dataset]) -> tuple[tuple[float, float], ...]:
    """Per frame -> shared -> top level -> (1, 0)."""
    groups = [_first(frame.get("PixelValueTransformationSequence")) for frame in frames]
    if groups and all(group is not None for group in groups):
        return tuple(_slope_intercept(group) for group in groups if group is not None)
    group = _first(shared.get("PixelValueTransformationSequence")) if shared is not None else None
    return (_slope_intercept(group if group is not None else ds),)


def _slope_intercept(group: Dataset) -> tuple[float, float]:
    slope, intercept = group.get("RescaleSlope"), group.get("RescaleIntercept")
    return 1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)


def _eye(ds: Dataset) -> str:
    value = str(ds.get("ImageLaterality") or ds.get("Laterality") or "").upper()
    return value if value in ("L", "R") else ""


def _first(sequence: Any) -> Dataset | None:
    return sequence[0] if sequence else None


@contextmanager
def _quiet() -> Iterator[None]:
    """pydicom warns and logs about defects that become rows here."""
    logger = logging.getLogger("pydicom")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
