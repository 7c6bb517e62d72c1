"""What is black and white in a stored volume, by its sample's JSON; and the volume in grey."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from octshard.dataset.shard import BadSample, Sample
from octshard.imaging import intensity
from octshard.imaging.intensity import EIGHT_BITS, LEVELS, GreyScale

WHOLE = GreyScale(0.0, LEVELS - 1.0)  # of a format whose own rule says what is black and white
NAME = "source_levels"  # in the JSON: the two levels of the file that are grey 0 and 255


def from_json(meta: Mapping[str, Any], dtype: np.dtype[Any], location: str) -> GreyScale:
    """The grey scale of stored voxels of that type. BadSample if 16 bits have none."""
    if dtype == np.uint8:
        return EIGHT_BITS  # whatever the levels of the file were
    match meta.get(NAME):
        case [int() | float() as black, int() | float() as white] if 0 <= black <= white < LEVELS:
            return GreyScale(float(black), float(white))
        case value:
            raise BadSample(f"{location}: {NAME} is {value!r:.99}, want two levels of {dtype}: black, white")


def expected(sample: Sample, counts: np.ndarray) -> GreyScale:
    """Of voxels with that histogram: by their percentiles, or WHOLE where the JSON says so."""
    is_whole = sample.voxels_DHW.dtype != np.uint8 and sample.meta.get(NAME) == [*WHOLE]
    return WHOLE if is_whole else intensity.grey_scale(counts)


def problem(sample: Sample, scale: GreyScale) -> str:
    """What is wrong with the JSON of a sample whose voxels have that scale; empty if nothing is."""
    if sample.voxels_DHW.dtype == np.uint8 or sample.meta.get(NAME) == [*scale]:
        return ""
    return f"{NAME} is {sample.meta.get(NAME)!r:.99}, black and white of the voxels are {[*scale]}"


def grey_uint8(sample: Sample) -> np.ndarray:
    """Its voxels (D, H, W) in grey, rounded to uint8: for pictures."""
    voxels_DHW = sample.voxels_DHW
    return intensity.grey_uint8(voxels_DHW, from_json(sample.meta, voxels_DHW.dtype, sample.key))


def grey(sample: Sample) -> np.ndarray:
    """Its voxels (D, H, W) in grey, 0 to 255, not rounded: float32."""
    voxels_DHW = sample.voxels_DHW
    if voxels_DHW.dtype == np.uint8:
        return voxels_DHW.astype(np.float32)
    scale = from_json(sample.meta, voxels_DHW.dtype, sample.key)
    greys: np.ndarray = scale.greys(LEVELS).astype(np.float32)[voxels_DHW]
    return greys


def batch_voxels(sample: Sample) -> np.ndarray:
    """Its voxels (D, H, W) as in a batch of this sample alone: uint8, or int16 in steps of grey."""
    voxels_DHW = sample.voxels_DHW
    return intensity.grey_steps(voxels_DHW, from_json(sample.meta, voxels_DHW.dtype, sample.key))
