"""Ophthalmic Tomography DICOM, written: the same scan gives the same bytes. For phantoms and tests."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as Items
from pydicom.uid import JPEG2000, UID, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

from octshard.errors import OctshardError
from octshard.prep.dicom.file_kind import OPT_STORAGE

LOCALIZER_STORAGE = (
    "1.2.840.10008.5.1.4.1.1.77.1.5.1"  # Ophthalmic Photography 8 Bit: what frame locations point at
)
PDF_STORAGE = "1.2.840.10008.5.1.4.1.1.104.1"  # Encapsulated PDF
REGION_CODES = {"Macula": ("5665001", "Retina"), "Optic Disc": ("81016008", "Optic nerve head")}  # SNOMED CT
LOSSY_RATIO = 5  # about what Topcon ships, by file size


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


def beside(scan: bytes, sop_class: str) -> bytes:
    """Another object of the study of a written scan: LOCALIZER_STORAGE, a black photograph of the fundus, or
    PDF_STORAGE, an empty report.
    """
    ds = dcmread(io.BytesIO(scan), stop_before_pixels=True)
    uid = _derived_uid(ds.SOPInstanceUID, sop_class)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = UID(sop_class)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = uid
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    del ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence
    ds.Modality = {LOCALIZER_STORAGE: "OP", PDF_STORAGE: "DOC"}[sop_class]
    if sop_class == PDF_STORAGE:
        ds.MIMETypeOfEncapsulatedDocument, ds.EncapsulatedDocument = "application/pdf", b"%PDF-1.4\n%%EOF\n\0"
    else:
        ds.NumberOfFrames, ds.Rows, ds.Columns, ds.PixelData = 1, 64, 64, bytes(64 * 64)
        ds["PixelData"].VR = "OB"
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
    location = Dataset()
    location.ReferencedSOPClassUID = UID(LOCALIZER_STORAGE)
    location.ReferencedSOPInstanceUID = _derived_uid(scan.sop_instance_uid, "localizer")
    if len(points):
        location.ReferenceCoordinates = [float(value) for value in np.asarray(points, np.float32).ravel()]
    location.OphthalmicImageOrientation = "NONLINEAR" if len(points) > 2 else "LINEAR"
    return location


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


def _derived_uid(uid: str, role: str) -> UID:
    return generate_uid(prefix="2.25.", entropy_srcs=[str(uid), role])
