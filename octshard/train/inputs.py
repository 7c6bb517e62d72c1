"""What a run reads: the samples of train and val, and batches of them with their views and masks."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from octshard.config.train import TrainConfig
from octshard.dataset.participant_digests import ParticipantDigests, digest_participants
from octshard.dataset.splits import check_disjoint
from octshard.devices.backend import Backend
from octshard.imaging.volume import product
from octshard.models import position
from octshard.models.tokens import Tokens
from octshard.stream import loader
from octshard.stream.batch import Batch, BatchTransform
from octshard.stream.batch_shape import BatchShape, batch_shape
from octshard.stream.index import SampleIndex, build_index, check_dropped, open_datasets, without_dropped
from octshard.stream.sampler import StreamPosition
from octshard.train.augment import views
from octshard.train.objectives import masks
from octshard.train.objectives.places import Places, list_tokens
from octshard.train.plan import Plan, make_plan


class TrainInputs(NamedTuple):
    """A batch with what is drawn for it on the host."""

    batch: Batch
    params: views.ViewParams
    tokens: Tokens
    places: list[Places]


class ValInputs(NamedTuple):
    """A batch of validation. weight_B: 1 for a volume, 0 for a repeat that only fills the batch."""

    batch: Batch
    tokens: Tokens
    places: list[Places]
    weight_B: Tensor


@dataclass(frozen=True, eq=False)
class RunInputs:
    """The samples of a run, and its plan."""

    cfg: TrainConfig
    plan: Plan
    index: SampleIndex
    val_index: SampleIndex

    @cached_property
    def shape(self) -> BatchShape:
        """Of the batches of training."""
        return batch_shape(self.index, self.cfg, self.cfg.objective.max_tokens)

    @cached_property
    def val_shape(self) -> BatchShape:
        """Of the batches of validation."""
        return batch_shape(self.val_index, self.cfg, self.cfg.objective.max_tokens)

    @cached_property
    def participants(self) -> ParticipantDigests:
        """Everybody of whom a volume is trained on."""
        people = (sample.row.participant for sample in self.index.samples)
        return digest_participants(people, self.index.digest)

    def fingerprint(self) -> dict[str, Any]:
        """What decides the result besides the config: the data, whether encoders read its padding (those of
        octshard 0.1 did), and for `byol` what one BatchNorm sees.
        """
        fingerprint: dict[str, Any] = {
            "data.samples": len(self.index.samples),
            "data.digest": self.index.digest,
        }
        if self.shape.padded or self.shape.tokens < product(position.grid_of(self.cfg.model)):
            fingerprint["padding"] = "not read"
        if self.cfg.objective.name == "byol":
            fingerprint["micro_batch"] = self.plan.rank_slice.global_batch
        return fingerprint


def load_inputs(cfg: TrainConfig, backend: Backend) -> RunInputs:
    """The samples of train and val, and the plan; UsageError if they and the config do not fit together."""
    needed = masks.needed_tokens(cfg)
    datasets = open_datasets(cfg)
    check_dropped(datasets, cfg)
    index, val_index = (
        without_dropped(build_index(datasets, cfg, split, needed), cfg) for split in ("train", "val")
    )
    plan = make_plan(cfg, index, backend)
    check_disjoint((sample.row for part in (index, val_index) for sample in part.samples), "data.shards")
    return RunInputs(cfg, plan, index, val_index)


def train_batches(
    inputs: RunInputs, backend: Backend, start: StreamPosition
) -> Generator[TrainInputs, None, None]:
    """This process's part of every batch, from `start` on, without end."""
    cfg, shape, counts = inputs.cfg, inputs.shape, masks.token_counts(inputs.cfg)

    def prepare(batch: Batch) -> TrainInputs:
        params = views.draw(cfg.views, cfg.run.seed, batch.epoch_B, batch.seeds)
        return backend.pin(TrainInputs(batch, params, *_draw_tokens(cfg, shape, counts, batch)))

    transform = BatchTransform(prepare, backend.empty)
    return loader.train_batches(inputs.index, cfg, inputs.plan.rank_slice, start, transform)


def val_batches(inputs: RunInputs, backend: Backend) -> Generator[ValInputs, None, None]:
    """run.val_samples validation volumes (all, if there are fewer), evenly spread over the index, in order.

    Which ones, and their masks, depend neither on the size of the batch nor on the number of processes.
    """
    cfg, shape, counts = inputs.cfg, inputs.val_shape, masks.token_counts(inputs.cfg)

    def prepare(batch: Batch) -> ValInputs:
        weight_B = (torch.arange(len(batch.keys)) < batch.count).float()
        return backend.pin(ValInputs(batch, *_draw_tokens(cfg, shape, counts, batch), weight_B))

    transform = BatchTransform(prepare, backend.empty)
    return loader.eval_batches(inputs.val_index, cfg, inputs.plan.rank_slice, cfg.run.val_samples, transform)


def _draw_tokens(
    cfg: TrainConfig, shape: BatchShape, counts: Sequence[masks.TokenCounts], batch: Batch
) -> tuple[Tokens, list[Places]]:
    """Small host tensors, seeded per sample; drawn in the stream's threads, as all that is prepared."""
    drawn = masks.draw(cfg, counts, batch.valid_B3, cfg.run.seed, batch.epoch_B, batch.seeds)
    passes_B = list(zip(batch.epoch_B, batch.seeds, strict=True))
    return list_tokens(cfg, shape, drawn, batch.valid_B3, passes_B)
