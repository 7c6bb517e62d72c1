"""What a run reads: the samples of train and val, and batches of them with their views and masks."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from octshard.config.train import TrainConfig
from octshard.dataset.participant_digests import ParticipantDigests, digest_participants
from octshard.dataset.participants import canonical
from octshard.dataset.splits import check_disjoint
from octshard.devices.backend import Backend
from octshard.errors import UsageError
from octshard.imaging.volume import product
from octshard.models import position
from octshard.models.tokens import Tokens, packed_closely
from octshard.stream import loader
from octshard.stream.batch import Batch, BatchTransform
from octshard.stream.batch_shape import BatchShape, batch_shape
from octshard.stream.collate import BatchSpec
from octshard.stream.grouping import Grouping
from octshard.stream.index import (
    SampleIndex,
    build_index,
    check_dropped,
    filter_of,
    open_datasets,
    valid_tokens_of,
    without_dropped,
)
from octshard.stream.loader import Part
from octshard.stream.sampler import StreamPosition
from octshard.train import val_tokens
from octshard.train.augment import views
from octshard.train.augment.band import tokens_in_band
from octshard.train.objectives import curriculum, drop_path, masks, places, token_counts
from octshard.train.objectives.build import objective_class
from octshard.train.objectives.places import Places, list_tokens
from octshard.train.plan import Plan, make_plan
from octshard.train.sequences import SequencePlan, plan_sequences
from octshard.train.val_set import ValSet, val_set
from octshard.train.val_tokens import Sites


class TrainInputs(NamedTuple):
    """A batch with what is drawn for it on the host."""

    batch: Batch
    params: views.ViewParams
    tokens: Tokens
    places: list[Places]


class ValBatch(NamedTuple):
    """A batch of validation. weight_B: 1 for a volume, 0 for a repeat that only fills the batch."""

    batch: Batch
    tokens: Tokens
    places: list[Places]
    sites: Sites
    weight_B: Tensor


class ValInputs(NamedTuple):
    """A batch of validation; other: of each volume the one whose context is tried in place of its own."""

    own: ValBatch
    other: Batch


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
    def val_set(self) -> ValSet:
        """Which volumes are validated on."""
        return val_set(self.val_index, self.cfg)

    @cached_property
    def participants(self) -> ParticipantDigests:
        """Everybody of whom a volume is trained on."""
        people = (sample.row.participant for sample in self.index.samples)
        return digest_participants(people, self.index.digest)

    @cached_property
    def devices(self) -> dict[str, dict[str, int]]:
        """Device -> how many volumes, and of how many people, are trained on."""
        people_of: dict[str, list[str]] = {}
        for sample in self.index.samples:
            people_of.setdefault(sample.row.device, []).append(canonical(sample.row.participant))
        return {
            device: {"volumes": len(people), "people": len({*people} - {""})}
            for device, people in sorted(people_of.items())
        }

    def fingerprint(self) -> dict[str, Any]:
        """What decides the result besides the config: the data, whether encoders read its padding and what
        the shares of mask sets are of (octshard 0.1 read it, and took them of the whole grid), what batch
        statistics are of, which retinal bands were found, and what the objective says of itself.
        """
        fingerprint: dict[str, Any] = {
            "data.samples": len(self.index.samples),
            "data.digest": self.index.digest,
        }
        tokens = product(position.grid_of(self.cfg.model))
        if self.shape.padded or self.shape.tokens < tokens:
            fingerprint["padding"] = "not read"
        if token_counts.has_shares(self.cfg) and self.shape.least_valid < tokens:
            fingerprint["mask shares"] = "of the valid tokens"
        if objective_class(self.cfg).batch_statistics:
            fingerprint["micro_batch"] = self.plan.rank_slice.global_batch
        if reads_bands(self.cfg):
            fingerprint["retinal bands"] = _digest_bands(self.index)
        return {**fingerprint, **objective_class(self.cfg).fingerprint}


def load_inputs(cfg: TrainConfig, backend: Backend) -> RunInputs:
    """The samples of train and val, and the plan; UsageError if they and the config do not fit together."""
    needed, fits = token_counts.needed_tokens(cfg), filter_of(cfg)
    datasets = open_datasets(cfg)
    check_dropped(datasets, cfg)
    index, val_index = (
        without_dropped(build_index(datasets, cfg, split, needed, fits), cfg) for split in ("train", "val")
    )
    plan = make_plan(cfg, index, backend)
    _check_bands(cfg, index)
    check_disjoint((sample.row for part in (index, val_index) for sample in part.samples), "data.shards")
    inputs = RunInputs(cfg, plan, index, val_index)
    token_counts.check_max_tokens(cfg, max(inputs.shape.most_valid, inputs.val_shape.most_valid))
    return inputs


def train_batches(
    inputs: RunInputs, backend: Backend, start: StreamPosition, samples_seen: int | None = None
) -> Generator[TrainInputs, None, None]:
    """This process's part of every batch, from `start` on, without end. samples_seen: by the run until then;
    None: as many as are before `start`.
    """
    part = train_part(inputs, backend, start, samples_seen)
    return loader.batches(((spec, part) for spec in train_specs(inputs, backend, start)), inputs.cfg)


def train_specs(inputs: RunInputs, backend: Backend, start: StreamPosition) -> Iterator[BatchSpec]:
    """Of each batch of `train_batches`. start: where a step begins."""
    cfg, rank_slice = inputs.cfg, inputs.plan.rank_slice
    lengths, grouping = plan_of(inputs, backend).list_lengths, None
    if lengths:
        tokens_N, alike = valid_tokens_of(inputs.index, cfg), backend.device.type == "xla"
        grouping = Grouping(inputs.plan.accumulation, tokens_N, lengths, alike)
    return loader.train_specs(inputs.index, cfg, rank_slice, start, grouping)


def plan_of(inputs: RunInputs, backend: Backend) -> SequencePlan:
    """In which lists or sequences the volumes of a run stand."""
    return plan_sequences(inputs.cfg, inputs.index, inputs.shape, backend, inputs.plan)


def train_part(
    inputs: RunInputs, backend: Backend, start: StreamPosition, samples_seen: int | None = None
) -> Part[TrainInputs]:
    """What `train_batches` is made of."""
    cfg, stages = inputs.cfg, len(curriculum.stages(inputs.cfg))
    spent = _samples_before(inputs, start, samples_seen)

    def stage(batch: Batch) -> int:
        return curriculum.stage_at(spent(batch), cfg.run.global_batch, inputs.plan.length.total, stages)

    return Part(inputs.index, BatchTransform(preparation(inputs, backend, stage), backend.empty))


def preparation(
    inputs: RunInputs, backend: Backend, stage: Callable[[Batch], int]
) -> Callable[[Batch], TrainInputs]:
    """What draws views and masks for a batch, and makes all ready for the device."""
    cfg, shape, stages = inputs.cfg, inputs.shape, curriculum.stages(inputs.cfg)
    plan = plan_of(inputs, backend)

    def prepare(batch: Batch) -> TrainInputs:
        params = views.draw(cfg.views, cfg.run.seed, batch.epoch_B, batch.seeds)
        number, lists = stage(batch), shape if batch.length is None else shape.of_length(batch.length)
        tokens, place_sets = plan.apply(*_draw_tokens(stages[number], lists, batch, params), number)
        place_sets = drop_path.drawn(cfg, place_sets, batch.epoch_B, batch.seeds)
        return backend.pin(TrainInputs(batch, params, tokens, place_sets))

    return prepare


def val_batches(inputs: RunInputs, backend: Backend) -> Generator[ValInputs, None, None]:
    """The volumes of `val_set` in order, each beside its other one.

    Which ones, and their masks, depend neither on the size of the batch nor on the number of processes, nor
    on how far the run is: with a `ratio_end` they are those of its last stage.
    """
    part = val_part(inputs, backend)
    batches = loader.batches(((spec, part) for spec in val_specs(inputs)), inputs.cfg)
    with contextlib.closing(batches):
        for own, other in zip(batches, batches, strict=True):
            yield ValInputs(own, other.batch)


def val_specs(inputs: RunInputs) -> Iterator[BatchSpec]:
    """Of each batch of `val_batches` two: its volumes, and their other ones."""
    val = inputs.val_set
    return loader.listed_specs(inputs.plan.rank_slice, [val.numbers_V, val.others_V])


def val_part(inputs: RunInputs, backend: Backend) -> Part[ValBatch]:
    """What `val_batches` is made of."""
    cfg, val, shape = curriculum.stages(inputs.cfg)[-1], inputs.val_set, inputs.val_shape
    keys = [inputs.val_index.samples[number].row.key for number in val.numbers_V]
    packs = cfg.run.packing != "off" and backend.sequences != "none"  # the model as it is, not compiled
    packs = packs and cfg.model.attention == "joint"
    rows = dict(zip(keys, val.rows_V.tolist(), strict=True))

    def prepare(batch: Batch) -> ValBatch:
        tokens, place_sets = _draw_tokens(cfg, shape, batch, None)
        if packs:
            tokens, place_sets = packed_closely(tokens), list(map(places.packed_closely, place_sets))
        real_B = torch.arange(len(batch.keys)) < batch.count
        rows_B = [rows[key] if real else -1 for key, real in zip(batch.keys, real_B, strict=True)]
        sites = val_tokens.sites(val, rows_B, tokens)
        return backend.pin(ValBatch(batch, tokens, place_sets, sites, real_B.float()))

    return Part(inputs.val_index, BatchTransform(prepare, backend.empty))


def reads_bands(cfg: TrainConfig) -> bool:
    """Has a mask set targets in the retinal band?"""
    return any(mask_set.kind == "retina" for mask_set in cfg.objective.masks)


def _digest_bands(index: SampleIndex) -> str:
    """Of how much of each volume's band prep found: another version of prep may find more."""
    shares = [[sample.row.key, sample.row.retina_found] for sample in index.samples]
    return hashlib.sha256(json.dumps(shares).encode()).hexdigest()[:8]


def without_band(cfg: TrainConfig, index: SampleIndex) -> int:
    """How many volumes have no retinal band, if that matters: their targets are drawn as those of cubes."""
    return sum(not sample.row.retina_found for sample in index.samples) if reads_bands(cfg) else 0


def _check_bands(cfg: TrainConfig, index: SampleIndex) -> None:
    """UsageError if a band is asked for and no volume has one."""
    if reads_bands(cfg) and without_band(cfg, index) == len(index.samples):
        act = "want cubes"
        if all(sample.row.retina_found is None for sample in index.samples):
            act = "want cubes, or shards of today's prep shard (0.1 looked for none)"
        raise UsageError(
            f"objective.masks: kind=retina, and none of {len(index.samples)} train volumes in data.shards "
            f"has a retinal band; {act}"
        )


def _samples_before(
    inputs: RunInputs, start: StreamPosition, samples_seen: int | None
) -> Callable[[Batch], int]:
    """How many samples the run saw before a batch of the stream from `start` on."""
    epoch, size = inputs.plan.samples_per_epoch, inputs.plan.rank_slice.global_batch
    first = start.epoch * epoch + start.samples_seen
    offset = (first if samples_seen is None else samples_seen) - first - size
    return lambda batch: batch.position.epoch * epoch + batch.position.samples_seen + offset


def _draw_tokens(
    cfg: TrainConfig, shape: BatchShape, batch: Batch, params: views.ViewParams | None
) -> tuple[Tokens, list[Places]]:
    """Small host tensors, seeded per sample; drawn in the stream's threads, as all that is prepared. params:
    None in validation.
    """
    lengths = token_counts.list_lengths(cfg, shape)
    bands_B = tokens_in_band(cfg, batch, params) if reads_bands(cfg) else None
    mask_sets = masks.draw(cfg, lengths, batch.valid_B3, cfg.run.seed, batch.epoch_B, batch.seeds, bands_B)
    passes_B = list(zip(batch.epoch_B, batch.seeds, strict=True))
    return list_tokens(cfg, shape, mask_sets, batch.valid_B3, passes_B)
