"""One DICOM file without a release around it -> a Volume, by prep's steps: check, geometry, spacing, pixels.

Where prep writes a refused row, this raises one line that gives the reason. No manifest is consulted: what
only a manifest knows of a scan (spacing that its header lacks) is unknown here.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from octshard.config.prep import PrepConfig
from octshard.errors import OctshardError
from octshard.imaging.resample import Regrid, resample_frames
from octshard.imaging.volume import (
    DEVICES,
    SampleKey,
    Shape,
    Spacing,
    Volume,
    length_mm,
    product,
    resampled_shape,
    triple,
)
from octshard.prep.convert import geometry, spacing
from octshard.prep.convert.geometry import Geometry
from octshard.prep.convert.spacing import ResolvedSpacing
from octshard.prep.dicom import decode
from octshard.prep.dicom import header as dicom
from octshard.prep.dicom.header import Header
from octshard.prep.refusals import Refused
from octshard.prep.release.aireadi import device_of
from octshard.storage import local, store
from octshard.storage.checksum import Buffer

VOLUME_GEOMETRIES = ("raster", "unknown")  # as in prep; others only where include_geometry names them


@dataclass(frozen=True, eq=False)
class ScanFile:
    """A DICOM file that is a volume by all that can be said without decoding it."""

    path: str
    data: Buffer
    header: Header
    geometry: Geometry
    spacing: ResolvedSpacing

    @property
    def key(self) -> SampleKey:
        """Device, eye and the digest of the SOPInstanceUID; no person."""
        return SampleKey.of(
            "", _device(self.path, self.header), "", self.header.eye, self.header.sop_instance_uid
        )


def open_volume(path: str | Path) -> Volume:
    """The volume of the DICOM file at `path` (local, gs://, s3://), its voxels as they are in the file.

    Axes (D, H, W): B-scans in the order in which prep stores them, depth, A-scans. uint8, or uint16 where the
    file has more bits. spacing_mm is (dz, dy, dx). OctshardError, with the reason of prep, for a file that
    prep would refuse, and for one that does not say its spacing.
    """
    scan = open_scan(path, PrepConfig())
    if scan.spacing.assumed:
        raise OctshardError(
            f"{scan.path}: the file does not say its voxel spacing, want PixelMeasures (PS3.3)"
        )
    return read_volume(scan, scan.header.shape)


def stored_volume(scan: ScanFile, cfg: PrepConfig) -> Volume:
    """The volume that prep would store with `cfg`, before its grey levels become uint8."""
    shape_out = stored_shape(scan.header.shape, scan.spacing, cfg)
    with _refusals_named(scan.path):
        if product(shape_out) > cfg.max_output_voxels:
            text = f"{scan.spacing.spacing_mm} mm asks for {shape_out} voxels"
            raise Refused("too_large", f"spacing {text}, want at most {cfg.max_output_voxels}")
    if cfg.decode != "fast" or scan.spacing.assumed or scan.geometry.mirrored:
        return read_volume(scan, shape_out)
    spacing_out = _spacing_out(scan, shape_out)
    level = decode.level_for(scan.data, scan.header, scan.spacing.spacing_mm, spacing_out)
    return read_volume(scan, shape_out, level)


def stored_shape(shape: Shape, resolved: ResolvedSpacing, cfg: PrepConfig) -> Shape:
    """(D, H, W) in which prep stores a scan of `shape`."""
    if resolved.assumed or cfg.fit == "resize":
        return triple(cfg.image_size)
    return resampled_shape(shape, resolved.spacing_mm, triple(cfg.target_spacing))


def open_scan(path: str | Path, cfg: PrepConfig) -> ScanFile:
    """Reads and checks the file at `path`; OctshardError, with prep's reason, if it cannot be a volume."""
    url = str(path)
    with _refusals_named(url):
        data = _read(url)
        header = dicom.read_header(data, cfg.max_voxels)
        place = geometry.classify(header.locations, header.frames)
        if place.kind not in (*VOLUME_GEOMETRIES, *cfg.include_geometry):
            raise Refused(
                f"geometry_{place.kind}", f"frames lie as {place.kind}, want an evenly spaced raster"
            )
        return ScanFile(url, data, header, place, _spacing(url, header, place))


def read_volume(scan: ScanFile, shape_out: Shape, level: int = 0) -> Volume:
    """Decoded frame by frame and resampled to `shape_out`; `level` as in decode.level_for."""
    grid = Regrid(scan.header.shape, shape_out, level, scan.geometry.flipped)
    with _refusals_named(scan.path):
        voxels_DHW = resample_frames(_frames(scan, level), grid)
    return Volume(scan.key, voxels_DHW, _spacing_out(scan, shape_out), scan.geometry.kind)


def _frames(scan: ScanFile, level: int) -> Iterator[np.ndarray]:
    mirrored = frozenset(scan.geometry.mirrored)
    for i, frame_HW in enumerate(decode.frames(scan.data, scan.header, level)):
        yield frame_HW[:, ::-1] if i in mirrored else frame_HW


def _read(url: str) -> Buffer:
    try:
        if not store.is_remote(url):
            local.file_size(url)  # a folder or a pipe is no file, and a pipe would be waited for
        return store.map(url)
    except FileNotFoundError:
        raise OctshardError(f"{url}: no such file, want a DICOM file") from None


def _spacing(url: str, header: Header, place: Geometry) -> ResolvedSpacing:
    plane = next((measures.pixel_mm for measures in header.measures if measures.pixel_mm is not None), None)
    located = place.step_mm(header.cols * plane[1]) if plane else None
    step_mm = None if located is None else length_mm(located)
    return spacing.resolve(header.measures, header.frames, header.cols, _device(url, header), step_mm)


def _device(url: str, header: Header) -> str:
    """The device by the folders of the path or the model of the header; a folder of another name is none."""
    device = device_of(url, header.model)
    return device if device in DEVICES else "unknown"


def _spacing_out(scan: ScanFile, shape_out: Shape) -> Spacing:
    """The physical extent is kept."""
    spacing_in, shape_in = scan.spacing.spacing_mm, scan.header.shape
    extent_mm = [n * mm for n, mm in zip(shape_in, spacing_in, strict=True)]
    return triple([mm / n for mm, n in zip(extent_mm, shape_out, strict=True)])


@contextlib.contextmanager
def _refusals_named(path: str) -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        raise OctshardError(f"{path}: {refused}") from refused
