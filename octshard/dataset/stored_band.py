"""The retinal band in a sample's JSON, both directions. Samples of octshard 0.1 have none.

Steps from block to block along each B-scan instead of rows: they are small, and so is their text.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from octshard.dataset import shard
from octshard.dataset.shard import BadSample
from octshard.imaging.retina_band import BLOCK, NOT_FOUND, RetinaBand, blocks_of
from octshard.imaging.volume import Shape

NAME = "retina_band"  # in the JSON


def to_json(band: RetinaBand) -> dict[str, Any]:
    """What the JSON has under NAME: the columns of a block, and a text (shard.array_text) of the steps."""
    steps_DQ2 = np.diff(band.rows_DQ2, axis=1, prepend=np.int16(0)).astype("<i2")
    return {"block": BLOCK, "steps": shard.array_text(steps_DQ2)}


def from_json(meta: Mapping[str, Any], shape: Shape, location: str) -> RetinaBand | None:
    """The band of a sample of that shape; None if it has none. BadSample for what is no band of it."""
    if (value := meta.get(NAME)) is None:
        return None
    depth, height, width = shape
    try:
        if not isinstance(value, dict) or value.get("block") != BLOCK:
            raise ValueError(f"{value!r:.99}, want blocks of {BLOCK} columns")
        steps_DQ2 = shard.array_from(value.get("steps"), (depth, blocks_of(width), 2), "<i2")
    except ValueError as error:
        raise BadSample(f"{location}: {NAME} is {error}") from error
    rows_DQ2 = np.cumsum(steps_DQ2, axis=1, dtype=np.int16)
    top_DQ, bottom_DQ = rows_DQ2[..., 0], rows_DQ2[..., 1]
    is_band_DQ = (top_DQ >= 0) & (top_DQ < bottom_DQ) & (bottom_DQ <= height)
    if not (is_band_DQ | ((top_DQ == NOT_FOUND) & (bottom_DQ == NOT_FOUND))).all():
        raise BadSample(f"{location}: {NAME} has rows outside the volume, or a last row before the first")
    return RetinaBand(rows_DQ2)


def problem(meta: Mapping[str, Any], shape: Shape, retina_found: float | None) -> str:
    """What is wrong with the band of a JSON, or with what its row says of it; empty if nothing is."""
    try:
        band = from_json(meta, shape, "the sample")
    except BadSample as error:
        return str(error)
    share = None if band is None else band.share
    if share == retina_found or (share and retina_found and math.isclose(share, retina_found)):
        return ""
    return f"{NAME} has the retina in a share of {share} of its blocks, the row says {retina_found}"
