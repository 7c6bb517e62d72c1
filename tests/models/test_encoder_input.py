"""What programs give a frozen encoder: checked before anything is computed."""

from typing import Any

import numpy as np
import pytest
import torch

from octshard.errors import UsageError
from octshard.models import encoder_input
from octshard.models.encoder_input import EncoderInput

PATCH = (2, 8, 8)


def test_a_tensor_is_a_batch_of_whole_images() -> None:
    batch = encoder_input.as_batch(torch.zeros(2, 1, 4, 8, 16), PATCH)
    assert batch.valid_B3.tolist() == [[4, 8, 16], [4, 8, 16]]
    given = EncoderInput(torch.zeros(1, 1, 4, 8, 16), torch.tensor([[3, 7, 16]]))
    assert encoder_input.as_batch(given, PATCH).valid_B3 is given.valid_B3


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((1, 1, 4, 8, 16), np.float32), "x: a ndarray, want a tensor"),
        (torch.zeros(1, 4, 8, 16), r"x \(1, 4, 8, 16\): want \(B, 1, D, H, W\)"),
        (torch.zeros(0, 1, 4, 8, 16), "none of them 0"),
        (torch.zeros(1, 3, 4, 8, 16), "3 channels, want 1"),
        (torch.zeros(1, 1, 4, 8, 16, dtype=torch.uint8), "torch.uint8, want torch.float32"),
        (torch.zeros(1, 1, 4, 8, 16, dtype=torch.float64), "torch.float64, want torch.float32"),
        (torch.zeros(1, 1, 3, 8, 16), r"multiples of the patch \[2, 8, 8\]"),
        (EncoderInput(torch.zeros(2, 1, 4, 8, 16), torch.ones(1, 3)), r"valid_B3 \(1, 3\): want \(2, 3\)"),
        (EncoderInput(torch.zeros(1, 1, 4, 8, 16), torch.tensor([[0, 8, 16]])), "valid_B3 .* want 1 to"),
        (EncoderInput(torch.zeros(1, 1, 4, 8, 16), torch.tensor([[4, 9, 16]])), r"want 1 to \[4, 8, 16\]"),
    ],
)
def test_what_cannot_be_read_is_one_line(x: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        encoder_input.as_batch(x, PATCH)


def test_blocks_by_number_as_timm_counts_them() -> None:
    assert encoder_input.block_numbers(None, 4) == [0, 1, 2, 3]
    assert encoder_input.block_numbers(2, 4) == [2, 3]
    assert encoder_input.block_numbers([0, -1, 2, 0], 4) == [0, 3, 2, 0]
    assert encoder_input.block_numbers(np.array([1]), 4) == [1]  # type: ignore[arg-type]
    for indices in (0, 5, [4], [-5], ["1"]):
        with pytest.raises(UsageError, match=r"indices.*want"):
            encoder_input.block_numbers(indices, 4)  # type: ignore[arg-type]


def test_sizes_are_three_whole_numbers() -> None:
    assert encoder_input.checked_size(np.array([4, 8, 16])) == (4, 8, 16)  # type: ignore[arg-type]
    for size in ([4, 8], [4, 8, 0], [4, 8, 16.0]):
        with pytest.raises(UsageError, match="want three voxel counts"):
            encoder_input.checked_size(size)  # type: ignore[arg-type]
