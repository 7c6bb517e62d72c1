"""One DICOM file without a release around it -> a Volume, by the stages of a conversion.

Where prep writes a refused row, this raises one line that gives the reason. No manifest is consulted: what
only a manifest knows of a scan (spacing that its header lacks) is unknown here.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from octshard.config.prep import PrepConfig
from octshard.errors import OctshardError
from octshard.imaging.volume import DEVICES, SampleKey, Volume
from octshard.prep.convert.layout import ScanLayout, check_is_volume, layout_of
from octshard.prep.convert.voxels import decode_voxels, plan_resampling
from octshard.prep.dicom import header as dicom
from octshard.prep.dicom.header import Header
from octshard.prep.refusals import Refused
from octshard.prep.release.aireadi import Entry, device_of
from octshard.storage import local, store
from octshard.storage.checksum import Buffer


@dataclass(frozen=True, eq=False)
class ScanFile:
    """A DICOM file that is a volume by all that can be said without decoding it."""

    path: str
    data: Buffer
    header: Header
    layout: ScanLayout
    key: SampleKey  # of device, eye and the digest of the SOPInstanceUID; no person


def open_volume(path: str | Path) -> Volume:
    """The volume of the DICOM file at `path` (local, gs://, s3://), its voxels as they are in the file.

    Axes (D, H, W): B-scans in the order in which prep stores them, depth, A-scans. uint8, or uint16 where the
    file has more bits. spacing_mm is (dz, dy, dx). OctshardError, with the reason of prep, for a file that
    prep would refuse, and for one that does not say its spacing.
    """
    cfg = PrepConfig()
    scan = open_scan(path, cfg)
    if scan.layout.spacing.assumed:
        raise OctshardError(
            f"{scan.path}: the file does not say its voxel spacing, want PixelMeasures (PS3.3)"
        )
    own_grid = PrepConfig(
        fit="resize", image_size=[*scan.header.shape], max_output_voxels=cfg.max_voxels, decode="exact"
    )
    return stored_volume(scan, own_grid)


def open_scan(path: str | Path, cfg: PrepConfig) -> ScanFile:
    """Reads and checks the file at `path`; OctshardError, with prep's reason, if it cannot be a volume."""
    url = str(path)
    with _refusals_named(url):
        data = _read(url)
        header = dicom.read_header(data, cfg.max_voxels)
        entry = _entry(url, header)
        layout = layout_of(header, entry)
        check_is_volume(layout.geometry, cfg.include_geometry)
    key = SampleKey.of("", entry.device, "", header.eye, header.sop_instance_uid)
    return ScanFile(url, data, header, layout, key)


def stored_volume(scan: ScanFile, cfg: PrepConfig) -> Volume:
    """The volume that prep would store with `cfg`, before its grey levels become uint8."""
    with _refusals_named(scan.path):
        resampling = plan_resampling(scan.data, scan.header, scan.layout, cfg)
        voxels_DHW, _ = decode_voxels(scan.data, scan.header, resampling)
    return Volume(scan.key, voxels_DHW, resampling.spacing_mm, scan.layout.geometry.kind)


def _entry(url: str, header: Header) -> Entry:
    """What a manifest would say, as far as the file does. Folders count only where they name a device."""
    device = device_of(url, header.model)
    return Entry(
        participant="",
        device=device if device in DEVICES else "unknown",
        manufacturer=header.manufacturer,
        model=header.model,
        protocol="",
        region="",
        eye=header.eye,
        frames=None,
        rows=None,
        cols=None,
        pixel_mm=None,
        slice_mm=None,
        sop_instance_uid=header.sop_instance_uid,
        path=url,
    )


def _read(url: str) -> Buffer:
    try:
        if not store.is_remote(url):
            local.file_size(url)  # a folder or a pipe is no file, and a pipe would be waited for
        return store.map(url)
    except FileNotFoundError:
        raise OctshardError(f"{url}: no such file, want a DICOM file") from None


@contextlib.contextmanager
def _refusals_named(path: str) -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        raise OctshardError(f"{path}: {refused}") from refused
