"""Pretraining: one straight loop, the same on every backend; resumes by itself from run.out.

What it promises: a killed run, resumed, is the run that was never killed; shapes never change after the
plan; the host waits for the device only where a comment says `waits`.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from octshard.config.train import TrainConfig
from octshard.devices import collectives, prefetch, select
from octshard.devices.prefetch import DeviceBatch
from octshard.models import normalize
from octshard.stream import loader
from octshard.stream.index import check_disjoint, load_index
from octshard.stream.sampler import StreamPosition
from octshard.train import checkpointer, optim, plan, setup, step_stats
from octshard.train.augment import views
from octshard.train.checkpointer import Checkpointer, TrainState
from octshard.train.metrics_log import MetricsLog
from octshard.train.objectives import jepa, masks
from octshard.train.setup import Run, Say, TrainInputs
from octshard.train.step_stats import LogWindow, StepOutputs

Progress = Callable[[int, int, Mapping[str, Any]], None]


class Outcome(NamedTuple):
    """How a call of `train` ended. `stopped`: by SIGTERM, before the end."""

    step: int
    samples_seen: int
    val_loss: float | None
    stopped: bool


class RunOutputs(NamedTuple):
    """Where a run's words and weights go."""

    lines: MetricsLog
    saver: Checkpointer
    say: Say
    progress: Progress


def train(cfg: TrainConfig, say: Say, progress: Progress) -> Outcome:
    """Trains, or goes on training, in run.out until the budget is spent or SIGTERM comes.

    `say` takes lines for people; `progress(step, steps, last metrics)` is called after every step.
    """
    jepa.check(cfg)
    views.check(cfg.views)
    with contextlib.closing(select.open_backend(cfg.run)) as backend, setup.run_lock(cfg, backend):
        # 1. all that can be wrong is said before anything is allocated
        needed = masks.needed_tokens(cfg)
        table, val_table = (load_index(cfg, split, needed) for split in ("train", "val"))
        chosen = plan.make_plan(cfg, table, backend)
        check_disjoint(table, val_table)
        if backend.process_index == 0:
            checkpointer.remove_incomplete(cfg.run.out)
        found = setup.payload_to_resume(cfg, table, chosen, say)
        if found and found["step"] >= chosen.steps:
            say(f"{cfg.run.out}: already complete at step {found['step']} of {chosen.steps}; nothing to do")
            return Outcome(found["step"], found["samples_seen"], None, stopped=False)
        # 2. the state: new, or where the last checkpoint left it
        model = jepa.build(cfg).to(backend.device)
        state = TrainState(0, 0, StreamPosition(0, 0), model, optim.build(model, cfg.optim))
        if found:
            checkpointer.restore(found, state)
            found = None  # its tensors are no longer needed
        backend.mark_step()
        collectives.check_same_step(cfg, backend, state.step)
        run = Run(cfg, chosen, backend, table, val_table, model, backend.wrap(model))
        setup.log_start(run, state, say)
        # 3. the loop
        with (
            setup.run_log(run, state.step) as lines,
            checkpointer.open_checkpointer(cfg.run.out, cfg.run.keep_last) as saver,
            setup.stop_on_sigterm() as told_to_stop,
            prefetch.prefetch_to_device(
                loader.train_batches(
                    table, cfg, chosen.share, state.position, setup.batch_transform(run, say)
                ),
                backend,
            ) as batches,
        ):
            return _loop(run, state, batches, RunOutputs(lines, saver, say, progress), told_to_stop)


def _loop(
    run: Run,
    state: TrainState,
    batches: Iterator[DeviceBatch[TrainInputs]],
    outlets: RunOutputs,
    told_to_stop: threading.Event,
) -> Outcome:
    cfg, steps = run.cfg, run.plan.steps
    metrics: dict[str, Any] = {}
    val_loss, substituted = None, 0
    sums_2, recent = step_stats.zero_sums(run.backend), LogWindow(cfg.run.log_every_steps)
    stopped = False
    while state.step < steps and not stopped:
        # 1. take the batch of this step
        recent.waiting()
        taken = [next(batches) for _ in range(run.plan.accumulation)]
        recent.working()
        # 2. forward, backward, update
        seen = _step(run, state, taken, sums_2)
        sums_2, before = seen.sums_2, state.samples_seen
        state.step, state.samples_seen = state.step + 1, before + cfg.run.global_batch
        state.position = taken[-1].host.batch.position
        recent.add(state.step, tuple(key for one in taken for key in one.host.batch.keys))
        bad = [line for one in taken for line in one.host.batch.substituted]
        for line in bad:
            outlets.say(f"WARNING step {state.step}: {line}")
        substituted += len(bad)
        # 3. log
        logs = state.step in (1, steps) or state.step % cfg.run.log_every_steps == 0
        if logs:
            step_stats.raise_if_nonfinite(seen, state.step, recent, run.backend)  # waits
            everywhere = round(collectives.all_reduce_sum(run.backend, substituted))  # waits
            metrics = {**_metrics(run, state, seen, recent), "substituted": everywhere}  # waits
            outlets.lines.write(metrics)
            if warning := step_stats.collapse_line(metrics):
                outlets.say(warning)
            sums_2, recent = step_stats.zero_sums(run.backend), LogWindow(cfg.run.log_every_steps)
        # 4. validate and save, at thresholds of samples seen
        due = plan.checkpoint_due(run.plan, before, state.samples_seen)
        stopped = state.step < steps and collectives.any_process(run.backend, told_to_stop, waits=logs)
        if due or stopped:
            step_stats.raise_if_nonfinite(
                seen._replace(sums_2=sums_2), state.step, recent, run.backend
            )  # waits
            val_loss = _validate(run, outlets.say) if due else None  # waits
            if val_loss is not None:
                found = {"step": state.step, "samples_seen": state.samples_seen, "val_loss": val_loss}
                outlets.lines.write(found)
                metrics = {**metrics, **found}
            _save(run, state, before, val_loss, outlets)  # waits for the device, and for the save before
            sums_2, recent = step_stats.zero_sums(run.backend), LogWindow(cfg.run.log_every_steps)
        outlets.progress(state.step, steps, metrics)
    if stopped:
        outlets.say(
            f"{cfg.run.out}: stopped and saved at step {state.step} of {steps}; run it again to go on"
        )
    return Outcome(state.step, state.samples_seen, val_loss, stopped)


def _step(run: Run, state: TrainState, taken: list[DeviceBatch[TrainInputs]], sums_2: Tensor) -> StepOutputs:
    """One optimizer step over the micro-batches of one global batch. Waits for nothing."""
    cfg, backend = run.cfg, run.backend
    run.model.train()
    scalars = _scalars(run, state.step, state.samples_seen)
    scalars_4 = backend.replicate(scalars.host_tensor())
    mean_loss = torch.zeros((), device=backend.device)
    for number, fed in enumerate(taken, start=1):
        last = number == len(taken)
        batch, params, chosen = fed.device
        context, target = views.apply(batch.voxels_BDHW, batch.mean_B, batch.std_B, batch.valid_B3, params)
        with backend.accumulate(run.wrapped, last=last):
            with backend.autocast():
                out = run.wrapped(context, target, chosen, batch.valid_B3)
            (out.loss / len(taken)).backward()
        mean_loss = mean_loss + out.loss.detach() / len(taken)
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


def _metrics(run: Run, state: TrainState, seen: StepOutputs, recent: LogWindow) -> dict[str, Any]:
    """One line of metrics. Waits for the device."""
    batch = run.cfg.run.global_batch
    scalars = _scalars(run, state.step - 1, state.samples_seen - batch)
    values = step_stats.read(seen, recent.steps, run.backend)  # waits
    return {
        "step": state.step,
        "samples_seen": state.samples_seen,
        "passes": state.samples_seen / run.plan.samples_per_epoch,
        **values,
        "lr": scalars.lr,
        "weight_decay": run.cfg.optim.weight_decay,
        "ema": scalars.ema,
        "skipped_files": run.table.refused,
        "left_out": len(run.table.left_out),
        **recent.speed(batch, run.backend.device_count),
        **step_stats.compile_counts(run.backend),
    }


def _validate(run: Run, say: Say) -> float | None:
    """Mean loss over the validation volumes: centre crops, no flips, no noise, the same masks every time.

    Full batches only (all shapes are fixed); fewer volumes than one batch are filled up with the last one.
    """
    backend, batch = run.backend, run.plan.share.global_batch
    samples = min(run.cfg.run.val_samples, len(run.val_table.entries))
    if samples == 0:
        return None
    limit = samples // batch * batch if samples >= batch else samples
    run.model.eval()
    total_2 = step_stats.zero_sums(backend)
    found = loader.eval_batches(
        run.val_table, run.cfg, run.plan.share, limit, setup.batch_transform(run, say)
    )
    with torch.no_grad(), prefetch.prefetch_to_device(found, backend) as batches:
        for fed in batches:
            values, _, chosen = fed.device
            x = normalize.normalize(values.voxels_BDHW, values.mean_B, values.std_B, values.valid_B3)
            with backend.autocast():
                loss = run.model(x, x, chosen, values.valid_B3).loss
            total_2 = total_2 + torch.stack([loss, torch.ones_like(loss)])
            backend.mark_step()
    total, count = backend.to_host(backend.all_reduce_sum(total_2)).tolist()  # waits
    return float(total / count)


def _save(run: Run, state: TrainState, before: int, val_loss: float | None, outlets: RunOutputs) -> None:
    """Copies the state to the host (waits) and lets the saver write it. First process only."""
    if run.backend.process_index != 0:
        return
    outlets.lines.flush()
    payload = run.backend.to_host(
        checkpointer.state_payload(state, run.cfg, setup.data_fingerprint(run.cfg, run.table, run.plan))
    )  # waits
    milestone = plan.is_milestone(run.plan, before, state.samples_seen)
    outlets.saver.save(payload, val_loss, milestone=milestone)
