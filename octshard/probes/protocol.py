"""What a run and the process of its probes say to each other, over one socket."""

from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch
from torch import Tensor

from octshard.config.train import TrainConfig
from octshard.probes.task import ProbeScores, ProbeTask

ALIVE, CONTROL, SCORES, FAILED = "alive", "control", "scores", "failed"  # first words of the worker's answers
Weights = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class ProbeJob:
    """What every snapshot of a run shares. control: the scores of an encoder at random, if known."""

    cfg: TrainConfig
    task: ProbeTask
    control: ProbeScores | None


def send_weights(pipe: Connection, weights: Weights) -> None:
    """A snapshot: names, types and shapes, then the bytes of each tensor, which are not copied."""
    pipe.send([(name, str(t.dtype).removeprefix("torch."), tuple(t.shape)) for name, t in weights.items()])
    for tensor in weights.values():
        pipe.send_bytes(tensor.contiguous().flatten().view(torch.uint8).numpy().data)


def receive_weights(pipe: Connection) -> dict[str, Tensor]:
    """What `send_weights` sent."""
    weights = {}
    for name, dtype, shape in pipe.recv():
        data = bytearray(pipe.recv_bytes())
        weights[name] = torch.frombuffer(data, dtype=getattr(torch, dtype)).reshape(shape)
    return weights
