"""What a checkpoint of a run holds (TrainState and its payload), when it is written and which are kept.

One background thread writes; the files are those of `models/checkpoint`. A payload fits every backend.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from octshard.config import fields
from octshard.config.load import save
from octshard.config.train import TrainConfig
from octshard.dataset.participant_digests import ParticipantDigests
from octshard.models.checkpoint import FOLDER, FORMAT, list_checkpoints, write, write_info
from octshard.models.checkpoint_info import (
    CheckpointInfo,
    CheckpointScore,
    best,
    best_robustness,
    with_robustness,
    with_score,
)
from octshard.storage import store
from octshard.stream.sampler import StreamPosition


@dataclass
class TrainState:
    """All that changes in a run. samples_seen counts from step 0; position is that of the stream."""

    step: int
    samples_seen: int
    position: StreamPosition
    model: nn.Module
    optimizer: torch.optim.Optimizer
    changes: tuple[Mapping[str, Any], ...] = ()  # of settings, on the way: {step, changes: {key: [old, new]}}
    participants: ParticipantDigests | None = None  # everybody who was trained on
    init_from: Mapping[str, Any] | None = None  # what the weights began as, if not at random
    skipped: tuple[int, ...] = ()  # steps that were not finite and changed nothing
    owes_validation: bool = False  # due at this step, and cut short; never in a checkpoint, whose .json tells

    @property
    def updates(self) -> int:
        """Steps that changed the weights."""
        return self.step - len(self.skipped)


def state_payload(
    state: TrainState,
    cfg: TrainConfig,
    data: Mapping[str, Any],
    preparations: Sequence[Mapping[str, Any]] = (),
    participants: ParticipantDigests | None = None,
) -> dict[str, Any]:
    """What a checkpoint holds: tensors and plain values only. data: the fingerprint of what was streamed;
    preparations: the settings with which it was stored (`dataset.preparation`); participants: who was
    trained on.
    """
    return {
        "format": FORMAT,
        "config": save(cfg),
        "result_values": fields.result_values(cfg),
        "digest": fields.digest(cfg),
        "data": dict(data),
        "preparations": [dict(settings) for settings in preparations],
        "participants": participants.payload() if participants else None,
        "changes": [dict(change) for change in state.changes],
        "init_from": dict(state.init_from) if state.init_from else None,
        "skipped": list(state.skipped),
        "step": state.step,
        "samples_seen": state.samples_seen,
        "position": list(state.position),
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
    }


def restore(payload: Mapping[str, Any], state: TrainState) -> None:
    """Puts a payload into `state`, whose model and optimizer were built from the same config."""
    state.model.load_state_dict(payload["model"])
    saved = payload["optimizer"]
    pairs = zip(saved["param_groups"], state.optimizer.param_groups, strict=True)
    # whether AdamW is fused depends on the device; the others may have been changed on the way
    own = ("fused", "weight_decay", "betas", "eps")
    groups = [{**saved_group, **{name: group[name] for name in own}} for saved_group, group in pairs]
    state.optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})
    state.step, state.samples_seen = payload["step"], payload["samples_seen"]
    state.position = StreamPosition(*payload["position"])
    state.changes = tuple(payload.get("changes", ()))
    state.init_from = payload.get("init_from")
    state.skipped = tuple(payload.get("skipped", ()))  # octshard 0.1 knew none


OnWritten = Callable[[CheckpointInfo], None]


def no_listener(info: CheckpointInfo) -> None:
    """Nobody wants to know of a finished checkpoint."""


class Checkpointer:
    """Writes one thing after another, in the background; the next call but `add_score` raises its error.

    A `save` waits for the one before, so that a store slower than the checkpoints are frequent holds the loop
    back: at most two payloads are on the host, the one that is written and the one that waits.

    on_written: called there with each checkpoint whose files are finished.
    """

    def __init__(self, out: str, keep_last: int, on_written: OnWritten = no_listener) -> None:
        self._out, self._keep_last, self._on_written = out, keep_last, on_written
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._running: list[Future[CheckpointInfo | None]] = []

    def save(
        self,
        payload: Mapping[str, Any],
        val_loss: float | None,
        score: CheckpointScore | None = None,
        *,
        milestone: bool,
    ) -> None:
        """Begins to write `payload`, whose tensors nothing else may change; waits for the payload before."""
        self.wait()
        self._running.append(self._pool.submit(self._write, payload, val_loss, score, milestone))

    def add_score(
        self, step: int, score: CheckpointScore | None, robustness: CheckpointScore | None = None
    ) -> None:
        """Begins to give the checkpoint of `step` what came later, from a probe; waits for nothing."""
        self._running.append(self._pool.submit(add_score, self._out, step, score, robustness))

    def add_validation(self, step: int, val_loss: float, score: CheckpointScore | None) -> None:
        """Begins to give the checkpoint of `step` the validation that it owed; waits for nothing."""
        self._running.append(self._pool.submit(add_validation, self._out, step, val_loss, score))

    def raise_failed(self) -> None:
        """Raises the error of what was begun and has failed; waits for nothing."""
        for future in self._running:
            if future.done():
                future.result()

    def wait(self) -> None:
        """Waits for what was begun, and raises the error that it met."""
        running, self._running = self._running, []
        for future in running:
            future.result()

    def close(self) -> None:
        """Waits for the write that was begun; its error is raised by `wait`, not here."""
        self._pool.shutdown()

    def _write(
        self,
        payload: Mapping[str, Any],
        val_loss: float | None,
        score: CheckpointScore | None,
        milestone: bool,
    ) -> CheckpointInfo:
        info = write(self._out, payload, val_loss, score, milestone=milestone)
        self._on_written(info)
        prune(self._out, self._keep_last)
        return info


@contextmanager
def open_checkpointer(
    out: str, keep_last: int, on_written: OnWritten = no_listener
) -> Iterator[Checkpointer]:
    """A Checkpointer; a block that ends without an error waits for the last write."""
    checkpointer = Checkpointer(out, keep_last, on_written)
    try:
        yield checkpointer
        checkpointer.wait()
    finally:
        checkpointer.close()


def retained(infos: Sequence[CheckpointInfo], keep_last: int) -> set[str]:
    """Names to keep: the last one and `keep_last` before it, the best by score and by robustness, the
    milestones.
    """
    names = {info.name for info in infos[-1 - keep_last :]} | {info.name for info in infos if info.milestone}
    return names | {info.name for info in (best(infos), best_robustness(infos)) if info is not None}


def add_score(
    out: str, step: int, score: CheckpointScore | None, robustness: CheckpointScore | None = None
) -> CheckpointInfo | None:
    """Writes scores into the .json of the checkpoint of `step`; None if there is no such checkpoint."""
    info = next((info for info in list_checkpoints(out) if info.step == step), None)
    return info and write_info(out, with_robustness(with_score(info, score), robustness))


def add_validation(
    out: str, step: int, val_loss: float, score: CheckpointScore | None
) -> CheckpointInfo | None:
    """Writes a loss and a skill into the .json of the checkpoint of `step`; a probe's score stays."""
    info = next((info for info in list_checkpoints(out) if info.step == step), None)
    if info is None:
        return None
    validated = dataclasses.replace(info, val_loss=val_loss)
    return write_info(out, with_score(validated, score) if info.score is None else validated)


def prune(out: str, keep_last: int) -> None:
    """Removes all checkpoints but the `retained`, each .json first: a kill never looks like damage."""
    infos = list_checkpoints(out)
    names = retained(infos, keep_last)
    for info in infos:
        if info.name not in names:
            store.remove(store.join(out, FOLDER, info.name + ".json"))
            store.remove(store.join(out, FOLDER, info.name + ".pt"))


def remove_incomplete(out: str) -> None:
    """Removes half-written files and weights without a .json, left by killed runs. Needs the run's lock."""
    folder = store.join(out, FOLDER)
    store.remove_partials(out)
    store.remove_partials(folder)
    names = set(store.list_names(folder))
    for name in names:
        if name.endswith(".pt") and name.removesuffix(".pt") + ".json" not in names:
            store.remove(store.join(folder, name))
