"""One manifest row -> its Row and its tar slice: read, check, decode, resample, pack. Nothing is written.

The only place that catches Refused: every manifest row gives exactly one Row, whatever its file is like. The
same file, config and twins give the same bytes on every machine.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from octshard.config.prep import PrepConfig
from octshard.dataset import shard, tables
from octshard.dataset.tables import SampleRow
from octshard.imaging.intensity import histogram, moments, to_uint8
from octshard.imaging.resample import Regrid, resample_frames
from octshard.imaging.volume import Shape, Spacing, Volume, length_mm, product, resampled_shape, triple
from octshard.prep.convert import geometry, quality, spacing
from octshard.prep.convert.geometry import Geometry
from octshard.prep.convert.spacing import ResolvedSpacing
from octshard.prep.dicom import decode
from octshard.prep.dicom import header as dicom
from octshard.prep.dicom.pixel_measures import PixelMeasures
from octshard.prep.duplicates import SAME_SCAN
from octshard.prep.plan import Member
from octshard.prep.refusals import Refused
from octshard.prep.release.aireadi import Entry
from octshard.prep.release.source import Source
from octshard.storage import checksum
from octshard.storage.checksum import Buffer

VOLUMES = {"raster", "unknown"}  # geometries that are volumes without being asked for; `unknown` is flagged
PEAK = 255.0  # of PSNR
SAME_DB = 99.0  # PSNR of equal voxels, which is infinite


@dataclass(frozen=True)
class Task:
    """What is to be made of one manifest row."""

    member: Member
    shard: str  # the tar's name
    split: str
    audit: bool = False  # if decoded fast, decode exactly as well and record how far apart they are
    duplicate_of: str | None = (
        None  # its detail as a duplicate, if sound; "": it is none; None: look at its twins
    )
    crashed_paths: frozenset[str] = frozenset()  # paths of twins that killed whoever looked at them


class Converted(NamedTuple):
    """A row, and its tar slice; empty if it is refused."""

    row: SampleRow
    data: bytes


def convert(task: Task, cfg: PrepConfig, reader: Source) -> Converted:
    """The row of one manifest entry, and its tar slice.

    A sound file with a sound twin before it is a duplicate. The twin may lie in another shard or split, so it
    is read anew, unless the rows of the whole device have settled it.
    """
    known = _known(task)
    try:
        scan = _Scan(task.member.entry, cfg, reader, known)
        voxels = scan.voxels()
        if detail := _as_duplicate(task, cfg, reader):
            raise Refused("duplicate", detail)
        if task.audit and scan.level:
            known["fast_psnr_db"] = _psnr_db(voxels, scan.voxels(exact=True))
        volume = Volume(task.member.key, voxels, scan.spacing_out)
    except Refused as refused:
        return Converted(_refused(known, refused), b"")
    return _packed(known, volume, cfg)


def refused(task: Task, why: Refused) -> Converted:
    """What a file comes to that did not let itself be looked at."""
    return Converted(_refused(_known(task), why), b"")


def _refused(known: dict[str, Any], why: Refused) -> SampleRow:
    return SampleRow(**{**known, "shard": ""}, status="refused", reason=why.reason, detail=why.detail)


def _as_duplicate(task: Task, cfg: PrepConfig, reader: Source) -> str:
    """The detail of a duplicate, naming the first twin before the member that is not refused; or nothing."""
    if task.duplicate_of is not None:
        return task.duplicate_of
    for entry in task.member.earlier_duplicates:
        if entry.path in task.crashed_paths:
            continue
        try:
            _Scan(entry, cfg, reader, {}).voxels()
        except Refused:
            continue
        return SAME_SCAN + entry.path
    return ""


class _Scan:
    """One file, looked at but not yet decoded; Refused as soon as it cannot be a volume.

    known: takes what the row says, as soon as it is known.
    """

    def __init__(self, entry: Entry, cfg: PrepConfig, reader: Source, known: dict[str, Any]) -> None:
        self.known = known
        self.data = _read(entry, reader)
        known |= {"source_bytes": len(self.data), "source_crc32": checksum.crc32(self.data)}
        known |= {"source_xxh3": checksum.xxh3_128(self.data)}
        self.header = dicom.parse(self.data)
        known |= _header_facts(self.header, entry)
        dicom.check(self.header, cfg.max_voxels)
        self.place = geometry.classify(self.header.locations, self.header.frames)
        resolved = _spacing(self.header, entry, self.place)
        known |= {
            "geometry": self.place.kind,
            "spacing_in": resolved.spacing_mm,
            "spacing_source": resolved.source,
            "assumed_spacing": int(resolved.assumed),
            "flags": (*_header_flags(self.header, entry), *_geometry_flags(self.place), *resolved.flags),
        }
        _want_volume(self.place, cfg)
        self.shape_out = _shape_out(self.header.shape, resolved, cfg)
        if product(self.shape_out) > cfg.max_output_voxels:
            text = f"{resolved.spacing_mm} mm asks for {self.shape_out} voxels"
            raise Refused("too_large", f"spacing {text}, want at most {cfg.max_output_voxels}")
        extent = [n * mm for n, mm in zip(self.header.shape, resolved.spacing_mm, strict=True)]
        self.spacing_out: Spacing = triple([mm / n for mm, n in zip(extent, self.shape_out, strict=True)])
        # levels may be left out where samples stay as dense as the stored voxels ask for; mirrored frames
        # would have them at other places than the rest
        wish = cfg.decode == "fast" and not resolved.assumed and not self.place.mirrored
        self.level = (
            decode.level_for(self.data, self.header, resolved.spacing_mm, self.spacing_out) if wish else 0
        )

    def voxels(self, *, exact: bool = False) -> np.ndarray:
        """Decoded and resampled frame by frame: neither the raw nor a float volume is ever held whole."""
        level = 0 if exact else self.level
        grid = Regrid(self.header.shape, self.shape_out, level, self.place.flipped)
        facts: list[quality.FrameStats] = []
        voxels = resample_frames(self._frames(level, facts), grid)
        if not exact:
            found = quality.assess(facts)
            flags = (*self.known["flags"], *found.flags, *(["decoded_fast"] if level else []))
            self.known |= {
                "blank_frames": found.blank_frames,
                "no_retina_frames": found.no_retina_frames,
                "decoded_level": level,
                "flags": tuple(sorted(flags)),
            }
        return voxels

    def _frames(self, level: int, facts: list[quality.FrameStats]) -> Iterator[np.ndarray]:
        mirrored = frozenset(self.place.mirrored)
        for i, frame_HW in enumerate(decode.frames(self.data, self.header, level)):
            facts.append(quality.frame_stats(frame_HW))
            yield frame_HW[:, ::-1] if i in mirrored else frame_HW


def _known(task: Task) -> dict[str, Any]:
    entry = task.member.entry
    return {
        "key": str(task.member.key),
        "participant": entry.participant,
        "device": entry.device,
        "manufacturer": entry.manufacturer,
        "model": entry.model,
        "protocol": entry.protocol,
        "region": entry.region,
        "eye": entry.eye,
        "split": task.split,
        "source": entry.path,
        "sop_instance_uid": entry.sop_instance_uid,
        "shard": task.shard,
    }


def _read(entry: Entry, reader: Source) -> Buffer:
    if not entry.path:
        raise Refused("missing_file", "the manifest names no file")
    try:
        return reader.read(entry)
    except FileNotFoundError:  # the same words whether a ZIP or a folder has it not: rows must be the same
        raise Refused("missing_file", f"no object at {entry.path}") from None


def _header_facts(header: dicom.Header, entry: Entry) -> dict[str, Any]:
    """What the row takes from the file; names come from it only where the manifest is silent."""
    return {
        "sop_instance_uid": entry.sop_instance_uid or header.sop_instance_uid,
        "manufacturer": entry.manufacturer or header.manufacturer,
        "model": entry.model or header.model,
        "eye": entry.eye or header.eye or entry.eye_in_name,
        "transfer_syntax": header.transfer_syntax,
        "frames": header.frames,
        "rows": header.rows,
        "cols": header.cols,
        "bits": header.pixel_transform.bits_stored,
    }


def _header_flags(header: dicom.Header, entry: Entry) -> list[str]:
    """Where the file, its name and the manifest disagree; the manifest is believed."""
    flags = []
    if header.eye and entry.eye and header.eye != entry.eye:
        flags.append("eye_differs_from_manifest")
    if entry.eye_in_name and entry.eye_in_name != (entry.eye or header.eye or entry.eye_in_name):
        flags.append("eye_differs_from_name")
    if entry.sop_instance_uid and header.sop_instance_uid != entry.sop_instance_uid:
        flags.append("uid_differs_from_manifest")
    listed = (entry.frames, entry.rows, entry.cols)
    if any(want is not None and want != found for want, found in zip(listed, header.shape, strict=True)):
        flags.append("shape_differs_from_manifest")
    return flags


def _geometry_flags(found: Geometry) -> list[str]:
    facts = {
        "geometry_unknown": found.kind == "unknown",
        "frame_locations_missing": found.kind != "unknown" and found.missing > 0,
        "slow_axis_flipped": found.flipped,
        "fast_axis_reversed": found.fast_axis_reversed,
        "frames_mirrored": bool(found.mirrored),
    }
    return [flag for flag, holds in facts.items() if holds]


def _spacing(header: dicom.Header, entry: Entry, found: Geometry) -> ResolvedSpacing:
    listed = PixelMeasures("manifest", entry.pixel_mm, entry.slice_mm)
    plane = next((m.pixel_mm for m in (*header.measures, listed) if m.pixel_mm is not None), None)
    located = found.step_mm(header.cols * plane[1]) if plane else None
    located = None if located is None else length_mm(located)
    return spacing.resolve((*header.measures, listed), header.frames, header.cols, entry.device, located)


def _want_volume(found: Geometry, cfg: PrepConfig) -> None:
    if found.kind not in VOLUMES and found.kind not in cfg.include_geometry:
        lie = (
            "in more than one pattern, such as lines and circles"
            if found.kind == "mixed"
            else f"as {found.kind}"
        )
        raise Refused(f"geometry_{found.kind}", f"frames lie {lie}, want an evenly spaced raster")


def _shape_out(shape_in: Shape, resolved: ResolvedSpacing, cfg: PrepConfig) -> Shape:
    if resolved.assumed or cfg.fit == "resize":
        return triple(cfg.image_size)
    return resampled_shape(shape_in, resolved.spacing_mm, triple(cfg.target_spacing))


def _psnr_db(found_DHW: np.ndarray, exact_DHW: np.ndarray) -> float:
    """10 log10(peak^2 / mean squared error) of 8-bit voxels; of 16 bits relative to their own greatest."""
    peak = PEAK if exact_DHW.dtype == np.uint8 else max(1.0, float(exact_DHW.max()))
    error = float(np.mean((found_DHW.astype(np.float32) - exact_DHW.astype(np.float32)) ** 2))
    return SAME_DB if error == 0 else float(10 * np.log10(peak**2 / error))


def _packed(known: dict[str, Any], wide: Volume, cfg: PrepConfig) -> Converted:
    volume, source_levels = to_uint8(wide)
    found = moments(histogram(volume.voxels_DHW))
    flags = {*known["flags"], *(["constant"] if found.std == 0 else [])}
    detail = ""
    if source_levels != (0.0, 255.0):
        flags.add("mapped_to_uint8")
        detail = "levels {:g} to {:g} became 0 to 255".format(*source_levels)
    known = {**known, "flags": tuple(sorted(flags))}
    meta = {
        "format": tables.FORMAT_VERSION,
        "spacing_mm": list(volume.spacing_mm),
        "source_levels": list(source_levels),
        **found._asdict(),
        **{name: known[name] for name in ("participant", "device", "protocol", "region", "eye", "split")},
        **{name: known[name] for name in ("geometry", "assumed_spacing", "decoded_level")},
        "flags": list(known["flags"]),
    }
    data = shard.pack(known["key"], meta, volume.voxels_DHW, cfg.zstd_level)
    d, h, w = volume.voxels_DHW.shape
    row = SampleRow(
        **known,
        shape_out=(d, h, w),
        spacing_out=volume.spacing_mm,
        dtype=str(volume.voxels_DHW.dtype),
        **found._asdict(),
        nbytes=len(data),
        sha256=hashlib.sha256(volume.voxels_DHW.data).hexdigest(),
        xxh3=shard.slice_digest(data),
        detail=detail,
    )
    return Converted(row, data)
