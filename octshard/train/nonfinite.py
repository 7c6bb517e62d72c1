"""A loss or gradient that is not finite ends the run: its step and volumes are named, nothing is saved."""

import json
import math
from typing import Any

from torch import Tensor

from octshard.errors import OctshardError
from octshard.storage import store
from octshard.train.setup import Run
from octshard.train.step_stats import LogWindow, StepRecord, shorten_keys


def check(run: Run, sums_2: Tensor, step: int, window: LogWindow) -> None:
    """OctshardError if a loss or gradient since the last read was not finite. Waits for the device.

    All volumes of the first such step, each with its loss, go to a file of this process in run.out.
    """
    failed = int(run.backend.to_host(sums_2)[1])
    if not failed:
        return
    first = step - failed + 1  # once weights are not finite they stay so, and so does the loss
    record = window.record_of(first)
    if record is None:
        raise OctshardError(
            f"step {first}: loss or gradient is not finite, want numbers; nothing was saved since"
        )
    record = run.backend.to_host(record)
    url = store.join(run.cfg.run.out, _file_name(run, first))
    store.write(url, json.dumps(_report(run, record), indent=1).encode() + b"\n")
    raise OctshardError(
        f"step {first}: loss or gradient is not finite, want numbers; {_culprits(record)} (all "
        f"{len(record.keys)} with their losses: {url}). Nothing was saved since; look at them, then go on "
        f"with --accept-changes and a lower optim.base_lr, run.precision=fp32 or data.drop=[KEY, ...]"
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
