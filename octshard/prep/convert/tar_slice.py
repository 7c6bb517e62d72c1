"""A sound volume packed: its slice of the tar, and the columns of its row that only the stored bytes tell."""

import hashlib
from dataclasses import replace

from octshard.dataset import shard, stored_band, tables
from octshard.dataset.tables import SampleRow
from octshard.imaging.intensity import histogram, moments, to_uint8
from octshard.imaging.retina_band import RetinaBand, not_found
from octshard.imaging.volume import Volume
from octshard.prep.convert import band

COLUMNS = (  # of the row that the sample's JSON repeats, in its order
    "participant", "device", "protocol", "region", "eye", "split", "geometry", "assumed_spacing",
    "decoded_level",
)  # fmt: skip


def pack(row: SampleRow, wide: Volume, zstd_level: int) -> tuple[SampleRow, bytes]:
    """The row of a sound volume, whole but for its offset, and its tar slice. Voxels become uint8 (§4.1)."""
    volume, source_levels = to_uint8(wide)
    grey = moments(histogram(volume.voxels_DHW))
    retina = _retina(row, volume)
    flags = {*row.flags, *(["constant"] if grey.std == 0 else [])}
    detail = row.detail
    if source_levels != (0.0, 255.0):
        flags.add("mapped_to_uint8")
        levels = "levels {:g} to {:g} became 0 to 255".format(*source_levels)
        detail = f"{detail}; {levels}" if detail else levels
    meta = {
        "format": tables.FORMAT_VERSION,
        "spacing_mm": list(volume.spacing_mm),
        "source_levels": list(source_levels),
        **grey._asdict(),
        **{name: getattr(row, name) for name in COLUMNS},
        "flags": sorted(flags),
        stored_band.NAME: stored_band.to_json(retina),
    }
    data = shard.pack(row.key, meta, volume.voxels_DHW, zstd_level)
    d, h, w = volume.voxels_DHW.shape
    packed = replace(
        row,
        flags=tuple(sorted(flags)),
        shape_out=(d, h, w),
        spacing_out=volume.spacing_mm,
        dtype=str(volume.voxels_DHW.dtype),
        **grey._asdict(),
        nbytes=len(data),
        sha256=hashlib.sha256(volume.voxels_DHW.data).hexdigest(),
        xxh3=shard.slice_digest(data),
        detail=detail,
        retina_found=retina.share,
    )
    return packed, data


def _retina(row: SampleRow, volume: Volume) -> RetinaBand:
    """The band of the stored voxels; not looked for where no frame shows a retina."""
    depth, _, width = volume.voxels_DHW.shape
    if row.frames is not None and (row.blank_frames or 0) + (row.no_retina_frames or 0) >= row.frames:
        return not_found(depth, width)
    return band.find(volume.voxels_DHW, None if row.assumed_spacing else volume.spacing_mm)
