"""A loss or gradient that is not finite ends the run: its step changed nothing, its volumes are named.

The state before it is kept. The same command goes on behind the first such step, and not behind a second.
"""

import dataclasses
import json
import math
from typing import Any

import torch
from torch import Tensor

from octshard.devices import collectives
from octshard.errors import OctshardError
from octshard.models import checkpoint
from octshard.storage import store
from octshard.train import plan
from octshard.train.checkpointer import Checkpointer, TrainState
from octshard.train.setup import Run, host_payload
from octshard.train.step_stats import LogWindow, StepRecord, shorten_keys


def check(run: Run, state: TrainState, sums_2: Tensor, window: LogWindow, checkpoints: Checkpointer) -> None:
    """OctshardError if a loss or gradient since the last read was not finite. Waits for the device.

    All volumes of the first such step, each with its loss, go to a file of this process in run.out, and the
    state before it to a folder there.
    """
    failed = int(run.backend.to_host(sums_2)[1])
    if not failed:
        return
    first = state.step - failed + 1  # since then no step changed anything
    record = window.record_of(first)
    if record is None:
        raise OctshardError(
            f"step {first}: loss or gradient is not finite, want numbers; nothing was saved since"
        )
    record = run.backend.to_host(record)
    url = store.join(run.cfg.run.out, _file_name(run, first))
    try:
        store.write(url, json.dumps(_report(run, record), indent=1).encode() + b"\n")
        kept = _keep(run, state, record, checkpoints) if run.is_first else ""
    except OctshardError as error:
        kept = f"; its state could not be kept: {error}"
    collectives.all_reduce_sum(run.backend, 0)  # or the end of another process would cut the first one short
    advice = "look at them, then go on with --accept-changes and a lower optim.base_lr, run.precision=fp32 or"
    raise OctshardError(
        f"step {first}: loss or gradient is not finite, want numbers; {_culprits(record)} (all "
        f"{len(record.keys)} with their losses: {url}). The step was not applied{kept}; {advice} "
        f"data.drop=[KEY, ...]"
    )


def _keep(run: Run, state: TrainState, record: StepRecord, checkpoints: Checkpointer) -> str:
    """Writes the state before the step, from which a run makes that step again, and, of the first such step,
    a checkpoint behind it; says so. Waits until both are written.
    """
    before, after = _before(run, state, record), _behind(run, state, record)
    payload = host_payload(run, before)  # waits
    for moments in payload["optimizer"]["state"].values():
        moments["step"] = torch.tensor(float(before.updates))  # XLA's host counts further than the device
    folder = store.join(run.cfg.run.out, f"nonfinite-step-{record.step:08d}")
    checkpoint.write(folder, payload, None, milestone=False)
    text = f", and run.out={folder} repeats it"
    if not _skips(state):
        return f"{text}; it is the second one: nothing was saved since"
    counters = {"step": after.step, "samples_seen": after.samples_seen, "skipped": list(after.skipped)}
    milestone = plan.is_milestone(run.plan, before.samples_seen, after.samples_seen)
    behind = {**payload, **counters, "position": list(after.position)}
    checkpoints.save(behind, None, milestone=milestone)
    checkpoints.wait()
    return f"{text}; run again, the same command goes on behind it, once"


def _skips(state: TrainState) -> bool:
    """True if the run may go on behind such a step: once, and once more after accepted changes."""
    changed = state.changes[-1]["step"] if state.changes else -1
    return all(step <= changed for step in state.skipped)


def _before(run: Run, state: TrainState, record: StepRecord) -> TrainState:
    """`state`, whose weights no step changed since, as it was before the step of `record`."""
    step = record.step - 1
    samples_seen = state.samples_seen - (state.step - step) * run.cfg.run.global_batch
    return dataclasses.replace(state, step=step, samples_seen=samples_seen, position=record.positions.before)


def _behind(run: Run, state: TrainState, record: StepRecord) -> TrainState:
    """The same, as if the step had been made and changed nothing."""
    before = _before(run, state, record)
    return dataclasses.replace(
        before,
        step=record.step,
        samples_seen=before.samples_seen + run.cfg.run.global_batch,
        position=record.positions.after,
        skipped=(*state.skipped, record.step),
    )


def _file_name(run: Run, step: int) -> str:
    """Every process knows its own volumes alone."""
    process = f"-process-{run.backend.process_index}" if run.backend.process_count > 1 else ""
    return f"nonfinite-step-{step:08d}{process}.json"


def _culprits(record: StepRecord) -> str:
    losses = _losses(record)
    keys = [key for key, loss in losses.items() if not math.isfinite(loss)]
    if keys:
        return f"the loss is not for {shorten_keys(keys)}"
    return f"its volumes: {shorten_keys(record.keys)}"


def _losses(record: StepRecord) -> dict[str, float]:
    """Key -> loss of the volume; on several hosts of XLA, where losses are those of all, nothing."""
    losses = record.losses_B.tolist()
    return dict(zip(record.keys, losses, strict=True)) if len(losses) == len(record.keys) else {}


def _report(run: Run, record: StepRecord) -> dict[str, Any]:
    losses, keys = _losses(record), set(record.keys)
    shards = {ref.row.key: ref.shard.url for ref in run.inputs.index.samples if ref.row.key in keys}
    return {
        "step": record.step,
        "lr": record.lr,
        "grad_norm": _number(float(record.norm)),
        "precision": run.cfg.run.precision,
        "volumes": [
            {"key": key, "shard": shards.get(key), "loss": _number(losses.get(key))} for key in record.keys
        ],
    }


def _number(value: float | None) -> float | str | None:
    """JSON has no word for nan and inf."""
    return str(value) if value is not None and not math.isfinite(value) else value
