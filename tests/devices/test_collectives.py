"""Processes stop together and begin together; seen on a backend that stands for two of them."""

import threading
from dataclasses import dataclass
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from octshard.config.train import TrainConfig
from octshard.devices import collectives
from octshard.devices.backend import Backend, Sent
from octshard.errors import UsageError


@dataclass(frozen=True)
class Pair:
    """This process and another one, which says `other`; one device each."""

    other: float
    processes: int = 2
    devices: int = 2

    def send(self, values: Any) -> Sent[Any]:
        return Sent(values)

    def receive(self, sent: Sent[Any]) -> Any:
        return sent.values

    def fetch(self, values: Any) -> Any:
        return values

    def total(self, tensor: Tensor) -> Tensor:
        return tensor + torch.tensor(self.other)


def pair(other: float, processes: int = 2) -> Backend:
    return cast(Backend, Pair(other, processes, processes))


def test_several_stop_together_and_at_log_time_only() -> None:
    told, untold = threading.Event(), threading.Event()
    told.set()
    assert collectives.told(pair(0.0, processes=1), told, waits=False)
    assert not collectives.told(pair(0.0), told, waits=False)
    assert collectives.told(pair(0.0), told, waits=True)
    assert collectives.told(pair(1.0), untold, waits=True)
    assert not collectives.told(pair(0.0), untold, waits=True)


def test_several_begin_at_one_step() -> None:
    collectives.want_same_step(TrainConfig(), pair(7.0), 7)
    with pytest.raises(UsageError, match="2 processes found different checkpoints"):
        collectives.want_same_step(TrainConfig(), pair(0.0), 7)


def test_counts_of_several_are_added() -> None:
    assert collectives.summed(pair(3.0), 4) == 7
    assert collectives.summed(pair(3.0, processes=1), 4) == 4
    of_hosts = cast(Backend, Pair(6.0, processes=2, devices=4))  # two devices each, which say the same
    assert collectives.summed(of_hosts, 4) == 7
