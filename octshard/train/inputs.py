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
from octshard.stream import loader
from octshard.stream.batch import Batch, BatchTransform
from octshard.stream.index import SampleIndex, build_index, check_dropped, open_datasets, without_dropped
from octshard.stream.sampler import StreamPosition
from octshard.train.augment import views
from octshard.train.objectives import masks
from octshard.train.plan import Plan, make_plan


class TrainInputs(NamedTuple):
    """A batch with what is drawn for it on the host."""

    batch: Batch
    params: views.ViewParams
    masks: list[masks.Masks]


class ValInputs(NamedTuple):
    """A batch of validation. weight_B: 1 for a volume, 0 for a repeat that only fills the batch."""

    batch: Batch
    masks: list[masks.Masks]
    weight_B: Tensor


@dataclass(frozen=True, eq=False)
class RunInputs:
    """The samples of a run, and its plan."""

    plan: Plan
    index: SampleIndex
    val_index: SampleIndex

    @cached_property
    def participants(self) -> ParticipantDigests:
        """Everybody of whom a volume is trained on."""
        people = (sample.row.participant for sample in self.index.samples)
        return digest_participants(people, self.index.digest)

    def fingerprint(self, cfg: TrainConfig) -> dict[str, Any]:
        """What decides the result besides the config: the data, and for `byol` what one BatchNorm sees."""
        fingerprint = {"data.samples": len(self.index.samples), "data.digest": self.index.digest}
        if cfg.objective.name == "byol":
            return {**fingerprint, "micro_batch": self.plan.rank_slice.global_batch}
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
    return RunInputs(plan, index, val_index)


def train_batches(
    inputs: RunInputs, cfg: TrainConfig, backend: Backend, position: StreamPosition
) -> Generator[TrainInputs, None, None]:
    """This process's part of every batch, from `position` on, without end."""
    counts = masks.token_counts(cfg)

    def prepare(batch: Batch) -> TrainInputs:
        params = views.draw(cfg.views, cfg.run.seed, batch.epoch_B, batch.seeds)
        return backend.pin(TrainInputs(batch, params, _draw_masks(cfg, counts, batch)))

    transform = BatchTransform(prepare, backend.empty)
    return loader.train_batches(inputs.index, cfg, inputs.plan.rank_slice, position, transform)


def val_batches(inputs: RunInputs, cfg: TrainConfig, backend: Backend) -> Generator[ValInputs, None, None]:
    """run.val_samples validation volumes (all, if there are fewer), evenly spread over the index, in order.

    Which ones, and their masks, depend neither on the size of the batch nor on the number of processes.
    """
    counts = masks.token_counts(cfg)

    def prepare(batch: Batch) -> ValInputs:
        weight_B = (torch.arange(len(batch.keys)) < batch.count).float()
        return backend.pin(ValInputs(batch, _draw_masks(cfg, counts, batch), weight_B))

    transform = BatchTransform(prepare, backend.empty)
    return loader.eval_batches(inputs.val_index, cfg, inputs.plan.rank_slice, cfg.run.val_samples, transform)


def _draw_masks(cfg: TrainConfig, counts: Sequence[masks.TokenCounts], batch: Batch) -> list[masks.Masks]:
    """Small host tensors, seeded per sample; drawn in the stream's threads, as all that is prepared."""
    return masks.draw(cfg, counts, batch.valid_B3, cfg.run.seed, batch.epoch_B, batch.seeds)
