"""Pictures of stored volumes, read from the tars by offset: the central B-scan and the mean over depth.

Seed and keys alone decide which volumes; every read is verified, as for any sample.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from octshard.dataset import sample, stored_band, stored_scale
from octshard.dataset.tables import SampleRow
from octshard.errors import OctshardError
from octshard.imaging.retina_band import RetinaBand
from octshard.imaging.volume import triple
from octshard.rng import seed_for
from octshard.storage import store

LARGEST_PX = 640  # a side of a picture; wider ones are averaged down


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """uint8 pictures of one stored volume, and the physical width / height of each."""

    row: SampleRow
    bscan_HW: np.ndarray  # the central one, as stored
    bscan_aspect: float
    en_face_DW: np.ndarray  # the mean over depth, stretched to the full range of greys
    en_face_aspect: float
    band_Q2: np.ndarray | None  # rows of the retina in that B-scan; None: it was not looked for


def draw_rows(rows: Iterable[SampleRow], seed: int, most: int) -> list[SampleRow]:
    """At most `most` stored rows in a seeded order of their keys; one of each protocol comes first."""
    stored = [row for row in rows if row.status == "ok"]
    ordered = sorted(stored, key=lambda row: (seed_for(seed, "preview", row.key), row.key))
    first_by_protocol: dict[str, SampleRow] = {}
    for row in ordered:
        first_by_protocol.setdefault(row.protocol, row)
    first_keys = {row.key for row in first_by_protocol.values()}
    return [*first_by_protocol.values(), *(row for row in ordered if row.key not in first_keys)][:most]


def read(folder: str, row: SampleRow) -> Thumbnail:
    """The pictures of a stored row of the dataset in `folder`; an OctshardError names a bad sample."""
    if row.spacing_out is None:
        raise OctshardError(f"{folder}: {row.key} has no spacing_out; run octshard prep verify")
    stored = sample.read(folder, row)
    location = f"{store.join(folder, row.shard)} at {row.offset} ({row.key})"
    band = stored_band.from_json(stored.meta, triple(stored.voxels_DHW.shape), location)
    return draw(row, stored_scale.grey_uint8(stored), band)


def draw(row: SampleRow, voxels_DHW: np.ndarray, band: RetinaBand | None = None) -> Thumbnail:
    """The pictures of a volume; where the spacing was assumed, pixels are drawn square."""
    dz, dy, dx = (1.0, 1.0, 1.0) if row.assumed_spacing or not row.spacing_out else row.spacing_out
    d, h, w = voxels_DHW.shape
    bscan_HW = voxels_DHW[d // 2]
    if bscan_HW.dtype != np.uint8:
        bscan_HW = stretched(bscan_HW)
    en_face_DW = stretched(voxels_DHW.mean(axis=1, dtype=np.float32))
    band_Q2 = None if band is None else band.rows_DQ2[d // 2]
    en_face_aspect = w / d if row.slice_axis else w * dx / (d * dz)  # no picture of the retina from the front
    return Thumbnail(row, small(bscan_HW), w * dx / (h * dy), small(en_face_DW), en_face_aspect, band_Q2)


def stretched(image: np.ndarray) -> np.ndarray:
    """The 1st and 99th percentile become 0 and 255; a constant picture becomes mid-grey."""
    low, high = np.percentile(image, (1, 99))
    if high <= low:
        return np.full(image.shape, 128, np.uint8)
    return np.clip(np.rint((image - low) * (255.0 / (high - low))), 0, 255).astype(np.uint8)


def small(image: np.ndarray, most_px: int = LARGEST_PX) -> np.ndarray:
    """Averaged over whole blocks until both sides are at most `most_px`; the last, partial block is cut."""
    down, across = (-(-n // most_px) for n in image.shape)
    if down == across == 1:
        return image
    rows, columns = image.shape[0] // down, image.shape[1] // across
    blocks = image[: rows * down, : columns * across].reshape(rows, down, columns, across)
    return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)
