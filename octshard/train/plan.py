"""A run as numbers, fixed and checked before anything is allocated: length, batches, checkpoints.

Pure: config, index and device count in, `Plan` out; a UsageError says which of them do not fit together.
"""

from typing import NamedTuple

from octshard.config.train import TrainConfig
from octshard.devices.backend import Backend
from octshard.errors import UsageError
from octshard.stream import sampler
from octshard.stream.batch import RankSlice
from octshard.stream.index import SampleIndex, sampler_config
from octshard.train import optim
from octshard.train.objectives import token_counts
from octshard.train.objectives.build import objective_class

MILESTONES = 4  # checkpoints kept for good: one at each quarter of the run


class Plan(NamedTuple):
    """All counts are in samples, except `steps` and `accumulation`."""

    steps: int
    samples_per_epoch: int  # samples of one pass
    length: optim.Length
    rank_slice: RankSlice  # of one micro-batch
    accumulation: int  # micro-batches of one step
    checkpoint_every: int
    probe_every: int = 0  # 0: never


def make_plan(cfg: TrainConfig, index: SampleIndex, backend: Backend) -> Plan:
    """The plan of `cfg` over `index` on all devices of `backend`."""
    run = cfg.run
    _check(cfg, backend)
    micro = run.per_device_batch * backend.device_count
    if run.global_batch % micro:
        raise UsageError(
            f"run.global_batch={run.global_batch}: not a multiple of run.per_device_batch="
            f"{run.per_device_batch} x {backend.device_count} devices = {micro}"
        )
    if not index.samples and index.filtered:
        raise UsageError(
            f"data.filter={cfg.data.filter!r}: it leaves out {index.filtered} train volumes of data.shards, "
            f"and 0 are usable; want an expression that is true for some"
        )
    if not index.samples:
        raise UsageError(
            f"data.shards={list(cfg.data.shards)}: 0 usable train samples ({len(index.left_out)} left out, "
            f"with fewer than {token_counts.needed_tokens(cfg)} valid tokens); lower context and target of "
            f"objective.masks, or add shards"
        )
    sampling = sampler_config(index, cfg)
    sampler.check(sampling, micro, backend.process_count)
    epoch = sampler.epoch_length(sampling)
    length = length_of(cfg, epoch)
    if not length.total:
        raise UsageError(
            f"run.epochs={run.epochs}, run.samples_budget={run.samples_budget}: no samples at all"
        )
    steps = length.total // run.global_batch
    every = max(1, round(run.checkpoint_every_epochs * epoch))
    rank_slice = RankSlice(micro, backend.process_index, backend.process_count)
    return Plan(steps, epoch, length, rank_slice, run.global_batch // micro, every, run.probe_every)


def length_of(cfg: TrainConfig, epoch: int) -> optim.Length:
    """In whole steps, where a pass has `epoch` samples."""
    run = cfg.run
    samples = run.samples_budget if run.samples_budget is not None else round((run.epochs or 0.0) * epoch)
    steps = -(-samples // run.global_batch)
    return optim.Length(round(cfg.optim.warmup_epochs * epoch), steps * run.global_batch)


def is_past_warmup(plan: Plan, samples_seen: int) -> bool:
    """True if scores of a checkpoint may be compared: before, the target encoder is all but the encoder, so
    that loss and skill flatter.
    """
    return samples_seen >= plan.length.warmup


def checkpoint_due(plan: Plan, before: int, after: int) -> bool:
    """True if a checkpoint threshold lies between two counts of samples seen, or the run ends at `after`."""
    return before // plan.checkpoint_every != after // plan.checkpoint_every or after >= plan.length.total


def probe_due(plan: Plan, before: int, after: int) -> bool:
    """True if a probe threshold lies between two counts of samples seen, or a checkpoint is due."""
    if not plan.probe_every:
        return False
    crossed = before // plan.probe_every != after // plan.probe_every
    return crossed or checkpoint_due(plan, before, after)


def is_milestone(plan: Plan, before: int, after: int) -> bool:
    """True if a checkpoint is due at `after`, the first at or past a quarter of the run."""
    step = plan.rank_slice.global_batch * plan.accumulation
    # samples seen at the checkpoint before: its threshold, rounded up to a whole step
    previous = -(-(before // plan.checkpoint_every * plan.checkpoint_every) // step) * step
    previous_quarter, quarter = (samples * MILESTONES // plan.length.total for samples in (previous, after))
    return checkpoint_due(plan, before, after) and previous_quarter != quarter


def _check(cfg: TrainConfig, backend: Backend) -> None:
    run = cfg.run
    if objective_class(cfg).batch_statistics and backend.process_count > 1 and backend.device.type == "cpu":
        raise UsageError(
            f"objective.name={cfg.objective.name} in {backend.process_count} processes on the CPU: its "
            f"BatchNorm is shared between GPUs only; start one process"
        )
    if (run.epochs is None) == (run.samples_budget is None):
        raise UsageError(
            f"run.epochs={run.epochs}, run.samples_budget={run.samples_budget}: want exactly one of the two"
        )
