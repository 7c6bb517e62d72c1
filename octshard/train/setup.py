"""What a run needs before its first step: inputs of a batch, the checkpoint to go on from, log and lock."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import nn

from octshard.config import fields
from octshard.config.load import save
from octshard.config.train import TrainConfig
from octshard.devices.backend import Backend
from octshard.errors import UsageError
from octshard.models import checkpoint
from octshard.storage import lock, store
from octshard.stream.batch import Batch, BatchTransform
from octshard.stream.index import SampleIndex
from octshard.train import metrics_log, step_stats
from octshard.train.augment import views
from octshard.train.checkpointer import TrainState
from octshard.train.metrics_log import MetricsLog
from octshard.train.objectives import jepa, masks
from octshard.train.plan import Plan

Say = Callable[[str], None]


class TrainInputs(NamedTuple):
    """A batch with what is drawn for it on the host."""

    batch: Batch
    params: views.ViewParams
    masks: list[masks.Masks]


@dataclass(frozen=True, eq=False)
class Run:
    """What stays the same from step to step."""

    cfg: TrainConfig
    plan: Plan
    backend: Backend
    table: SampleIndex
    val_table: SampleIndex
    model: jepa.Jepa
    wrapped: nn.Module  # `model`, exchanging gradients between processes


def batch_transform(run: Run, say: Say) -> BatchTransform[TrainInputs]:
    """Draws views and masks for a batch, in the stream's threads: small host tensors, seeded per sample."""
    cfg, counts = run.cfg, masks.token_counts(run.cfg)

    def prepare(batch: Batch) -> TrainInputs:
        params = views.draw(cfg.views, cfg.run.seed, batch.epoch_B, batch.seeds)
        chosen = masks.draw(cfg, counts, batch.valid_B3, cfg.run.seed, batch.epoch_B, batch.seeds)
        return run.backend.pin(TrainInputs(batch, params, chosen))

    return BatchTransform(prepare, run.backend.empty, say)


def payload_to_resume(
    cfg: TrainConfig, table: SampleIndex, chosen: Plan, say: Say
) -> Mapping[str, Any] | None:
    """The payload to go on from; None for a new run; UsageError if config or data were others then."""
    found = checkpoint.latest(cfg.run.out)
    if found is None:
        return None
    for line in found.damaged:
        say(f"WARNING {line}; going on from {found.record.name}")
    old = {**found.payload["result_values"], **found.payload["data"]}
    if changed := fields.differences(
        old, {**fields.result_values(cfg), **data_fingerprint(cfg, table, chosen)}
    ):
        raise UsageError(
            f"{cfg.run.out}: its checkpoints were made with other values, want the same to go on: "
            f"{'; '.join(changed)}; set them back, or give run.out another folder"
        )
    return found.payload


def data_fingerprint(cfg: TrainConfig, table: SampleIndex, chosen: Plan) -> dict[str, Any]:
    """What decides the result besides the config: the data, and for `byol` what one BatchNorm sees."""
    tied = {"data.samples": len(table.entries), "data.digest": table.digest}
    return {**tied, "micro_batch": chosen.share.global_batch} if cfg.objective.name == "byol" else tied


def log_start(run: Run, state: TrainState, say: Say) -> None:
    """Says what will be done; the config and the full list of left-out volumes go to run.out."""
    cfg, chosen, table = run.cfg, run.plan, run.table
    say(
        f"{cfg.run.out}: {'goes on' if state.step else 'begins'} at step {state.step} of {chosen.steps}: "
        f"{chosen.length.total} samples = {chosen.length.total / chosen.samples_per_epoch:.1f} passes over "
        f"{len(table.entries)} volumes; global batch {cfg.run.global_batch} = {cfg.run.per_device_batch} x "
        f"{run.backend.device_count} {run.backend.device.type} x {chosen.accumulation}"
    )
    if chosen.length.warmup > chosen.length.total:
        say(f"warm-up of {chosen.length.warmup} samples is longer than the run: base_lr is never reached")
    if table.left_out:
        say(
            f"{len(table.left_out)} of {len(table.left_out) + len(table.entries)} train volumes have fewer "
            f"than {masks.needed_tokens(cfg)} valid tokens and are left out (all in left-out.txt): "
            f"{step_stats.shorten_keys(table.left_out)}"
        )
    if run.backend.process_index == 0:
        store.write(store.join(cfg.run.out, "config.yaml"), save(cfg).encode())
        if table.left_out:
            store.write(store.join(cfg.run.out, "left-out.txt"), "\n".join(table.left_out).encode() + b"\n")


@contextlib.contextmanager
def run_lock(cfg: TrainConfig, backend: Backend) -> Iterator[None]:
    """Holds run.out: one run at a time writes there, by its first process."""
    if backend.process_index != 0:
        yield
        return
    with lock.one_writer(store.join(cfg.run.out, "lock")):
        yield


@contextlib.contextmanager
def run_log(run: Run, step: int) -> Iterator[MetricsLog]:
    """The run's log; a silent one in all but the first process."""
    if run.backend.process_index != 0:
        yield metrics_log.null_log()
        return
    with metrics_log.open_log(run.cfg, step) as lines:
        yield lines


@contextlib.contextmanager
def stop_on_sigterm() -> Iterator[threading.Event]:
    """An event that SIGTERM sets, so that the loop can save and leave. Only a main thread may listen."""
    told = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield told
        return
    previous = signal.signal(signal.SIGTERM, lambda *_: told.set())
    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, previous)
