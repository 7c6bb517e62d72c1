"""A run as numbers, fixed and checked before anything is allocated: its length, its batch, its cadence.

Pure: config, table and device count in, `Plan` out; a UsageError says which of them do not fit together.
"""

from typing import NamedTuple

from octshard.config.train import TrainConfig
from octshard.devices.backend import Backend
from octshard.errors import UsageError
from octshard.stream import loader, sampler
from octshard.stream.batch import RankSlice
from octshard.stream.index import SampleIndex, sampler_config
from octshard.train import optim
from octshard.train.objectives import masks

LEAST = {  # what whole numbers may not fall below
    "run": {"global_batch": 1, "per_device_batch": 1, "log_every_steps": 1, "keep_last": 0, "val_samples": 0},
    "data": {"lanes": 1, "shuffle_block_size": 1, "threads": 1, "connections": 1, "max_substitutes": 0},
}
MILESTONES = 4  # checkpoints kept for good: one at each quarter of the run


class Plan(NamedTuple):
    """Samples, but for `steps` and `accumulation`."""

    steps: int
    samples_per_epoch: int  # samples of one pass
    length: optim.Length
    share: RankSlice  # of one micro-batch
    accumulation: int  # micro-batches of one step
    checkpoint_every: int


def make_plan(cfg: TrainConfig, table: SampleIndex, backend: Backend) -> Plan:
    """The plan of `cfg` over `table` on all devices of `backend`."""
    run = cfg.run
    _check(cfg)
    micro = run.per_device_batch * backend.device_count
    if run.global_batch % micro:
        raise UsageError(
            f"run.global_batch={run.global_batch}: not a multiple of run.per_device_batch="
            f"{run.per_device_batch} x {backend.device_count} devices = {micro}"
        )
    if not table.entries:
        raise UsageError(
            f"data.shards={list(cfg.data.shards)}: 0 usable train samples ({len(table.left_out)} left out, "
            f"with fewer than {masks.needed_tokens(cfg)} valid tokens); lower context and target of "
            f"objective.masks, or add shards"
        )
    loader.check(cfg)
    stream_order = sampler_config(table, cfg)
    sampler.check_readers(stream_order, micro, backend.process_count)
    epoch = sampler.epoch_length(stream_order)
    wanted = run.samples_budget if run.samples_budget is not None else round((run.epochs or 0.0) * epoch)
    steps = -(-wanted // run.global_batch)
    if steps < 1:
        raise UsageError(
            f"run.epochs={run.epochs}, run.samples_budget={run.samples_budget}: no samples at all"
        )
    length = optim.Length(round(cfg.optim.warmup_epochs * epoch), steps * run.global_batch)
    every = max(1, round(run.checkpoint_every_epochs * epoch))
    share = RankSlice(micro, backend.process_index, backend.process_count)
    return Plan(steps, epoch, length, share, run.global_batch // micro, every)


def checkpoint_due(plan: Plan, before: int, after: int) -> bool:
    """True if a checkpoint threshold lies between two counts of samples seen, or the run ends at the
    second.
    """
    return before // plan.checkpoint_every != after // plan.checkpoint_every or after >= plan.length.total


def is_milestone(plan: Plan, before: int, after: int) -> bool:
    """True if a checkpoint is due at `after`, the first at or past a quarter of the run."""
    step = plan.share.global_batch * plan.accumulation
    last = (
        -(-(before // plan.checkpoint_every * plan.checkpoint_every) // step) * step
    )  # where the last one stood
    quarters = [seen * MILESTONES // plan.length.total for seen in (last, after)]
    return checkpoint_due(plan, before, after) and quarters[0] != quarters[1]


def check_least(cfg: TrainConfig) -> None:
    """UsageError for a whole number that is too small to mean anything."""
    for group, least in LEAST.items():
        for name, low in least.items():
            if (value := getattr(getattr(cfg, group), name)) < low:
                raise UsageError(f"{group}.{name}={value}: want at least {low}")


def _check(cfg: TrainConfig) -> None:
    run = cfg.run
    if (run.epochs is None) == (run.samples_budget is None):
        raise UsageError(
            f"run.epochs={run.epochs}, run.samples_budget={run.samples_budget}: want exactly one of the two"
        )
    if not run.checkpoint_every_epochs > 0:
        raise UsageError(f"run.checkpoint_every_epochs={run.checkpoint_every_epochs}: want more than 0")
    check_least(cfg)
