"""What a run keeps: RUN/checkpoints/step-NNNNNNNN.pt, and beside it a .json with its sha256, written last.

A checkpoint without its .json does not exist; one that its sha256 denies is never loaded. Files load with
`weights_only=True` and fit every backend. Writing goes on in one background thread.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from octshard.config import fields
from octshard.config.load import save
from octshard.config.train import TrainConfig
from octshard.models.checkpoint import FOLDER, FORMAT, CheckpointInfo, list_checkpoints, write
from octshard.storage import store
from octshard.stream.sampler import StreamPosition


@dataclass
class TrainState:
    """All that changes in a run; the only mutable value. `samples_seen` is cumulative, `position` is the
    stream's.
    """

    step: int
    samples_seen: int
    position: StreamPosition
    model: nn.Module
    optimizer: torch.optim.Optimizer


def state_payload(
    state: TrainState,
    cfg: TrainConfig,
    data: Mapping[str, Any],
    preparations: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """What a checkpoint holds: tensors and plain values only. `data` says what was streamed, `preparations`
    how it had been stored (`dataset.preparation`).
    """
    return {
        "format": FORMAT,
        "config": save(cfg),
        "result_values": fields.result_values(cfg),
        "digest": fields.digest(cfg),
        "data": dict(data),
        "preparations": [dict(settings) for settings in preparations],
        "step": state.step,
        "samples_seen": state.samples_seen,
        "position": list(state.position),
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
    }


def restore(payload: Mapping[str, Any], state: TrainState) -> None:
    """Puts a payload into `state`, whose model and optimizer were built from the same config."""
    state.model.load_state_dict(payload["model"])
    saved, own = payload["optimizer"], state.optimizer.param_groups
    # whether AdamW is fused belongs to the device, not to the run
    groups = [{**a, "fused": b["fused"]} for a, b in zip(saved["param_groups"], own, strict=True)]
    state.optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})
    state.step, state.samples_seen = payload["step"], payload["samples_seen"]
    state.position = StreamPosition(*payload["position"])


class Checkpointer:
    """Writes one payload at a time, in the background; its error comes out of the next `save` or of the
    end.
    """

    def __init__(self, out: str, keep_last: int) -> None:
        self._out, self._keep_last = out, keep_last
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._running: Future[CheckpointInfo] | None = None

    def save(self, payload: Mapping[str, Any], val_loss: float | None, *, milestone: bool) -> None:
        """Begins to write `payload`, whose tensors must be nobody else's; waits for the one before."""
        self.wait()
        self._running = self._pool.submit(self._write, payload, val_loss, milestone)

    def wait(self) -> CheckpointInfo | None:
        """Until what was begun stands; None if nothing was. Raises what its writing raised."""
        running, self._running = self._running, None
        return running.result() if running else None

    def close(self) -> None:
        """Lets a write that goes on finish; the error of one is raised by `wait`, not here."""
        self._pool.shutdown()

    def _write(self, payload: Mapping[str, Any], val_loss: float | None, milestone: bool) -> CheckpointInfo:
        record = write(self._out, payload, val_loss, milestone=milestone)
        prune(self._out, self._keep_last)
        return record


@contextmanager
def open_checkpointer(out: str, keep_last: int) -> Iterator[Checkpointer]:
    """A Saver; leaving the block well waits until everything stands."""
    saver = Checkpointer(out, keep_last)
    try:
        yield saver
        saver.wait()
    finally:
        saver.close()


def retained(found: Sequence[CheckpointInfo], keep_last: int) -> set[str]:
    """Names to keep: the last one and `keep_last` before it, the best by validation loss, the milestones."""
    keep = {record.name for record in found[-1 - keep_last :]} | {r.name for r in found if r.milestone}
    judged = [record for record in found if record.val_loss is not None]
    if judged:
        keep.add(min(judged, key=lambda record: cast(float, record.val_loss)).name)
    return keep


def prune(out: str, keep_last: int) -> None:
    """Removes what `retained` does not name, the record first, so that a cut never looks like damage."""
    found = list_checkpoints(out)
    keep = retained(found, keep_last)
    for record in found:
        if record.name not in keep:
            store.remove(store.join(out, FOLDER, record.name + ".json"))
            store.remove(store.join(out, FOLDER, record.name + ".pt"))


def remove_incomplete(out: str) -> None:
    """Under the lock: removes what killed runs left, half-written files and weights without a record."""
    folder = store.join(out, FOLDER)
    store.remove_partials(folder)
    names = set(store.list_names(folder))
    for name in names:
        if name.endswith(".pt") and name.removesuffix(".pt") + ".json" not in names:
            store.remove(store.join(folder, name))
