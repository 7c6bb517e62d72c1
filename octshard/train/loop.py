"""Pretraining: one straight loop, the same on every backend; resumes by itself from run.out.

What it promises: a killed run, resumed, is the run that was never killed; shapes never change after the
plan; the host waits for the device only where a comment says `waits`.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from octshard.config.train import TrainConfig
from octshard.devices import collectives, prefetch, select
from octshard.devices.prefetch import DeviceBatch
from octshard.models import normalize
from octshard.progress import OnProgress, no_progress
from octshard.train import optim, plan, setup, step_stats
from octshard.train.augment import views
from octshard.train.checkpointer import Checkpointer, TrainState, open_checkpointer, state_payload
from octshard.train.inputs import TrainInputs, load_inputs, train_batches, val_batches
from octshard.train.metrics_log import MetricsLog
from octshard.train.objectives import jepa
from octshard.train.setup import Run
from octshard.train.step_stats import LogWindow, StepOutputs

logger = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """How a call of `train` ended. `stopped`: by SIGTERM, before the end."""

    step: int
    samples_seen: int
    val_loss: float | None
    stopped: bool


class RunOutputs(NamedTuple):
    """Where a run's metrics, weights and progress go."""

    metrics: MetricsLog
    checkpoints: Checkpointer
    on_progress: OnProgress


def train(cfg: TrainConfig, on_progress: OnProgress = no_progress) -> Outcome:
    """Trains, or goes on training, in run.out until the budget is spent or SIGTERM comes.

    on_progress is called after every step with the last metrics as its note.
    """
    jepa.check(cfg)
    with contextlib.closing(select.open_backend(cfg.run)) as backend, setup.run_lock(cfg, backend):
        # 1. everything that can be wrong is checked before anything is allocated
        inputs = load_inputs(cfg, backend)
        payload = setup.payload_to_resume(cfg, inputs, backend)
        if payload and payload["step"] >= inputs.plan.steps:
            logger.info(
                "%s: already complete at step %d of %d; nothing to do",
                cfg.run.out, payload["step"], inputs.plan.steps,
            )  # fmt: skip
            return Outcome(payload["step"], payload["samples_seen"], None, stopped=False)
        # 2. the state: new, or where the last checkpoint left it
        run, state = setup.start(cfg, backend, inputs, payload)
        payload = None  # its tensors are no longer needed
        # 3. the loop
        with (
            setup.run_log(run, state.step) as metrics,
            open_checkpointer(cfg.run.out, cfg.run.keep_last) as checkpoints,
            setup.stop_on_sigterm() as stop_requested,
            prefetch.prefetch_to_device(
                train_batches(inputs, cfg, backend, state.position), backend
            ) as batches,
        ):
            return _loop(run, state, batches, RunOutputs(metrics, checkpoints, on_progress), stop_requested)


def _loop(
    run: Run,
    state: TrainState,
    batches: Iterator[DeviceBatch[TrainInputs]],
    outputs: RunOutputs,
    stop_requested: threading.Event,
) -> Outcome:
    cfg, steps = run.cfg, run.plan.steps
    metrics: dict[str, Any] = {}
    val_loss, substituted = None, 0
    sums_2, window = step_stats.zero_sums(run.backend), LogWindow(cfg.run.log_every_steps)
    stopped = False
    while state.step < steps and not stopped:
        # 1. take the batch of this step
        window.waiting()
        micro_batches = [next(batches) for _ in range(run.plan.accumulation)]
        window.working()
        # 2. forward, backward, update
        step_outputs = _step(run, state, micro_batches, sums_2)
        sums_2, samples_before = step_outputs.sums_2, state.samples_seen
        state.step, state.samples_seen = state.step + 1, samples_before + cfg.run.global_batch
        state.position = micro_batches[-1].host.batch.position
        window.add(state.step, tuple(key for micro in micro_batches for key in micro.host.batch.keys))
        substitutes = [line for micro in micro_batches for line in micro.host.batch.substituted]
        for line in substitutes:
            logger.warning("step %d: %s", state.step, line)
        substituted += len(substitutes)
        # 3. log
        logs = state.step in (1, steps) or state.step % cfg.run.log_every_steps == 0
        if logs:
            step_stats.raise_if_nonfinite(step_outputs, state.step, window, run.backend)  # waits
            everywhere = round(collectives.all_reduce_sum(run.backend, substituted))  # waits
            metrics = {**_metrics(run, state, step_outputs, window), "substituted": everywhere}  # waits
            outputs.metrics.write(metrics)
            if collapse := step_stats.collapse_line(metrics):
                logger.warning("%s", collapse)
            sums_2, window = step_stats.zero_sums(run.backend), LogWindow(cfg.run.log_every_steps)
        # 4. validate and save, at thresholds of samples seen
        due = plan.checkpoint_due(run.plan, samples_before, state.samples_seen)
        stopped = state.step < steps and collectives.any_process(run.backend, stop_requested, waits=logs)
        if due or stopped:
            step_outputs = step_outputs._replace(sums_2=sums_2)
            step_stats.raise_if_nonfinite(step_outputs, state.step, window, run.backend)  # waits
            val_loss = _validate(run) if due else None  # waits
            if val_loss is not None:
                validation = {"step": state.step, "samples_seen": state.samples_seen, "val_loss": val_loss}
                outputs.metrics.write(validation)
                metrics = {**metrics, **validation}
            _save(run, state, samples_before, val_loss, outputs)  # waits for the device, and the save before
            sums_2, window = step_stats.zero_sums(run.backend), LogWindow(cfg.run.log_every_steps)
        outputs.on_progress(state.step, steps, step_stats.summary(metrics))
    if stopped:
        logger.info(
            "%s: stopped and saved at step %d of %d; run it again to go on", cfg.run.out, state.step, steps
        )
    return Outcome(state.step, state.samples_seen, val_loss, stopped)


def _step(
    run: Run, state: TrainState, micro_batches: list[DeviceBatch[TrainInputs]], sums_2: Tensor
) -> StepOutputs:
    """One optimizer step over the micro-batches of one global batch. Waits for nothing."""
    cfg, backend = run.cfg, run.backend
    run.model.train()
    scalars = _scalars(run, state.step, state.samples_seen)
    scalars_4 = backend.replicate(scalars.host_tensor())
    mean_loss = torch.zeros((), device=backend.device)
    for number, micro in enumerate(micro_batches, start=1):
        last = number == len(micro_batches)
        batch, params, masks = micro.device
        context, target = views.apply(batch.voxels_BDHW, batch.mean_B, batch.std_B, batch.valid_B3, params)
        with backend.accumulate(run.wrapped, last=last):
            with backend.autocast():
                out = run.wrapped(context, target, masks, batch.valid_B3)
            (out.loss / len(micro_batches)).backward()
        mean_loss = mean_loss + out.loss.detach() / len(micro_batches)
        if not last:
            backend.mark_step()
    norm = optim.clip(run.model.parameters(), cfg.optim.clip_grad)
    optim.step(state.optimizer, scalars, scalars_4)
    jepa.update_target(run.model, scalars_4[1:2])
    state.optimizer.zero_grad(set_to_none=True)
    sums_2 = sums_2 + torch.stack([mean_loss, step_stats.nonfinite(mean_loss, norm)])
    backend.mark_step()
    return StepOutputs(sums_2, norm, out.tokens_RF, out.pooled_BF)


def _scalars(run: Run, step: int, samples_seen: int) -> optim.Scalars:
    """lr, EMA momentum and moment corrections of the step after `step` steps and `samples_seen` samples."""
    cfg, after = run.cfg, samples_seen + run.cfg.run.global_batch
    lr = optim.lr_at(after, run.plan.length, cfg.optim)
    ema = optim.ema_at(after, run.plan.length, cfg.objective)
    return optim.scalars_at(lr, ema, step + 1, cfg.optim)


def _metrics(run: Run, state: TrainState, step_outputs: StepOutputs, window: LogWindow) -> dict[str, Any]:
    """One line of metrics. Waits for the device."""
    batch = run.cfg.run.global_batch
    scalars = _scalars(run, state.step - 1, state.samples_seen - batch)
    values = step_stats.read(step_outputs, window.steps, run.backend)  # waits
    return {
        "step": state.step,
        "samples_seen": state.samples_seen,
        "passes": state.samples_seen / run.plan.samples_per_epoch,
        **values,
        "lr": scalars.lr,
        "weight_decay": run.cfg.optim.weight_decay,
        "ema": scalars.ema,
        "skipped_files": run.inputs.index.refused,
        "left_out": len(run.inputs.index.left_out),
        **window.speed(batch, run.backend.device_count),
        **step_stats.compile_counts(run.backend),
    }


def _validate(run: Run) -> float | None:
    """Mean loss over the validation volumes, each once: centre crops, no flips, no noise, always one mask.

    All shapes are fixed, so the last batch is filled up with repeats, which weigh nothing.
    """
    backend = run.backend
    if min(run.cfg.run.val_samples, len(run.inputs.val_index.samples)) == 0:
        return None
    run.model.eval()
    total_2 = step_stats.zero_sums(backend)
    inputs = val_batches(run.inputs, run.cfg, backend)
    with torch.no_grad(), prefetch.prefetch_to_device(inputs, backend) as batches:
        for device_batch in batches:
            batch, masks, weight_B = device_batch.device
            x = normalize.normalize(batch.voxels_BDHW, batch.mean_B, batch.std_B, batch.valid_B3)
            with backend.autocast():
                losses_B = run.model(x, x, masks, batch.valid_B3).losses_B
            total_2 = total_2 + torch.stack([(losses_B * weight_B).sum(), weight_B.sum()])
            backend.mark_step()
    total, count = backend.to_host(backend.all_reduce_sum(total_2)).tolist()  # waits
    return float(total / count)


def _save(
    run: Run, state: TrainState, samples_before: int, val_loss: float | None, outputs: RunOutputs
) -> None:
    """Copies the state to the host (waits) and lets the checkpointer write it. First process only."""
    if run.backend.process_index != 0:
        return
    outputs.metrics.flush()
    inputs, fingerprint = run.inputs, run.inputs.fingerprint(run.cfg)
    payload = run.backend.to_host(
        state_payload(state, run.cfg, fingerprint, inputs.index.preparations, inputs.participants)
    )  # waits
    milestone = plan.is_milestone(run.plan, samples_before, state.samples_seen)
    outputs.checkpoints.save(payload, val_loss, milestone=milestone)
