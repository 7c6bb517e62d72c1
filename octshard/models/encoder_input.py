"""What a frozen encoder takes, and the checks of what a program gives it."""

from collections.abc import Sequence
from numbers import Integral
from typing import NamedTuple, cast

import torch
from torch import Tensor

from octshard.errors import UsageError
from octshard.imaging.volume import Shape, triple


class EncoderInput(NamedTuple):
    """A batch for the encoder. x_BCDHW: float32, normalised, 0 outside the volume; valid_B3: voxels of the
    volume along D, H, W.
    """

    x_BCDHW: Tensor
    valid_B3: Tensor


def as_batch(x: Tensor | EncoderInput, patch: Shape) -> EncoderInput:
    """A tensor as a batch of whole images; UsageError where an encoder of this patch cannot read it."""
    x_BCDHW, valid_B3 = x if isinstance(x, EncoderInput) else (x, None)
    if not isinstance(x_BCDHW, Tensor):
        raise UsageError(f"x: a {type(x_BCDHW).__name__}, want a tensor (B, 1, D, H, W) or an EncoderInput")
    shape = tuple(x_BCDHW.shape)
    if len(shape) != 5 or 0 in shape:
        raise UsageError(f"x {shape}: want (B, 1, D, H, W), none of them 0")
    if shape[1] != 1:
        raise UsageError(f"x {shape}: {shape[1]} channels, want 1")
    if x_BCDHW.dtype != torch.float32:
        raise UsageError(f"x: {x_BCDHW.dtype}, want torch.float32, normalised as `preprocess` does")
    if any(n % p for n, p in zip(shape[2:], patch, strict=True)):
        raise UsageError(f"x {shape}: want D, H, W in multiples of the patch {list(patch)}")
    if valid_B3 is None:
        valid_B3 = torch.tensor([shape[2:]] * shape[0])
    if valid_B3.shape != (shape[0], 3):
        raise UsageError(f"valid_B3 {tuple(valid_B3.shape)}: want ({shape[0]}, 3), one extent for each image")
    for extent in valid_B3.tolist():
        if not all(1 <= n <= size for n, size in zip(extent, shape[2:], strict=True)):
            raise UsageError(f"valid_B3 {extent}: want 1 to {list(shape[2:])} voxels along D, H, W")
    return EncoderInput(x_BCDHW, valid_B3)


def block_numbers(indices: int | Sequence[int] | None, depth: int) -> list[int]:
    """Numbers from 0 on of the blocks that are asked for, in that order. indices: as in `FrozenEncoder`."""
    if indices is None:
        return list(range(depth))
    if isinstance(indices, Integral):
        last = int(indices)
        if not 1 <= last <= depth:
            raise UsageError(f"indices={last}: want the number of last blocks, 1 to {depth}")
        return list(range(depth - last, depth))
    numbers: list[int] = []
    for index in cast(Sequence[int], indices):
        if not isinstance(index, Integral) or not -depth <= int(index) < depth:
            raise UsageError(f"indices: {index!r}, want numbers of blocks from {-depth} to {depth - 1}")
        numbers.append(int(index) % depth)
    return numbers


def checked_size(image_size: Sequence[int]) -> Shape:
    """(D, H, W); UsageError unless it is three whole numbers above 0."""
    values = list(image_size)
    if len(values) != 3 or not all(isinstance(n, Integral) and n > 0 for n in values):
        raise UsageError(f"image_size {values}: want three voxel counts (D, H, W) >= 1")
    return triple([int(n) for n in values])
