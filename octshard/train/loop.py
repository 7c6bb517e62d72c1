"""Pretraining: one straight loop, the same on every backend; resumes by itself from run.out.

What it promises: a killed run, resumed, is the run that was never killed; shapes never change after the
plan; the host waits for the device only where a comment says `waits`.
"""

import contextlib
import itertools
import logging
import signal
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from octshard.config.train import TrainConfig
from octshard.devices import collectives, prefetch, select, stop_agreement
from octshard.devices.prefetch import DeviceBatch
from octshard.devices.stop_agreement import EARLY_STOP, StopAgreement
from octshard.progress import OnProgress, no_progress
from octshard.stop_signals import SHELL_BASE
from octshard.train import (
    init_from,
    launch,
    memory,
    memory_probe,
    nonfinite,
    patience,
    plan,
    prober,
    setup,
    step_stats,
    validation,
)
from octshard.train.checkpointer import Checkpointer, TrainState, open_checkpointer
from octshard.train.inputs import TrainInputs
from octshard.train.metrics_log import MetricsLog
from octshard.train.patience import Patience
from octshard.train.prober import Prober
from octshard.train.resume import Consent
from octshard.train.run_batches import run_batches
from octshard.train.setup import Run
from octshard.train.step import count_step, make_step, scalars_after
from octshard.train.step_stats import LogWindow, StepOutputs, Sums
from octshard.train.validation import Validation

logger = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """How a call of `train` ended. stop_signal: SIGINT or SIGTERM, if one stopped it before its end, or
    EARLY_STOP; else 0.

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
        return self.stop_signal > 0

    @property
    def ended_early(self) -> bool:
        """By run.patience."""
        return self.stop_signal == EARLY_STOP


class RunOutputs(NamedTuple):
    """Where a run's metrics, weights and progress go."""

    metrics: MetricsLog
    checkpoints: Checkpointer
    on_progress: OnProgress
    prober: Prober | None
    patience: Patience


def train(
    cfg: TrainConfig,
    on_progress: OnProgress = no_progress,
    *,
    accept_changes: bool = False,
    extend: bool = False,
    command: str = "octshard train ...",
) -> Outcome:
    """Trains, or goes on training, in run.out until the budget is spent, or SIGINT or SIGTERM comes.

    on_progress is called in the first process after every step with the last metrics as its note.
    accept_changes: goes on also with a config or data that change the result, and records it; extend: only
    with a greater length. command: how it was called, for advice.
    """
    with (
        launch.open_launch(cfg, command) as launched,
        memory.one_line_errors(cfg),
        contextlib.closing(select.open_backend(cfg.run)) as backend,
        launch.open_start(cfg, backend) as start,
        setup.run_lock(cfg, backend),
    ):
        # 1. everything that can be wrong is checked before anything is allocated
        launched.opened(backend)
        consent = Consent(accept_changes, extend)
        inputs, probe_task, payload = launch.check_all(cfg, backend, start, consent)  # waits
        if payload and launch.is_complete(payload, inputs, backend):
            return Outcome(payload["step"], payload["samples_seen"], None, 0, backend.process_index)
        # 2. the state: new, or where the last checkpoint left it, of a size that fits into memory
        inputs = memory_probe.fit(cfg, inputs, backend, is_new=payload is None)  # waits
        cfg = inputs.cfg
        beginning = init_from.begin(cfg, inputs) if cfg.run.init_from and payload is None else None
        run, state = setup.start(cfg, backend, inputs, payload, beginning)
        payload = beginning = None  # their tensors are no longer needed
        endurance = patience.of_run(run, state)
        if collectives.all_reduce_sum(backend, endurance.is_over):
            _say_early_end(run, state, endurance)
            return Outcome(state.step, state.samples_seen, None, EARLY_STOP, backend.process_index)
        # 3. the loop
        with (
            stop_agreement.open_agreement(backend, state.step) as stop,
            setup.run_log(run, state) as metrics,
            open_checkpointer(cfg.run.out, cfg.run.keep_last, metrics.write_checkpoint) as checkpoints,
            prober.open_prober(run, state, probe_task) as probes,
            prefetch.prefetch_to_device(
                run_batches(inputs, backend, state), backend, stop.waits_in_vain
            ) as batches,
        ):
            shown = launched.until_first_step(on_progress if run.is_first else no_progress)
            outputs = RunOutputs(metrics, checkpoints, shown, probes, endurance)
            outcome = _loop(run, state, batches, outputs, stop)
            if outcome.stopped and run.is_first:
                logger.info(
                    "%s: stopped by %s and saved at step %d of %d; run it again to go on",
                    cfg.run.out, signal.Signals(outcome.stop_signal).name, outcome.step, run.plan.steps,
                )  # fmt: skip
            if outcome.ended_early:
                _say_early_end(run, state, endurance)
            metrics.exit_code = SHELL_BASE + outcome.stop_signal if outcome.stopped else 0
            return outcome


def _loop(
    run: Run,
    state: TrainState,
    batches: Iterator[DeviceBatch[Any]],
    outputs: RunOutputs,
    stop: StopAgreement,
) -> Outcome:
    steps, saved_step = run.plan.steps, state.step
    metrics: dict[str, Any] = {}
    val, substituted = None, 0
    sums, window = _new_window(run)
    if state.owes_validation:
        val = _validate(run, state, batches, outputs, stop)  # waits
        if val is not None:
            outputs.checkpoints.add_validation(state.step, val.loss, val.score)
    while state.step < steps and not stop.stops_after(state.step):
        # 1. take the batch of this step
        window.waiting()
        micro_batches = list(itertools.islice(batches, run.plan.accumulation))
        if len(micro_batches) < run.plan.accumulation:
            break  # a stop was asked for, and no data comes
        window.working()
        # 2. forward, backward, update
        samples_before = state.samples_seen
        step_outputs = make_step(run, state, micro_batches, sums)
        sums = step_outputs.sums
        window.add(count_step(run, state, micro_batches, step_outputs))
        substituted += _say_substitutes(state.step, micro_batches)
        # 3. log
        if state.step in (1, steps) or state.step % run.cfg.run.log_every_steps == 0:
            nonfinite.check(run, state, sums.steps_2, window, outputs.checkpoints)  # waits
            metrics = _metrics(run, state, step_outputs, window, substituted)  # waits
            _log(run, metrics, step_stats.collapse_line(metrics, run.model.collapse_advice), outputs)
            _write_scores(run, outputs)
            outputs.checkpoints.raise_failed()
            if outputs.patience.is_over:
                stop.request(EARLY_STOP)
            sums, window = _new_window(run)
        # 4. validate and save, at thresholds of samples seen
        if plan.checkpoint_due(run.plan, samples_before, state.samples_seen):
            nonfinite.check(run, state, sums.steps_2, window, outputs.checkpoints)  # waits
            val = _validate(run, state, batches, outputs, stop)  # waits
            _save(run, state, val, outputs)  # waits for the device, and the save before
            saved_step = state.step
            sums, window = _new_window(run)
        # 5. a snapshot for the probes, at thresholds of samples seen
        if plan.probe_due(run.plan, samples_before, state.samples_seen):
            nonfinite.check(run, state, sums.steps_2, window, outputs.checkpoints)  # waits
            prober.submit(run, state, outputs.prober)  # waits for the device
        shown = {**metrics, **(val.metrics() if val else {})}
        outputs.on_progress(state.step, steps, step_stats.summary(shown))
    if outputs.prober is not None and state.step == steps:
        outputs.prober.finish(lambda: stop.signum != 0)  # waits
    _write_scores(run, outputs)
    stop_signal = stop.signum if state.step < steps or state.owes_validation else 0
    if stop_signal and state.step > saved_step:
        nonfinite.check(run, state, sums.steps_2, window, outputs.checkpoints)  # waits
        _save(run, state, None, outputs)  # waits
    val_loss = val.loss if val else None
    return Outcome(state.step, state.samples_seen, val_loss, stop_signal, run.backend.process_index)


def _say_early_end(run: Run, state: TrainState, endurance: Patience) -> None:
    if run.is_first:
        logger.info(
            "%s: ended early at step %d of %d: %s; a greater one, or 0, goes on",
            run.cfg.run.out, state.step, run.plan.steps, endurance.text(),
        )  # fmt: skip


def _new_window(run: Run) -> tuple[Sums, LogWindow]:
    """What is summed from here to the next log or save: on the device, and on the host. A resumed run begins
    with nothing summed, so that a save ends the sums of the run that goes on, too.
    """
    cfg = run.cfg
    return step_stats.zero_sums(run.backend, cfg.model.width), LogWindow(cfg.run.log_every_steps)


def _say_substitutes(step: int, micro_batches: list[DeviceBatch[TrainInputs]]) -> int:
    """A warning for each sample that another replaced in this process; how many there are."""
    substitutes = [line for micro in micro_batches for line in micro.host.batch.substituted]
    for line in substitutes:
        logger.warning("step %d: %s", step, line)
    return len(substitutes)


def _log(run: Run, line: Mapping[str, Any], warning: str | None, outputs: RunOutputs) -> None:
    """One line of the log, and what is wrong with its numbers. Waits for nothing."""
    outputs.metrics.write(line)
    if run.is_first and warning:
        logger.warning("%s", warning)


def _validate(
    run: Run,
    state: TrainState,
    batches: Iterator[DeviceBatch[Any]],
    outputs: RunOutputs,
    stop: StopAgreement,
) -> Validation | None:
    """Validates and logs it, unless a signal cuts it short: then it is owed. Waits for the device."""
    spmd = run.backend.device.type == "xla" and run.backend.process_count > 1  # all make the same steps
    val = validation.validate(run, batches, lambda: stop.ends_by_signal(state.step) and not spmd)  # waits
    state.owes_validation = val is None and len(run.inputs.val_set.numbers_V) > 0
    if val is not None:
        line = {"step": state.step, "samples_seen": state.samples_seen, **val.metrics()}
        _log(run, line, val.collapse_line(state.step), outputs)
    return val


def _write_scores(run: Run, outputs: RunOutputs) -> None:
    """Logs the probes that have come, at their own steps, and in their checkpoints. Waits for nothing."""
    for result in outputs.prober.results() if outputs.prober is not None else ():
        outputs.metrics.write(result.line())
        if plan.is_past_warmup(run.plan, result.samples_seen):
            outputs.checkpoints.add_score(result.step, result.score, result.robustness)
        outputs.patience.add_line(result.line())
        logger.info("%s", result.text())


def _metrics(
    run: Run, state: TrainState, step_outputs: StepOutputs, window: LogWindow, substituted: int
) -> dict[str, Any]:
    """One line of metrics. substituted: samples of this process so far. Waits for the device."""
    batch = run.cfg.run.global_batch
    scalars = scalars_after(run, state.step - 1, state.samples_seen - batch)
    everywhere = round(collectives.all_reduce_sum(run.backend, substituted))  # waits
    context = run.model.has_context_loss
    values = step_stats.read(step_outputs, window.steps, run.backend, has_context_loss=context)  # waits
    return {
        "step": state.step,
        "samples_seen": state.samples_seen,
        "passes": state.samples_seen / run.plan.samples_per_epoch,
        **values,
        "lr": scalars.lr,
        "weight_decay": scalars.weight_decay,
        "ema": scalars.ema,
        "skipped_files": run.inputs.index.refused,
        "left_out": len(run.inputs.index.left_out),
        **window.speed(batch, run.backend.device_count),
        **step_stats.compile_counts(run.backend),
        "substituted": everywhere,
    }


def _save(run: Run, state: TrainState, val: Validation | None, outputs: RunOutputs) -> None:
    """Copies the state to the host (waits) and lets the checkpointer write it. First process only."""
    if not run.is_first:
        return
    _write_scores(run, outputs)  # lest the checkpoint that they make the best is pruned
    outputs.metrics.flush()
    payload = setup.host_payload(run, state)  # waits
    before = state.samples_seen - run.cfg.run.global_batch
    milestone = plan.is_milestone(run.plan, before, state.samples_seen)
    val_loss, score = (val.loss, val.score) if val else (None, None)
    if not plan.is_past_warmup(run.plan, state.samples_seen):
        score = None
    outputs.checkpoints.save(payload, val_loss, score, milestone=milestone)
