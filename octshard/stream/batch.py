"""What reaches the consumer of the stream: a batch, which part of it is whose, and by what way it comes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

from octshard.stream.sampler import StreamPosition

T = TypeVar("T")
Empty = Callable[[Sequence[int]], Tensor]  # a uint8 tensor of that shape for a batch, of whatever is in it


@dataclass(frozen=True, eq=False)
class Batch:
    """What one reader takes of one batch. voxels_BDHW uint8, padding 0 at the high end; valid_B3 voxels
    along D, H, W. epoch_B: which pass over its domain each sample belongs to; without mixing, the epoch.

    The first `count` samples are real; only evaluation's last batch has repeats behind them.
    """

    voxels_BDHW: Tensor
    mean_B: Tensor
    std_B: Tensor
    valid_B3: Tensor
    keys: tuple[str, ...]
    epoch_B: tuple[int, ...]
    count: int
    position: StreamPosition
    substituted: tuple[str, ...]  # what was wrong with each sample that another stands in for
    seeds: tuple[str, ...]  # what randomness hangs on: the key; of a stand-in also the missing one's


@dataclass(frozen=True)
class RankSlice:
    """Which part of each batch is this process's: `global_batch` samples, dealt to `world_size` ranks."""

    global_batch: int
    rank: int
    world_size: int


@dataclass(frozen=True)
class BatchTransform(Generic[T]):
    """How batches reach their consumer; both are called in the stream's threads."""

    prepare: Callable[[Batch], T]
    empty: Empty
