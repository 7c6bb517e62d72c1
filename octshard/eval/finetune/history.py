"""How far a fine-tuning is: after each epoch its state is saved, so that a killed one goes on from there.

Two checkpoints stay: the newest and the best on val. They are those of `octshard train` in form, so that
`read_encoder` takes a fine-tuned encoder too, and OUT/best is that of the best epoch.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from octshard.errors import UsageError
from octshard.models import checkpoint
from octshard.models.checkpoint_info import CheckpointScore
from octshard.probes.head import TIE
from octshard.storage import store
from octshard.stream.sampler import StreamPosition

SCORE = "on val"  # the name of a checkpoint's score


@dataclass(frozen=True)
class History:
    """scores: on val, after each epoch; losses: on train, in each; position: of the stream."""

    scores: tuple[float, ...] = ()
    position: StreamPosition = StreamPosition(0, 0)
    losses: tuple[float, ...] = ()

    @property
    def epochs(self) -> int:
        """So far."""
        return len(self.scores)

    @property
    def best(self) -> int:
        """The epoch, from 1, with the best score; of equal ones the first; 0: none has one."""
        best, number = -math.inf, 0
        for epoch, score in enumerate(self.scores, start=1):
            if score > best + TIE:  # not so for nan
                best, number = score, epoch
        return number

    def ended(self, epochs: int, patience: int) -> bool:
        """True if no epoch is left, or so many in a row were no better."""
        return self.epochs >= epochs or (self.epochs - self.best >= patience and self.best > 0)

    def with_epoch(self, score: float, loss: float, position: StreamPosition) -> "History":
        """After one more epoch."""
        return replace(self, scores=(*self.scores, score), losses=(*self.losses, loss), position=position)


def read(out: str, identity: Mapping[str, Any]) -> tuple[History, Mapping[str, Any] | None]:
    """Where the fine-tuning in `out` is, and its newest state; UsageError if it is another one's."""
    latest = checkpoint.latest(out)
    if latest is None:
        return History(), None
    record = latest.payload.get("finetune")
    if record is None:
        raise UsageError(f"{out}: holds a training run, want another out")
    before = record["identity"]
    differing = sorted(key for key in {*before, *identity} if before.get(key) != identity.get(key))
    if differing:
        key = differing[0]
        old, new = (f"{values.get(key)!s:.99}" for values in (before, identity))
        raise UsageError(
            f"{out}: holds a fine-tuning with {key}={old}, this one has {new}; want another out, or the same "
            "settings"
        )
    losses = record.get("losses", [math.nan] * len(record["scores"]))  # older ones did not keep them
    position = StreamPosition(*record["position"])
    return History(tuple(record["scores"]), position, tuple(losses)), latest.payload


def write(out: str, history: History, identity: Mapping[str, Any], payload: Mapping[str, Any]) -> None:
    """The state after an epoch; older ones but the best go."""
    record = {
        "identity": dict(identity), "scores": list(history.scores), "losses": list(history.losses),
        "position": list(history.position),
    }  # fmt: skip
    content = {**payload, "format": checkpoint.FORMAT, "step": history.epochs, "finetune": record}
    score = CheckpointScore(SCORE, history.scores[-1])
    checkpoint.write(out, content, None, score, milestone=False)
    for info in checkpoint.list_checkpoints(out):
        if info.step not in (history.epochs, history.best):
            for end in (".json", ".pt"):
                store.remove(store.join(out, checkpoint.FOLDER, info.name + end))


def best_weights(out: str, history: History) -> Mapping[str, Any]:
    """Of the best epoch."""
    path = store.join(out, checkpoint.FOLDER, f"step-{history.best:08d}.pt")
    weights: Mapping[str, Any] = checkpoint.load(path)["model"]
    return weights
