"""What the stream yields: a batch, the part of it that a rank takes, and how the batch is prepared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from octshard.stream.sampler import StreamPosition

T = TypeVar("T")
Empty = Callable[[Sequence[int], torch.dtype], Tensor]  # of that shape and type, not initialised


@dataclass(frozen=True, eq=False)
class Batch:
    """One rank's part of a batch. voxels_BDHW of the size of `BatchShape.box`, padding 0 at the high end:
    grey as uint8, or as int16 in steps of 1 / intensity.STEPS (`SampleIndex.voxel_dtype`). valid_B3 voxels
    along D, H, W. epoch_B: which pass over its domain each sample belongs to; without mixing, the epoch.

    The first `count` samples are real; only evaluation's last batch has repeats behind them.

    band_BDQ2: int16, the retinal band of each sample (imaging/retina_band.py) in the rows and columns of its
    voxels here, NOT_FOUND in padding and where a sample has none; None if no sample of the batch has one. The
    row of a sample in samples.parquet tells beforehand: its retina_found is None where it has no band.

    length: of the lists of valid tokens that hold each of its volumes; None: that of the largest of the run.
    """

    voxels_BDHW: Tensor
    mean_B: Tensor
    std_B: Tensor
    valid_B3: Tensor
    keys: tuple[str, ...]
    epoch_B: tuple[int, ...]
    count: int
    position: StreamPosition
    substituted: tuple[str, ...]  # one line for each sample that another replaces
    seeds: tuple[str, ...]  # what randomness depends on: the key; of a substitute also the bad one's
    band_BDQ2: Tensor | None = None
    length: int | None = None


@dataclass(frozen=True)
class RankSlice:
    """The part of each batch that `rank` takes: `world_size` ranks share `global_batch` samples."""

    global_batch: int
    rank: int
    world_size: int


@dataclass(frozen=True)
class BatchTransform(Generic[T]):
    """How batches are prepared for their consumer, and their memory; called in the stream's threads."""

    prepare: Callable[[Batch], T]
    empty: Empty
