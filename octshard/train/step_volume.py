"""One volume as a step of training (or of validation) gets it: the stream's crop, its views and its masks.

The same functions and seeds as in the loop, in batches of one volume on the CPU: what is done to a volume
does not depend on those beside it.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from octshard.config.train import TrainConfig
from octshard.devices import host_memory
from octshard.devices.backend import Backend
from octshard.errors import UsageError
from octshard.imaging.volume import Shape, product, triple
from octshard.models import normalize, position
from octshard.models.tokens import Tokens
from octshard.stream.batch import Batch
from octshard.stream.index import SampleIndex, SampleRef, filter_of, open_datasets
from octshard.stream.sampler import StreamPosition
from octshard.train.augment.cross_resolution import of_context, views_of
from octshard.train.augment.views import ViewParams
from octshard.train.inputs import RunInputs, load_inputs, train_batches, val_batches
from octshard.train.objectives import token_counts
from octshard.train.objectives.masks import Masks
from octshard.train.objectives.places import Places, token_numbers

_VOXEL_BYTES = 24  # of a volume of image_size: its voxels, two views, and what lies between


class StepVolume(NamedTuple):
    """context, target: views of (1, 1, D, H, W), as the encoders read them, the context at its own spacing.
    params: None in validation.
    """

    batch: Batch  # of this volume alone
    context_BCDHW: Tensor
    target_BCDHW: Tensor
    params: ViewParams | None
    masks: Sequence[Masks]

    @property
    def valid(self) -> Shape:
        """Its extent in voxels."""
        return triple(self.batch.valid_B3[0].tolist())


@dataclass(frozen=True, eq=False)
class VolumeSource:
    """The volumes of a run, one by one; `open_source` makes one."""

    inputs: RunInputs
    backend: Backend

    @property
    def cfg(self) -> TrainConfig:
        """Of the run."""
        return self.inputs.cfg

    def ref(self, step: StepVolume) -> SampleRef:
        """Where the volume of a step is stored."""
        index = self.inputs.index if step.params else self.inputs.val_index
        return next(ref for ref in index.samples if ref.row.key == step.batch.keys[0])


def open_source(cfg: TrainConfig, backend: Backend) -> VolumeSource:
    """The volumes of the run `cfg`; UsageError as `train` has it if data and config do not fit together."""
    inputs = load_inputs(cfg, backend)
    needed, free = _VOXEL_BYTES * product(cfg.model.image_size), host_memory.free_memory()
    if free is not None and needed > free:
        raise UsageError(
            f"model.image_size={list(cfg.model.image_size)}: one volume and its views take "
            f"{needed / 1e9:,.1f} GB, and this machine has {free / 1e9:,.1f} GB; want a smaller one"
        )
    return VolumeSource(inputs, backend)


def one_by_one(cfg: TrainConfig) -> TrainConfig:
    """`cfg` for batches of one volume on the CPU, with nothing read ahead: it changes no volume."""
    run = dataclasses.replace(cfg.run, device="cpu", global_batch=1, per_device_batch=1, compile=False)
    data = dataclasses.replace(cfg.data, cache_dir="", prefetch_bytes=0, read_ahead_bytes=0)
    return dataclasses.replace(cfg, run=run, data=data)


def volumes(source: VolumeSource, keys: Sequence[str], count: int) -> Iterator[StepVolume]:
    """Those of `keys`, or without any the first `count` of the run."""
    if keys:
        return (volume_of(source, key) for key in keys)
    return train_volumes(source, count)


def train_volumes(source: VolumeSource, count: int) -> Iterator[StepVolume]:
    """The first `count` volumes of the run, in the order of its stream."""
    image_size, _ = position.shape_of(source.cfg.model)
    stream, apply = train_batches(source.inputs, source.backend, StreamPosition(0, 0)), views_of(source.cfg)
    with closing(stream) as batches:
        for batch, params, tokens, place_sets in itertools.islice(batches, count):
            context, target = apply(
                batch.voxels_BDHW, batch.mean_B, batch.std_B, batch.valid_B3, params, image_size
            )
            yield StepVolume(batch, context, target, params, _masks(tokens, place_sets))


def volume_of(source: VolumeSource, key: str) -> StepVolume:
    """The volume of that key, in its first pass or as validation has it; UsageError if the run has none."""
    inputs = source.inputs
    if train := _only(inputs.index, key):
        # alone, so no other domain to be drawn from; seeds depend on key and pass only
        data = dataclasses.replace(source.cfg.data, weights=[], balance="none")
        cfg = dataclasses.replace(source.cfg, data=data)
        alone = dataclasses.replace(source, inputs=dataclasses.replace(inputs, cfg=cfg, index=train))
        return next(iter(train_volumes(alone, 1)))
    if val := _only(inputs.val_index, key):
        alone = dataclasses.replace(source, inputs=dataclasses.replace(inputs, val_index=val))
        return _val_volume(alone)
    raise UsageError(f"--key {key}: {_absence(source, key)}")


def _val_volume(source: VolumeSource) -> StepVolume:
    """The first one of validation: a centre crop, normalised."""
    run = dataclasses.replace(source.cfg.run, val_samples=1)
    inputs = dataclasses.replace(source.inputs, cfg=dataclasses.replace(source.cfg, run=run))
    with closing(val_batches(inputs, source.backend)) as batches:
        batch, tokens, place_sets, *_ = next(batches).own
    x = normalize.normalize(batch.voxels_BDHW, batch.mean_B, batch.std_B, batch.valid_B3)
    context = of_context(x, batch.valid_B3, source.cfg)
    return StepVolume(batch, context, x, None, _masks(tokens, place_sets))


def _masks(tokens: Tokens, place_sets: Sequence[Places]) -> list[Masks]:
    """By their numbers in the grids."""
    return [Masks(*token_numbers(tokens, places)) for places in place_sets]


def _only(index: SampleIndex, key: str) -> SampleIndex | None:
    samples = tuple(ref for ref in index.samples if ref.row.key == key)
    return dataclasses.replace(index, samples=samples) if samples else None


def _absence(source: VolumeSource, key: str) -> str:
    """Why the run has no such volume."""
    cfg, inputs = source.cfg, source.inputs
    if key in cfg.data.drop:
        return "left out by data.drop, want a volume of the run"
    if key in (*inputs.index.left_out, *inputs.val_index.left_out):
        needed = token_counts.needed_tokens(cfg)
        return (
            f"left out of the run, it has fewer than {needed} valid tokens; lower context and target of "
            f"objective.masks"
        )
    rows = {row.key: row for dataset in open_datasets(cfg) for row in dataset.rows}
    if (row := rows.get(key)) is None:
        return "the key of no volume in data.shards, want one of samples.parquet"
    if row.status != "ok":
        return f"refused by prep ({row.reason}), want a stored volume"
    if not filter_of(cfg)(row):
        return f"left out by data.filter={cfg.data.filter!r:.99}, want a volume of the run"
    return f"in split {row.split}, which a run does not read; want one of train or val"
