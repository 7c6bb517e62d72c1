"""Batches of blank volumes as large as any of a run: a step of them shows what does not fit into memory."""

import torch

from octshard.devices.backend import Backend
from octshard.imaging.volume import product
from octshard.models import position
from octshard.stream.batch import Batch
from octshard.stream.index import token_grid
from octshard.stream.sampler import StreamPosition
from octshard.train.inputs import RunInputs, TrainInputs, plan_of, preparation
from octshard.train.objectives import curriculum


def largest_batches(inputs: RunInputs, backend: Backend) -> list[TrainInputs]:
    """A micro-batch of this process for each length of lists, the longest first, and each stage of the masks:
    of the size of the largest volume that fits.
    """
    lengths: list[int | None] = [*reversed(plan_of(inputs, backend).list_lengths)]
    batches = [_blank_batch(inputs, backend, length) for length in lengths or [None]]
    return [
        preparation(inputs, backend, lambda _, stage=stage: stage)(batch)  # type: ignore[misc]
        for batch in batches
        for stage in range(len(curriculum.stages(inputs.cfg)))
    ]


def _blank_batch(inputs: RunInputs, backend: Backend, length: int | None) -> Batch:
    cfg, rank_slice = inputs.cfg, inputs.plan.rank_slice
    size = rank_slice.global_batch // rank_slice.world_size
    counts = {s.shape: product(token_grid(s.shape, cfg)) for s in inputs.index.samples}
    fitting = {shape: count for shape, count in counts.items() if length is None or count <= length}
    shape = max(fitting, key=lambda shape: fitting[shape])
    valid_3 = torch.tensor(shape).minimum(torch.tensor(position.shape_of(cfg.model)[0]))
    keys = tuple(f"made up {i}" for i in range(size))
    voxels_BDHW = backend.empty((size, *inputs.shape.box), inputs.index.voxel_dtype).zero_()
    mean_B, std_B, epoch_B = torch.zeros(size), torch.ones(size), (0,) * size
    valid_B3, start = valid_3.expand(size, 3).clone(), StreamPosition(0, 0)
    return Batch(voxels_BDHW, mean_B, std_B, valid_B3, keys, epoch_B, size, start, (), keys, length=length)
