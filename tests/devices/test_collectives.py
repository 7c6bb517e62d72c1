"""Sums over processes; seen on a backend that stands for two of them."""

from dataclasses import dataclass
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from octshard.config.train import TrainConfig
from octshard.devices import collectives
from octshard.devices.backend import Backend, Transfer
from octshard.errors import UsageError


@dataclass(frozen=True)
class Pair:
    """This process and another one, which says `other`; one device each."""

    other: float
    process_count: int = 2
    device_count: int = 2

    def to_device(self, values: Any) -> Transfer[Any]:
        return Transfer(values)

    def ready(self, sent: Transfer[Any]) -> Any:
        return sent.values

    def to_host(self, values: Any) -> Any:
        return values

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        return tensor + torch.tensor(self.other)


def pair(other: float, processes: int = 2) -> Backend:
    return cast(Backend, Pair(other, processes, processes))


def test_several_begin_with_the_same_weights() -> None:
    collectives.check_same_weights(TrainConfig(), pair(float(0xABCD)), "abcd1234")
    with pytest.raises(UsageError, match="2 processes read different weights there"):
        collectives.check_same_weights(TrainConfig(), pair(float(0xABCE)), "abcd1234")


def test_counts_of_several_are_added() -> None:
    assert collectives.all_reduce_sum(pair(3.0), 4) == 7
    assert collectives.all_reduce_sum(pair(3.0, processes=1), 4) == 4
    of_hosts = cast(
        Backend, Pair(6.0, process_count=2, device_count=4)
    )  # two devices each, which say the same
    assert collectives.all_reduce_sum(of_hosts, 4) == 7
