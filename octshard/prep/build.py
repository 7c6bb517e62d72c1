"""One shard's plan -> one tar and its rows: read, check, decode, resample, pack, publish.

The only place that catches Refused: every manifest row gives exactly one Row, whatever its file is like. The
same plan gives the same bytes. done.json is written last, so a shard that has one is finished.
"""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from octshard import checksum, manifest, shard, store
from octshard.config import PrepConfig
from octshard.errors import OctshardError
from octshard.intensity import Moments, histogram, moments, to_uint8
from octshard.manifest import Row, ShardInfo
from octshard.prep import dicom, geometry, spacing
from octshard.prep.aireadi import Entry
from octshard.prep.geometry import Geometry
from octshard.prep.plan import Member, ShardPlan, triple
from octshard.prep.spacing import Measures, Resolved
from octshard.resample import Regrid, resample_frames
from octshard.volume import Refused, Shape, Spacing, Volume, product, resampled_shape

Reader = Callable[[Entry], bytes]  # the bytes of an entry's file; FileNotFoundError if there is none
Tell = Callable[[str], None]  # called with every row's status, for progress

VOLUMES = {"raster", "unknown"}  # geometries that are volumes without being asked for; `unknown` is flagged
TAR, ROWS, DONE = ".tar", ".rows.parquet", ".done.json"
ROWS_DIGEST = "rows_sha256"  # stands in done.json beside the ShardInfo


@dataclass(frozen=True, eq=False)
class Made:
    """A decoded and resampled scan, before packing."""

    volume: Volume
    moments: Moments
    source_levels: tuple[float, float]  # stored levels that became 0 and 255


def build_shard(plan: ShardPlan, cfg: PrepConfig, read: Reader, folder: str, tell: Tell) -> ShardInfo:
    """Writes folder/<name>.tar, .rows.parquet and then .done.json; a plan of refusals alone makes no tar."""
    store.remove(store.join(folder, plan.name + DONE))
    rows: list[Row] = []
    tar = store.join(folder, plan.name + TAR)

    def slices() -> Iterator[bytes]:
        for member in plan.members:
            row, data = build_sample(member, plan, cfg, read)
            rows.append(row)
            tell(row.status)
            if data:
                yield data

    pieces = slices()
    first = next(pieces, None)
    if first is None:
        store.remove(tar)
        sums = shard.ShardSums(0, "", ())
    else:
        with store.create(tar) as file:
            sums = shard.write(file, _chain(first, pieces))
    rows = _with_offsets(rows, sums.offsets)
    table = store.join(folder, plan.name + ROWS)
    manifest.write_rows(table, rows)
    device = plan.members[0].entry.device
    info = ShardInfo(plan.name + TAR, device, plan.split, len(sums.offsets), sums.bytes, sums.sha256)
    text = json.dumps({**dataclasses.asdict(info), ROWS_DIGEST: _digest(table)}, sort_keys=True)
    store.write(store.join(folder, plan.name + DONE), text.encode())
    return info


def finished(plan: ShardPlan, folder: str) -> tuple[ShardInfo, list[Row]] | None:
    """A shard's info and rows if both stand and agree with each other, the plan and the tar; else None."""
    try:
        done = json.loads(store.read(store.join(folder, plan.name + DONE)))
        table = store.join(folder, plan.name + ROWS)
        if done.pop(ROWS_DIGEST) != _digest(table):
            return None
        info, rows = ShardInfo(**done), manifest.read_rows(table)
        size = store.size(store.join(folder, info.name)) if info.samples else 0
    except store.StoreError:
        raise
    except (FileNotFoundError, ValueError, TypeError, AttributeError, KeyError, OctshardError):
        # absent, or not what we write
        return None
    whole = [row.source for row in rows] == [member.entry.path for member in plan.members]
    stored = sum(row.status == "ok" for row in rows)
    return (info, rows) if whole and stored == info.samples and size == info.bytes else None


def counts(rows: Sequence[Row]) -> dict[str, Any]:
    """What dataset.json says of a folder's rows."""
    stored = [row for row in rows if row.status == "ok"]
    refused = Counter(row.reason for row in rows if row.status != "ok")
    return {
        "rows": len(rows),
        "stored": len(stored),
        "refused": dict(sorted(refused.items())),
        "splits": dict(sorted(Counter(row.split for row in stored).items())),
    }


def build_sample(member: Member, plan: ShardPlan, cfg: PrepConfig, read: Reader) -> tuple[Row, bytes]:
    """The row of one manifest entry, and its tar slice; empty if it is refused.

    A sound file with a sound twin before it is a duplicate. The twin may lie in another shard or split, so it
    is read anew: the answer hangs on the files alone, not on workers, shards or what an earlier run left.
    """
    known = _known(member, plan)
    try:
        made = _sound(member, cfg, read, known)
        if twin := _sound_twin(member, cfg, read):
            raise Refused("duplicate", f"same SOPInstanceUID or path as {twin}")
    except Refused as refused:
        return Row(**known, status="refused", reason=refused.reason, detail=refused.detail), b""
    return _packed(known, made, plan, cfg)


def _sound_twin(member: Member, cfg: PrepConfig, read: Reader) -> str:
    """The path of the first twin before `member` that is not refused, or nothing."""
    for entry in member.twins:
        try:
            _sound(dataclasses.replace(member, entry=entry), cfg, read, {})
        except Refused:
            continue
        return entry.path
    return ""


def _sound(member: Member, cfg: PrepConfig, read: Reader, known: dict[str, Any]) -> Made:
    """The scan of one entry, or Refused. known: takes what the row says, as soon as it is known."""
    data = _read(member.entry, read)
    known |= {"source_bytes": len(data), "source_crc32": checksum.crc32(data)}
    known |= {"source_xxh3": checksum.xxh3_128(data)}
    header = dicom.read_header(data, cfg.max_voxels)
    known |= _header_facts(header, member.entry)
    shape = geometry.classify(header.locations, header.frames)
    resolved = _spacing(header, member.entry, shape)
    flags = [*_header_flags(header, member.entry), *_geometry_flags(shape), *resolved.flags]
    known |= {
        "geometry": shape.kind,
        "spacing_in": resolved.spacing_mm,
        "spacing_source": resolved.source,
        "assumed_spacing": int(resolved.assumed),
        "flags": tuple(sorted(flags)),
    }
    _want_volume(shape, cfg)
    return _make(member, data, header, resolved, cfg)


def _digest(url: str) -> str:
    return hashlib.sha256(store.read(url)).hexdigest()


def _known(member: Member, plan: ShardPlan) -> dict[str, Any]:
    entry = member.entry
    return {
        "key": str(member.key),
        "participant": entry.participant,
        "device": entry.device,
        "manufacturer": entry.manufacturer,
        "model": entry.model,
        "protocol": entry.protocol,
        "region": entry.region,
        "eye": entry.eye,
        "split": plan.split,
        "source": entry.path,
        "sop_instance_uid": entry.sop_instance_uid,
    }


def _read(entry: Entry, read: Reader) -> bytes:
    if not entry.path:
        raise Refused("missing_file", "the manifest names no file")
    try:
        return read(entry)
    except FileNotFoundError:
        raise Refused("missing_file", f"no object at {entry.path}") from None


def _header_facts(header: dicom.Header, entry: Entry) -> dict[str, Any]:
    """What the row takes from the file; names come from it only where the manifest is silent."""
    return {
        "sop_instance_uid": entry.sop_instance_uid or header.sop_instance_uid,
        "manufacturer": entry.manufacturer or header.manufacturer,
        "model": entry.model or header.model,
        "eye": entry.eye or header.eye,
        "transfer_syntax": header.transfer_syntax,
        "frames": header.frames,
        "rows": header.rows,
        "cols": header.cols,
        "bits": header.levels.bits_stored,
    }


def _header_flags(header: dicom.Header, entry: Entry) -> list[str]:
    """Where the file and the manifest disagree; the manifest is believed."""
    flags = []
    if header.eye and entry.eye and header.eye != entry.eye:
        flags.append("eye_differs_from_manifest")
    if entry.sop_instance_uid and header.sop_instance_uid != entry.sop_instance_uid:
        flags.append("uid_differs_from_manifest")
    listed = (entry.frames, entry.rows, entry.cols)
    if any(want is not None and want != found for want, found in zip(listed, header.shape, strict=True)):
        flags.append("shape_differs_from_manifest")
    return flags


def _geometry_flags(found: Geometry) -> list[str]:
    if found.kind == "unknown":
        return ["geometry_unknown"]
    return ["frame_locations_missing"] if found.missing else []


def _spacing(header: dicom.Header, entry: Entry, found: Geometry) -> Resolved:
    listed = Measures("manifest", entry.pixel_mm, entry.slice_mm)
    plane = next((m.pixel_mm for m in (*header.measures, listed) if m.pixel_mm is not None), None)
    located = found.step_mm(header.cols * plane[1]) if plane else None
    located = None if located is None else spacing.length_mm(located)
    return spacing.resolve((*header.measures, listed), header.frames, header.cols, entry.device, located)


def _want_volume(found: Geometry, cfg: PrepConfig) -> None:
    if found.kind not in VOLUMES and found.kind not in cfg.include_geometry:
        lie = (
            "in more than one pattern, such as lines and circles"
            if found.kind == "mixed"
            else f"as {found.kind}"
        )
        raise Refused(f"geometry_{found.kind}", f"frames lie {lie}, want an evenly spaced raster")


def _make(member: Member, data: bytes, header: dicom.Header, resolved: Resolved, cfg: PrepConfig) -> Made:
    """Decodes and resamples frame by frame: neither the raw nor a float volume is ever held whole."""
    shape_in = header.shape
    shape_out = _shape_out(shape_in, resolved, cfg)
    if product(shape_out) > cfg.max_output_voxels:
        text = f"{resolved.spacing_mm} mm asks for {shape_out} voxels, want at most {cfg.max_output_voxels}"
        raise Refused("too_large", f"spacing {text}")
    voxels = resample_frames(dicom.read_frames(data, header), Regrid(shape_in, shape_out))
    extent = [n * mm for n, mm in zip(shape_in, resolved.spacing_mm, strict=True)]
    spacing_out: Spacing = triple([mm / n for mm, n in zip(extent, shape_out, strict=True)])
    volume, source_levels = to_uint8(Volume(member.key, voxels, spacing_out))
    return Made(volume, moments(histogram(volume.voxels_DHW)), source_levels)


def _shape_out(shape_in: Shape, resolved: Resolved, cfg: PrepConfig) -> Shape:
    if resolved.assumed or cfg.fit == "resize":
        return triple(cfg.image_size)
    return resampled_shape(shape_in, resolved.spacing_mm, triple(cfg.target_spacing))


def _packed(known: dict[str, Any], made: Made, plan: ShardPlan, cfg: PrepConfig) -> tuple[Row, bytes]:
    volume, found = made.volume, made.moments
    flags = {*known["flags"], *(["constant"] if found.std == 0 else [])}
    detail = ""
    if made.source_levels != (0.0, 255.0):
        flags.add("mapped_to_uint8")
        detail = "levels {:g} to {:g} became 0 to 255".format(*made.source_levels)
    known = {**known, "flags": tuple(sorted(flags))}
    meta = {
        "format": manifest.FORMAT_VERSION,
        "spacing_mm": list(volume.spacing_mm),
        "source_levels": list(made.source_levels),
        **found._asdict(),
        **{name: known[name] for name in ("participant", "device", "protocol", "region", "eye", "split")},
        **{name: known[name] for name in ("geometry", "assumed_spacing")},
        "flags": list(known["flags"]),
    }
    data = shard.pack(known["key"], meta, volume.voxels_DHW, cfg.zstd_level)
    d, h, w = volume.voxels_DHW.shape
    row = Row(
        **known,
        shape_out=(d, h, w),
        spacing_out=volume.spacing_mm,
        dtype=str(volume.voxels_DHW.dtype),
        **found._asdict(),
        shard=plan.name + TAR,
        nbytes=len(data),
        sha256=hashlib.sha256(volume.voxels_DHW.data).hexdigest(),
        xxh3=shard.slice_digest(data),
        detail=detail,
    )
    return row, data


def _with_offsets(rows: list[Row], offsets: tuple[int, ...]) -> list[Row]:
    places = iter(offsets)
    placed = [dataclasses.replace(row, offset=next(places)) if row.status == "ok" else row for row in rows]
    if next(places, None) is not None:
        raise OctshardError(f"{len(offsets)} samples written, but fewer rows are ok")
    return placed


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
