"""A whole stored volume through the heads, in windows of the size that the encoder reads."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from octshard.dataset import stored_scale
from octshard.dataset.shard import Sample
from octshard.devices.backend import Backend
from octshard.eval.dense import monai_parts
from octshard.eval.dense.fit import Arm, TokenReader
from octshard.imaging.volume import Shape, triple
from octshard.models import normalize


def predict(
    arms: Sequence[Arm], reader: TokenReader, backend: Backend, sample: Sample, overlap: float
) -> list[np.ndarray]:
    """The output (outputs, D, H, W) float32 of each arm of one source for a stored volume."""
    voxels = torch.from_numpy(stored_scale.batch_voxels(sample).copy())
    stored: Shape = triple(voxels.shape)
    image = triple([n * p for n, p in zip(reader.grid, reader.patch, strict=True)])
    # whole patches behind a small volume; windows of a larger one end where it ends: all hold as much
    window = triple(
        [min(size, -(-n // p) * p) for n, size, p in zip(stored, image, reader.patch, strict=True)]
    )
    box = [max(n, size) for n, size in zip(stored, window, strict=True)]
    padded = torch.zeros((1, *box), dtype=voxels.dtype)
    d, h, w = stored
    padded[0, :d, :h, :w] = voxels
    mean_B, std_B = (torch.tensor([float(sample.meta[name])]) for name in ("mean", "std"))
    x_BCDHW = normalize.normalize(padded, mean_B, std_B, torch.tensor([stored]))
    valid_B3 = torch.tensor([[min(n, size) for n, size in zip(stored, window, strict=True)]])
    tokens = backend.ready(backend.to_device(reader.tokens_of(valid_B3)))

    def of_window(x_1CDHW: Tensor) -> tuple[Tensor, ...]:
        maps = reader.maps(arms[0].source, x_1CDHW, tokens)
        with backend.autocast():
            outputs = tuple(arm.module(maps, x_1CDHW).float() for arm in arms)
        backend.mark_step()
        return outputs

    with torch.no_grad():
        outputs = monai_parts.sliding_windows(
            backend.ready(backend.to_device(x_BCDHW)), window, overlap, of_window
        )
    return [backend.to_host(output)[0, :, :d, :h, :w].numpy() for output in outputs]
