"""Batches of the stream with the targets of their voxels: a pass over a split, in a seeded order or not."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from octshard.config.train import TrainConfig
from octshard.devices.backend import Backend
from octshard.eval.dense.target_store import TargetStore
from octshard.imaging.volume import triple
from octshard.rng import rng_for
from octshard.stream import loader, sampler
from octshard.stream.batch import Batch, BatchTransform
from octshard.stream.collate import NO_PASS, BatchSpec, window_of
from octshard.stream.index import SampleIndex
from octshard.stream.sampler import StreamPosition


class DenseBatch(NamedTuple):
    """target: labels (B, D, H, W) uint8 or pictures (B, D, W) float32, of the voxels of `batch`."""

    batch: Batch
    target: Tensor


@dataclass(frozen=True, eq=False)
class DenseStream:
    """Reads scans of one split with their targets. cfg: of the encoder's run, its seed is that of crops."""

    index: SampleIndex
    cfg: TrainConfig
    targets: TargetStore
    batch_size: int

    def batches(self, backend: Backend, epoch: int | None) -> Iterator[DenseBatch]:
        """Every scan once. epoch: shuffles and crops by it; None: as they lie, cropped at the centre."""
        count = len(self.index.samples)
        numbers = np.arange(count)
        if epoch is not None:
            numbers = rng_for(self.cfg.run.seed, "order", epoch).permutation(count)
        pass_index = NO_PASS if epoch is None else epoch

        def specs() -> Iterator[BatchSpec]:
            for places_B, real_count in sampler.sequential_batches(count, self.batch_size, 0, 1):
                samples_B = numbers[places_B].tolist()
                yield BatchSpec(samples_B, [pass_index] * self.batch_size, real_count, StreamPosition(0, 0))

        def prepare(batch: Batch) -> DenseBatch:
            box = triple(batch.voxels_BDHW.shape[1:])
            parts = []
            for key in batch.keys:
                window = window_of(shape_of[key], box, self.cfg.run.seed, pass_index, key)
                parts.append(torch.from_numpy(self.targets.cropped(key, window, box)))
            return backend.pin(DenseBatch(batch, torch.stack(parts)))

        shape_of = {sample.row.key: sample.shape for sample in self.index.samples}
        part = loader.Part(self.index, BatchTransform(prepare, backend.empty))
        return loader.batches(((spec, part) for spec in specs()), self.cfg)
