"""The labelled scans of the splits as batches with their targets: in seeded order, or all once in order."""

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from octshard.config.train import TrainConfig
from octshard.devices.backend import Backend
from octshard.models.tokens import Tokens
from octshard.models.vit import Encoder
from octshard.probes.labels import Subset
from octshard.rng import rng_for
from octshard.stream import loader
from octshard.stream.batch import Batch, BatchTransform, RankSlice
from octshard.stream.index import SampleIndex
from octshard.stream.sampler import StreamPosition

BRIGHTNESS, CONTRAST = 0.2, 0.2  # in standard deviations of a volume, and in powers of e


class LabelledBatch(NamedTuple):
    """y_B: int64 or float32; weight_B: of each volume in the loss, 0 for what only fills the batch."""

    batch: Batch
    tokens: Tokens
    y_B: Tensor
    weight_B: Tensor


@dataclass(frozen=True, eq=False)
class LabelledIndex:
    """The labelled scans of a split, and by key the target and weight of each. labels: their subset, whose
    rows are in the order of `index`.
    """

    index: SampleIndex
    labels: Subset
    target_of: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class ScanReader:
    """cfg: of the pretraining, with the shards, seed and views of this one; tokens: of lists."""

    cfg: TrainConfig
    backend: Backend
    encoder: Encoder
    tokens: int
    light: bool

    def train(
        self, part: LabelledIndex, size: int, start: StreamPosition
    ) -> Generator[LabelledBatch, None, None]:
        """Without end: seeded crops and views."""
        transform = BatchTransform(
            lambda batch: self._labelled(self._viewed(batch), part), self.backend.empty
        )
        return loader.train_batches(part.index, self.cfg, RankSlice(size, 0, 1), start, transform)

    def all(self, part: LabelledIndex, size: int) -> Iterable[LabelledBatch]:
        """Every scan once: centre crops, as stored."""
        transform = BatchTransform(lambda batch: self._labelled(batch, part), self.backend.empty)
        return loader.eval_batches(part.index, self.cfg, RankSlice(size, 0, 1), 0, transform)

    def _labelled(self, batch: Batch, part: LabelledIndex) -> LabelledBatch:
        pairs = [part.target_of[key] for key in batch.keys]
        y_B = torch.tensor([y for y, _ in pairs], dtype=torch.float32)
        if not np.issubdtype(part.labels.y_N.dtype, np.floating):
            y_B = y_B.long()
        real_B = torch.arange(len(pairs)) < batch.count
        weight_B = torch.tensor([weight for _, weight in pairs], dtype=torch.float32) * real_B
        packed = self.backend.sequences == "any length"
        tokens = self.encoder.tokens_of(batch.valid_B3, self.tokens, packed=packed)
        return self.backend.pin(LabelledBatch(batch, tokens, y_B, weight_B))

    def _viewed(self, batch: Batch) -> Batch:
        """Mirrored along depth and width inside the volume, brighter or darker, of more or less contrast; by
        (seed, epoch, key).
        """
        if not self.light:
            return batch
        mean_B, std_B = batch.mean_B.clone(), batch.std_B.clone()
        for i, (epoch, key) in enumerate(zip(batch.epoch_B, batch.keys, strict=True)):
            rng = rng_for("finetune", self.cfg.run.seed, epoch, key)
            flip_d, flip_w, brightness, contrast = rng.random(4)
            d, h, w = batch.valid_B3[i].tolist()
            volume_DHW = batch.voxels_BDHW[i, :d, :h, :w]
            axes = [axis for axis, chance in ((0, flip_d), (2, flip_w)) if chance < 0.5]
            volume_DHW.copy_(volume_DHW.flip(axes))
            mean_B[i] += BRIGHTNESS * (2 * brightness - 1) * std_B[i]
            std_B[i] *= float(np.exp(CONTRAST * (2 * contrast - 1)))
        return replace(batch, mean_B=mean_B, std_B=std_B)
