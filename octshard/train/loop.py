"""Pretraining: one straight loop, the same on every backend; resumes by itself from run.out.

What it promises: a killed run, resumed, is the run that was never killed; shapes never change after the
plan; the host waits for the device only where a comment says `waits`.
"""

import contextlib
import itertools
import logging
import signal
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from octshard.config.train import TrainConfig
from octshard.devices import collectives, prefetch, select, stop_agreement
from octshard.devices.prefetch import DeviceBatch
from octshard.devices.stop_agreement import StopAgreement
from octshard.progress import OnProgress, no_progress
from octshard.stop_signals import SHELL_BASE
from octshard.train import (
    memory,
    metrics_log,
    no_effect,
    nonfinite,
    optim,
    plan,
    prober,
    resume,
    setup,
    step_stats,
    validation,
)
from octshard.train.checkpointer import Checkpointer, TrainState, open_checkpointer, state_payload
from octshard.train.inputs import TrainInputs, load_inputs, train_batches
from octshard.train.metrics_log import MetricsLog
from octshard.train.objectives import collapse, jepa
from octshard.train.prober import Prober
from octshard.train.setup import Run
from octshard.train.step_stats import LogWindow, StepOutputs, StepRecord, Sums
from octshard.train.validation import Validation

logger = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """How a call of `train` ended. stop_signal: SIGINT or SIGTERM, if one stopped it before its end; else 0.

    process_index: the first of several processes speaks for all.
    """

    step: int
    samples_seen: int
    val_loss: float | None
    stop_signal: int
    process_index: int

    @property
    def stopped(self) -> bool:
        """By a signal, before the end."""
        return self.stop_signal != 0


class RunOutputs(NamedTuple):
    """Where a run's metrics, weights and progress go."""

    metrics: MetricsLog
    checkpoints: Checkpointer
    on_progress: OnProgress
    prober: Prober | None


def train(
    cfg: TrainConfig, on_progress: OnProgress = no_progress, *, accept_changes: bool = False
) -> Outcome:
    """Trains, or goes on training, in run.out until the budget is spent, or SIGINT or SIGTERM comes.

    on_progress is called in the first process after every step with the last metrics as its note.
    accept_changes: goes on also with a config or data that change the result, and records it.
    """
    jepa.check(cfg)
    metrics_log.check(cfg)
    with (
        memory.one_line_errors(cfg),
        contextlib.closing(select.open_backend(cfg.run)) as backend,
        setup.run_lock(cfg, backend),
    ):
        # 1. everything that can be wrong is checked before anything is allocated
        no_effect.refuse(cfg, backend)
        inputs = load_inputs(cfg, backend)
        probe_task = prober.make_task(cfg, inputs, backend)
        memory.check(cfg, backend, inputs.shape)
        payload = resume.payload_to_resume(cfg, inputs, backend, accept_changes=accept_changes)
        if payload and payload["step"] >= inputs.plan.steps:
            if backend.process_index == 0:
                logger.info(
                    "%s: already complete at step %d of %d; nothing to do",
                    cfg.run.out, payload["step"], inputs.plan.steps,
                )  # fmt: skip
            return Outcome(payload["step"], payload["samples_seen"], None, 0, backend.process_index)
        # 2. the state: new, or where the last checkpoint left it
        run, state = setup.start(cfg, backend, inputs, payload)
        payload = None  # its tensors are no longer needed
        # 3. the loop
        with (
            stop_agreement.open_agreement(backend, state.step) as stop,
            setup.run_log(run, state) as metrics,
            open_checkpointer(cfg.run.out, cfg.run.keep_last, metrics.write_checkpoint) as checkpoints,
            prober.open_prober(run, state, probe_task) as probes,
            prefetch.prefetch_to_device(
                train_batches(inputs, backend, state.position), backend, stop.waits_in_vain
            ) as batches,
        ):
            outputs = RunOutputs(metrics, checkpoints, on_progress if run.is_first else no_progress, probes)
            outcome = _loop(run, state, batches, outputs, stop)
            metrics.exit_code = SHELL_BASE + outcome.stop_signal if outcome.stopped else 0
            return outcome


def _loop(
    run: Run,
    state: TrainState,
    batches: Iterator[DeviceBatch[TrainInputs]],
    outputs: RunOutputs,
    stop: StopAgreement,
) -> Outcome:
    cfg, steps, saved_step = run.cfg, run.plan.steps, state.step
    metrics: dict[str, Any] = {}
    val, substituted = None, 0
    sums = step_stats.zero_sums(run.backend, cfg.model.width)
    window = LogWindow(cfg.run.log_every_steps)
    while state.step < steps and not stop.stops_after(state.step):
        # 1. take the batch of this step
        window.waiting()
        micro_batches = list(itertools.islice(batches, run.plan.accumulation))
        if len(micro_batches) < run.plan.accumulation:
            break  # a stop was asked for, and no data comes
        window.working()
        # 2. forward, backward, update
        step_outputs = _step(run, state, micro_batches, sums)
        sums, samples_before = step_outputs.sums, state.samples_seen
        state.step, state.samples_seen = state.step + 1, samples_before + cfg.run.global_batch
        state.position = micro_batches[-1].host.batch.position
        keys = tuple(key for micro in micro_batches for key in micro.host.batch.keys)
        lr = _scalars(run, state.step - 1, samples_before).lr
        window.add(StepRecord(state.step, keys, step_outputs.losses_B, step_outputs.norm, lr))
        substitutes = [line for micro in micro_batches for line in micro.host.batch.substituted]
        for line in substitutes:
            logger.warning("step %d: %s", state.step, line)
        substituted += len(substitutes)
        # 3. log
        logs = state.step in (1, steps) or state.step % cfg.run.log_every_steps == 0
        if logs:
            nonfinite.check(run, sums.steps_2, state.step, window)  # waits
            everywhere = round(collectives.all_reduce_sum(run.backend, substituted))  # waits
            metrics = {**_metrics(run, state, step_outputs, window), "substituted": everywhere}  # waits
            outputs.metrics.write(metrics)
            if run.is_first and (collapsed := step_stats.collapse_line(metrics)):
                logger.warning("%s", collapsed)
            _write_scores(outputs)
            sums = step_stats.zero_sums(run.backend, cfg.model.width)
            window = LogWindow(cfg.run.log_every_steps)
        # 4. validate and save, at thresholds of samples seen
        if plan.checkpoint_due(run.plan, samples_before, state.samples_seen):
            nonfinite.check(run, sums.steps_2, state.step, window)  # waits
            val = validation.validate(run)  # waits
            if val is not None:
                values = {"step": state.step, "samples_seen": state.samples_seen, **val.metrics()}
                outputs.metrics.write(values)
                if run.is_first and (collapsed := val.collapse_line(state.step)):
                    logger.warning("%s", collapsed)
            _save(run, state, val, outputs)  # waits for the device, and the save before
            saved_step = state.step
            sums = step_stats.zero_sums(run.backend, cfg.model.width)
            window = LogWindow(cfg.run.log_every_steps)
        # 5. a snapshot for the probes, at thresholds of samples seen
        if plan.probe_due(run.plan, samples_before, state.samples_seen):
            prober.submit(run, state, outputs.prober)  # waits for the device
        shown = {**metrics, **(val.metrics() if val else {})}
        outputs.on_progress(state.step, steps, step_stats.summary(shown))
    if outputs.prober is not None and state.step == steps:
        outputs.prober.finish(lambda: stop.signum != 0)  # waits
    _write_scores(outputs)
    stop_signal = stop.signum if state.step < steps else 0
    if stop_signal and state.step > saved_step:
        nonfinite.check(run, sums.steps_2, state.step, window)  # waits
        _save(run, state, None, outputs)  # waits
    if stop_signal and run.is_first:
        logger.info(
            "%s: stopped by %s and saved at step %d of %d; run it again to go on",
            cfg.run.out, signal.Signals(stop_signal).name, state.step, steps,
        )  # fmt: skip
    val_loss = val.loss if val else None
    return Outcome(state.step, state.samples_seen, val_loss, stop_signal, run.backend.process_index)


def _step(
    run: Run, state: TrainState, micro_batches: list[DeviceBatch[TrainInputs]], sums: Sums
) -> StepOutputs:
    """One optimizer step over the micro-batches of one global batch. Waits for nothing."""
    cfg, backend = run.cfg, run.backend
    run.model.train()
    scalars = _scalars(run, state.step, state.samples_seen)
    scalars_4 = backend.replicate(scalars.host_tensor())
    mean_loss, losses, spread = torch.zeros((), device=backend.device), [], sums.spread
    for number, micro in enumerate(micro_batches, start=1):
        last = number == len(micro_batches)
        batch, params, tokens, places = micro.device
        context, target = run.views(
            batch.voxels_BDHW, batch.mean_B, batch.std_B, batch.valid_B3, params, cfg.model.image_size
        )
        with backend.accumulate(run.wrapped, last=last):
            with backend.autocast():
                out = run.wrapped(context, target, tokens, places)
            (out.loss / len(micro_batches)).backward()
        mean_loss = mean_loss + out.loss.detach() / len(micro_batches)
        losses.append(out.losses_B)
        spread = collapse.add_volumes(spread, out.pooled_BF)
        if not last:
            backend.mark_step()
    norm = optim.clip(run.model.parameters(), cfg.optim.clip_grad)
    optim.step(state.optimizer, scalars, scalars_4, run.adamw)
    jepa.update_target(run.model, scalars_4[1:2])
    state.optimizer.zero_grad(set_to_none=True)
    steps_2 = sums.steps_2 + torch.stack([mean_loss, step_stats.nonfinite(mean_loss, norm)])
    losses_B = torch.cat(losses)
    backend.mark_step()
    return StepOutputs(Sums(steps_2, spread), norm, out.tokens_RF, losses_B)


def _write_scores(outputs: RunOutputs) -> None:
    """Logs the probes that have come, at their own steps, and in their checkpoints. Waits for nothing."""
    for result in outputs.prober.results() if outputs.prober is not None else ():
        outputs.metrics.write(result.line())
        outputs.checkpoints.add_score(result.step, result.score)
        logger.info("%s", result.text())


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


def _save(run: Run, state: TrainState, val: Validation | None, outputs: RunOutputs) -> None:
    """Copies the state to the host (waits) and lets the checkpointer write it. First process only."""
    if not run.is_first:
        return
    _write_scores(outputs)  # lest the checkpoint that they make the best is pruned
    outputs.metrics.flush()
    inputs, fingerprint = run.inputs, run.inputs.fingerprint()
    payload = run.backend.to_host(
        state_payload(state, run.cfg, fingerprint, inputs.index.preparations, state.participants)
    )  # waits
    before = state.samples_seen - run.cfg.run.global_batch
    milestone = plan.is_milestone(run.plan, before, state.samples_seen)
    val_loss, score = (val.loss, val.score) if val else (None, None)
    outputs.checkpoints.save(payload, val_loss, score, milestone=milestone)
