"""Batches reach the consumer in order, a bounded number ahead, and errors where their batch would be."""

import threading
from collections.abc import Generator
from typing import Any

import pytest
import torch

from octshard.config.run import RunConfig
from octshard.devices import prefetch, select
from octshard.devices.backend import Transfer

CPU = select.open_backend(RunConfig(device="cpu"))


def counting(until: int, yielded: list[int], ended: threading.Event) -> Generator[torch.Tensor, None, None]:
    try:
        for number in range(until):
            yielded.append(number)
            yield torch.tensor(number)
    finally:
        ended.set()


def test_all_come_in_order_on_the_host_and_on_the_device() -> None:
    ended = threading.Event()
    with prefetch.prefetch_to_device(counting(20, [], ended), CPU) as device_batches:
        assert [(int(batch.host), int(batch.device)) for batch in device_batches] == [
            (n, n) for n in range(20)
        ]
    assert ended.is_set()


def test_it_is_never_more_than_its_bound_ahead_and_closing_ends_it() -> None:
    yielded: list[int] = []
    ended = threading.Event()
    batches = counting(10**9, yielded, ended)  # held, so that nobody closes it but the feeder
    with prefetch.prefetch_to_device(batches, CPU) as device_batches:
        for number in range(5):
            assert int(next(device_batches).device) == number
            assert len(yielded) <= number + 3  # two ahead
    assert ended.is_set()
    assert len(yielded) <= 7
    assert not [thread for thread in threading.enumerate() if thread.name == "feed"]


@pytest.mark.parametrize("stage", ["stream", "send"])
def test_an_error_comes_out_at_its_turn(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def batches() -> Generator[int, None, None]:
        yield from (0, 1)
        if stage == "stream":
            raise ZeroDivisionError("third")
        yield 2

    class Failing:
        def to_device(self, value: int) -> Transfer[int]:
            if value == 2:
                raise ZeroDivisionError("third")
            return Transfer(value)

        def ready(self, sent: Transfer[int]) -> int:
            return sent.values

    backend: Any = Failing()
    with prefetch.prefetch_to_device(batches(), backend) as device_batches:
        assert [next(device_batches).device, next(device_batches).device] == [0, 1]
        with pytest.raises(ZeroDivisionError, match="third"):
            next(device_batches)


def test_batches_that_never_come_are_given_up_when_the_consumer_is_told_to_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A store that is silent holds nobody who was asked to stop; what is there already still comes."""
    monkeypatch.setattr(prefetch, "ASK_S", 0.001)
    silence, stop = threading.Event(), threading.Event()

    def batches() -> Generator[torch.Tensor, None, None]:
        yield torch.tensor(7)
        silence.wait()

    with prefetch.prefetch_to_device(batches(), CPU, stop.is_set) as device_batches:
        assert int(next(device_batches).device) == 7
        stop.set()
        assert list(device_batches) == []
        silence.set()  # or the end of the block would wait for it
