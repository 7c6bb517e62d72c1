"""A sound volume packed: its slice of the tar, and the columns of its row that only the stored bytes tell."""

import hashlib
from dataclasses import replace

import numpy as np

from octshard.config.prep import KEEP, PrepConfig
from octshard.dataset import shard, stored_band, stored_scale, tables
from octshard.dataset.tables import SampleRow
from octshard.imaging.intensity import EIGHT_BITS, GreyScale, histogram, moments, to_uint8
from octshard.imaging.retina_band import RetinaBand, not_found
from octshard.imaging.volume import Volume
from octshard.prep.convert import band

COLUMNS = (  # of the row that the sample's JSON repeats, in its order
    "participant", "device", "protocol", "region", "eye", "split", "geometry", "assumed_spacing",
    "decoded_level",
)  # fmt: skip

OF_SLICES = ("slice_axis", "slice_places")  # where slices are no stack


def pack(row: SampleRow, wide: Volume, cfg: PrepConfig) -> tuple[SampleRow, bytes]:
    """The row of a sound volume, whole but for its offset, and its tar slice. Voxels become uint8, or stay
    what they are (§4.1).
    """
    grey_volume, scale = to_uint8(wide)
    volume = wide if cfg.bits == KEEP else grey_volume
    is_wide = volume.voxels_DHW.dtype != np.uint8
    grey = moments(histogram(volume.voxels_DHW), scale if is_wide else EIGHT_BITS)
    retina = _retina(row, grey_volume)
    row = _with_scale(row, scale, is_wide=is_wide)
    flags = sorted({*row.flags, *(["constant"] if grey.std == 0 else [])})
    meta = {
        "format": tables.FORMAT_VERSION,
        "spacing_mm": list(volume.spacing_mm),
        stored_scale.NAME: list(scale),
        **grey._asdict(),
        **{name: getattr(row, name) for name in COLUMNS},
        **{name: getattr(row, name) for name in OF_SLICES if row.slice_axis},
        "flags": flags,
        stored_band.NAME: stored_band.to_json(retina),
    }
    data = shard.pack(row.key, meta, volume.voxels_DHW, cfg.zstd_level)
    d, h, w = volume.voxels_DHW.shape
    packed = replace(
        row,
        flags=tuple(flags),
        shape_out=(d, h, w),
        spacing_out=volume.spacing_mm,
        dtype=str(volume.voxels_DHW.dtype),
        **grey._asdict(),
        nbytes=len(data),
        sha256=hashlib.sha256(volume.voxels_DHW.data).hexdigest(),
        xxh3=shard.slice_digest(data),
        retina_found=retina.share,
    )
    return packed, data


def _with_scale(row: SampleRow, scale: GreyScale, *, is_wide: bool) -> SampleRow:
    """Which levels are black and white, where voxels are not grey as the file has them."""
    if not is_wide and scale == EIGHT_BITS:
        return row
    text = "levels {:g} to {:g} are grey 0 to 255" if is_wide else "levels {:g} to {:g} became 0 to 255"
    detail = "; ".join(filter(None, (row.detail, text.format(*scale))))
    flags = row.flags if is_wide else (*row.flags, "mapped_to_uint8")
    return replace(row, flags=flags, detail=detail)


def _retina(row: SampleRow, volume: Volume) -> RetinaBand:
    """The band of the voxels in grey; not looked for where no frame shows a retina."""
    depth, _, width = volume.voxels_DHW.shape
    if row.frames is not None and (row.blank_frames or 0) + (row.no_retina_frames or 0) >= row.frames:
        return not_found(depth, width)
    return band.find(volume.voxels_DHW, None if row.assumed_spacing else volume.spacing_mm)
