"""One file without a release -> a Volume, by the stages of prep: header, layout, voxels.

Where prep writes a refused row, this raises an error of one line with the same reason. There is no manifest,
so a spacing that only a manifest gives is unknown here.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from octshard.config.prep import KEEP, PrepConfig
from octshard.errors import OctshardError
from octshard.imaging.volume import SampleKey, Volume
from octshard.prep.convert import volumes
from octshard.prep.convert.layout import ScanLayout, check_is_volume, layout_of
from octshard.prep.convert.voxels import Resampling, decode_voxels, plan_resampling, resampling_to
from octshard.prep.readers import recognise
from octshard.prep.readers.scan import Scan
from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from octshard.prep.release import device_name, scan_path
from octshard.prep.release.entry import Entry
from octshard.prep.release.source import map_file, map_scan
from octshard.prep.scan_facts import ScanFacts
from octshard.storage import store
from octshard.storage.checksum import Buffer


@dataclass(frozen=True, eq=False)
class ScanFile:
    """A file that passed every check of prep that needs no decoding."""

    path: str
    scan: Scan
    layout: ScanLayout
    key: SampleKey  # of device, eye and the digest of the SOPInstanceUID; no person


def open_volume(path: str | Path) -> Volume:
    """The volume of the file at `path` (local, gs://, s3://), its voxels as they are in the file.

    A folder, and a URL that ends in /, is one scan with an image for each B-scan.

    Axes (D, H, W): B-scans in the order in which prep stores them, depth, A-scans. uint8, or uint16 where the
    file has more bits. spacing_mm is (dz, dy, dx). OctshardError, with the reason of prep, for a file that
    prep would refuse, and for one without a spacing.
    """
    file = open_scan(path, PrepConfig())
    if file.layout.spacing.assumed:
        raise OctshardError(
            f"{file.path}: the file does not say its voxel spacing, want one that does (DICOM: PixelMeasures)"
        )
    facts = file.scan.facts
    return _decode(file, resampling_to(facts.shape, facts, file.layout))


def open_scan(path: str | Path, cfg: PrepConfig) -> ScanFile:
    """Reads and checks the file at `path`; OctshardError, with prep's reason, if it cannot be a volume."""
    url = str(path)
    if not store.is_remote(url) and os.path.isdir(store.local_path(url)):
        url = f"{url.rstrip('/')}/"
    try:
        data = map_scan(scan_path.file_of(url))
    except FileNotFoundError:
        raise OctshardError(f"{url}: no such file, want a scan file") from None
    with _refusals_named(url):
        bytes_ = ScanBytes(data, url, folder=_folder_of(url), keep=cfg.bits == KEEP)
        scan = volumes.selected(recognise.open_scan(bytes_), url)
        scan.check(cfg.max_voxels)
        facts = scan.facts
        entry = _entry(url, facts)
        layout = layout_of(facts, entry, cfg.include_geometry)
        check_is_volume(layout.geometry, cfg.include_geometry)
    key = SampleKey.of("", entry.device, "", facts.eye, facts.sop_instance_uid)
    return ScanFile(url, scan, layout, key)


def stored_volume(file: ScanFile, cfg: PrepConfig) -> Volume:
    """The volume that prep would store with `cfg`, before its grey levels become uint8."""
    with _refusals_named(file.path):
        resampling = plan_resampling(file.scan, file.layout, cfg)
    return _decode(file, resampling)


def _decode(file: ScanFile, resampling: Resampling) -> Volume:
    with _refusals_named(file.path):
        voxels_DHW = decode_voxels(file.scan, resampling).voxels_DHW
    kind, display = file.layout.geometry.kind, file.scan.facts.display
    return Volume(file.key, voxels_DHW, resampling.spacing_mm, kind, display=display)


def _folder_of(url: str) -> Callable[[str], Buffer]:
    folder = url.rpartition("/")[0]
    return lambda name: map_file(f"{folder}/{name}" if folder or url.startswith("/") else name)


def _entry(url: str, facts: ScanFacts) -> Entry:
    """The manifest row of the file, by its header alone. Of its folders only a name in DEVICES counts."""
    device = device_name.of_scan(url, facts.model)
    return Entry(
        participant="",
        device=device or device_name.UNKNOWN,
        manufacturer=facts.manufacturer,
        model=facts.model,
        protocol="",
        region="",
        eye=facts.eye,
        frames=None,
        rows=None,
        cols=None,
        pixel_mm=None,
        slice_mm=None,
        sop_instance_uid=facts.sop_instance_uid,
        path=url,
    )


@contextlib.contextmanager
def _refusals_named(path: str) -> Iterator[None]:
    """A Refused becomes an OctshardError that names the file."""
    try:
        yield
    except Refused as refusal:
        raise OctshardError(f"{path}: {refusal}") from refusal
