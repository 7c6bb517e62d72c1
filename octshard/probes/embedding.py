"""Volumes -> one row of numbers each: mean and standard deviation of every feature over the valid tokens."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from octshard.config.train import TrainConfig
from octshard.devices.backend import Backend, put
from octshard.errors import OctshardError
from octshard.models import normalize
from octshard.models.tokens import pool
from octshard.models.vit import Encoder
from octshard.probes.task import ProbeVolumes
from octshard.stream import loader
from octshard.stream.batch import BatchTransform, RankSlice
from octshard.stream.batch_shape import batch_shape

BATCH = 4  # volumes per forward pass: little memory, whatever the run takes


def mean_std(z_BVF: Tensor, padding_BV: Tensor | None) -> Tensor:
    """(B, 2 F) float32: mean, then population std, of each feature over the tokens of a volume."""
    z_BVF = z_BVF.float()
    mean_BF = pool(z_BVF, padding_BV)
    variance_BF = pool((z_BVF - mean_BF.unsqueeze(1)).square(), padding_BV)
    return torch.cat([mean_BF, variance_BF.sqrt()], 1)


def embed(
    encoder: Encoder,
    volumes: ProbeVolumes,
    cfg: TrainConfig,
    backend: Backend,
    on_batch: Callable[[], None],
) -> np.ndarray:
    """values_NF: of every volume, in order. on_batch is called after each batch.

    OctshardError for a volume whose features are not finite.
    """
    rows, tokens = [], batch_shape(volumes.index, cfg).tokens
    packed = backend.sequences != "none"
    transform = BatchTransform(backend.pin, backend.empty)
    for batch in loader.eval_batches(volumes.index, cfg, RankSlice(BATCH, 0, 1), 0, transform):
        on_device, tokens_BV = put(backend, (batch, encoder.tokens_of(batch.valid_B3, tokens, packed=packed)))
        with torch.no_grad(), backend.autocast():
            x_BCDHW = normalize.normalize(
                on_device.voxels_BDHW, on_device.mean_B, on_device.std_B, on_device.valid_B3
            )
            values_BF = mean_std(encoder(x_BCDHW, *tokens_BV), tokens_BV.padding_BV)
        host_BF = backend.to_host(values_BF).numpy()[: batch.count]  # waits for the device
        for key, values_F in zip(batch.keys, host_BF, strict=False):
            if not np.isfinite(values_F).all():
                raise OctshardError(f"volume {key} gave nan or inf, want finite features")
        rows.append(host_BF)
        on_batch()
    return np.concatenate(rows)
