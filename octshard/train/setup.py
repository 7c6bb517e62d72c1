"""What a run needs before its first step: the checkpoint to go on from, its state, log and lock."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from octshard.config.load import save
from octshard.config.train import TrainConfig
from octshard.devices import collectives
from octshard.devices.backend import Backend
from octshard.storage import lock, store
from octshard.stream.index import sampler_config
from octshard.stream.sampler import StreamPosition
from octshard.train import (
    mask_report,
    metrics_log,
    no_effect,
    optim,
    resume,
    reuse,
    run_identity,
    sequences,
    step_stats,
    token_extent,
)
from octshard.train.augment import cross_resolution
from octshard.train.checkpointer import TrainState, state_payload
from octshard.train.init_from import Beginning
from octshard.train.inputs import RunInputs, without_band
from octshard.train.metrics_log import MetricsLog
from octshard.train.objectives import token_counts
from octshard.train.objectives.build import build
from octshard.train.objectives.objective import Objective
from octshard.train.objectives.position_only import MIN_VOLUMES
from octshard.train.plan import Plan

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Run:
    """What stays the same from step to step."""

    cfg: TrainConfig
    inputs: RunInputs
    backend: Backend
    model: Objective
    wrapped: nn.Module  # `model`, exchanging gradients between processes
    views: Callable[..., tuple[Tensor, Tensor]]  # `cross_resolution.views_of`, as the device runs it
    adamw: optim.AdamW  # `optim.adamw`, likewise; where torch has no form of its own

    @property
    def plan(self) -> Plan:
        """Its length, batch and cadence."""
        return self.inputs.plan

    @property
    def is_first(self) -> bool:
        """True in the one process that writes and speaks for all."""
        return self.backend.process_index == 0


def start(
    cfg: TrainConfig,
    backend: Backend,
    inputs: RunInputs,
    payload: Mapping[str, Any] | None,
    beginning: Beginning | None = None,
) -> tuple[Run, TrainState]:
    """The run on its device, and its state: new, as `payload` has it, or with the weights of `beginning`."""
    run, state = make_run(cfg, backend, inputs, payload, beginning)
    if beginning:
        collectives.check_same_weights(cfg, backend, beginning.origin["sha256"])
    if run.is_first:
        _log_start(run, state)
        if beginning:
            beginning.log()
        resume.record(cfg, state)
    return run, state


def make_run(
    cfg: TrainConfig,
    backend: Backend,
    inputs: RunInputs,
    payload: Mapping[str, Any] | None = None,
    beginning: Beginning | None = None,
) -> tuple[Run, TrainState]:
    """The same, and nothing is said or written."""
    model = build(cfg)
    if beginning:
        beginning.put(model)
    model = model.to(backend.device)
    state = TrainState(0, 0, StreamPosition(0, 0), model, optim.build(model, cfg.optim))
    state.participants = inputs.participants
    if payload:
        resume.restore(payload, state, inputs)
    elif beginning:
        state.participants, state.init_from = beginning.participants, beginning.origin
    backend.mark_step()
    compiled = backend.compile(cross_resolution.views_of(cfg)), backend.compile(optim.adamw)
    return Run(cfg, inputs, backend, model, backend.wrap(model), *compiled), state


def host_payload(run: Run, state: TrainState) -> dict[str, Any]:
    """What a checkpoint of `state` holds, on the host. Waits for the device."""
    fingerprint, preparations = run.inputs.fingerprint(), run.inputs.index.preparations
    payload = state_payload(state, run.cfg, fingerprint, preparations, state.participants)
    payload["devices"] = run.inputs.devices
    return run.backend.to_host(payload)  # waits


def _log_start(run: Run, state: TrainState) -> None:
    """Logs what will be done; the config and the full list of left-out volumes go to run.out."""
    cfg, plan, index = run.cfg, run.plan, run.inputs.index
    logger.info(
        f"{cfg.run.out}: {'goes on' if state.step else 'begins'} at step {state.step} of {plan.steps}: "
        f"{plan.length.total} samples = {plan.length.total / plan.samples_per_epoch:.1f} passes over "
        f"{len(index.samples)} volumes; global batch {cfg.run.global_batch} = {cfg.run.per_device_batch} x "
        f"{run.backend.device_count} {run.backend.device.type} x {plan.accumulation}"
    )
    logger.info("%s", _padding_line(run))
    logger.info("%s", token_extent.start_line(cfg, [sample.row for sample in index.samples]))
    for level, line in reuse.lines(cfg, plan, sampler_config(index, cfg).domains):
        logger.log(level, "%s", line)
    for line in no_effect.lines(cfg, run.backend):
        logger.warning("%s", line)
    if line := optim.warmup_line(plan.length, cfg.optim):
        logger.warning("%s", line)
    if cfg.data.filter.strip():
        parts = [f"{part.filtered} {part.split}" for part in (index, run.inputs.val_index)]
        logger.info("data.filter leaves out %s volumes: %s", " and ".join(parts), cfg.data.filter.strip())
    if cfg.data.drop:
        logger.info(
            "%d volumes of data.drop are not used: %s",
            len(cfg.data.drop),
            step_stats.shorten_keys(cfg.data.drop),
        )
    if index.left_out:
        logger.info(
            f"{len(index.left_out)} of {len(index.left_out) + len(index.samples)} train volumes have fewer "
            f"than {token_counts.needed_tokens(cfg)} valid tokens and are left out (all in left-out.txt): "
            f"{step_stats.shorten_keys(index.left_out)}"
        )
        store.write(store.join(cfg.run.out, "left-out.txt"), "\n".join(index.left_out).encode() + b"\n")
    if missing := without_band(cfg, index):
        logger.info(
            "%d of %d train volumes have no retinal band: their targets are drawn as those of cubes",
            missing, len(index.samples),
        )  # fmt: skip
    for line in mask_report.misfits(cfg, index):
        logger.warning("%s", line)
    _log_validation(run)
    store.write(store.join(cfg.run.out, "config.yaml"), save(cfg).encode())


def _log_validation(run: Run) -> None:
    """Says it when there are too few volumes for a loss, or for a skill."""
    index, val_set = run.inputs.val_index, run.inputs.val_set
    if run.cfg.run.val_samples and not index.samples:
        logger.warning(
            f"data.shards: 0 usable val samples ({len(index.left_out)} too small), "
            f"so there is no val_loss and no best checkpoint; run.val_samples=0 if none is wanted"
        )
    elif run.cfg.run.val_samples and not val_set.has_skill:
        logger.warning(
            f"validation: {len(val_set.numbers_V)} volumes of {val_set.participants} participants, want "
            f"{MIN_VOLUMES} of each half of the participants, so there is no skill and no best checkpoint by "
            f"it; run.val_samples=0 if none is wanted"
        )


def _padding_line(run: Run) -> str:
    shape = run.inputs.shape
    plan = sequences.plan_sequences(run.cfg, run.inputs.index, shape, run.backend, run.plan)
    return sequences.start_line(run.cfg, shape, plan)


@contextlib.contextmanager
def run_lock(cfg: TrainConfig, backend: Backend) -> Iterator[None]:
    """Holds run.out: one run at a time writes there, by its first process."""
    if backend.process_index != 0:
        yield
        return
    with lock.one_writer(store.join(cfg.run.out, "lock"), cfg.run.out):
        yield


@contextlib.contextmanager
def run_log(run: Run, state: TrainState) -> Iterator[MetricsLog]:
    """The run's metrics log; one that writes nothing in all but the first process."""
    if not run.is_first:
        yield metrics_log.null_log()
        return
    identity = run_identity.identify(run.cfg, run.inputs, state.init_from)
    with metrics_log.open_log(run.cfg, identity, state.step, state.samples_seen) as metrics:
        yield metrics
