"""Processes that stop together: here threads that share a store, as processes share one over the network."""

import signal
import threading
from dataclasses import dataclass
from typing import Any, cast

import pytest
import torch.distributed as dist

from octshard.devices import stop_agreement
from octshard.devices.backend import Backend
from octshard.devices.stop_agreement import StopAgreement


@dataclass(frozen=True)
class Process:
    """One of `process_count`."""

    process_index: int
    process_count: int
    store: Any


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_agreement, "LOOK_S", 0.001)
    monkeypatch.setattr(stop_agreement, "ANSWER_S", 0.001)


def together(count: int, monkeypatch: pytest.MonkeyPatch, step: int = 0) -> list[StopAgreement]:
    """As in processes of their own, each of which counts its first agreement."""
    store, agreements = dist.HashStore(), []
    for index in range(count):
        monkeypatch.setattr(stop_agreement, "_numbers", iter([0]))
        agreements.append(StopAgreement(cast(Backend, Process(index, count, store)), step))
    return agreements


def test_one_process_stops_at_once() -> None:
    agreement = StopAgreement(cast(Backend, Process(0, 1, None)), 5)
    assert (agreement.stops_after(5), agreement.waits_in_vain()) == (False, False)
    agreement.request(signal.SIGINT)
    agreement.request(signal.SIGTERM)
    assert (agreement.stops_after(6), agreement.waits_in_vain()) == (True, True)
    assert agreement.signum == signal.SIGINT
    agreement.close()


@pytest.mark.parametrize("asked", [0, 1, 2])
def test_all_stop_after_one_step_however_far_each_is(asked: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps are exchanges, as in training: none can end a step that another does not make."""
    agreements = together(3, monkeypatch)
    exchange, stopped = threading.Barrier(3, timeout=30), dict[int, int]()

    def train(index: int) -> None:
        step = 0
        while not agreements[index].stops_after(step):
            exchange.wait()
            step += 1
            if step == 20 and index == asked:
                agreements[index].request(signal.SIGTERM)
        stopped[index] = step
        agreements[index].close()

    threads = [threading.Thread(target=train, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stopped) == 3
    assert len(set(stopped.values())) == 1
    assert stopped[0] >= 20
    assert {agreement.signum for agreement in agreements} == {signal.SIGTERM}


def test_who_is_through_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    early, late = together(2, monkeypatch, step=7)
    assert not early.stops_after(9)  # it makes step 10, the last one
    assert not early.stops_after(10)
    early.close()
    late.request(signal.SIGTERM)
    while late._promise is None:
        assert not late.stops_after(9)
    assert not late.stops_after(9)  # the other one made step 10
    assert late.stops_after(10)
    late.close()


def test_others_that_never_answer_are_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_agreement, "LOST_S", 0.01)
    one, dead = together(2, monkeypatch)
    dead._closed.set()
    dead._thread.join()
    assert not one.stops_after(3)
    one.request(signal.SIGTERM)
    while one._promise is None:
        one._answered.wait(0.01)
    assert one.stops_after(3)
    one.close()


def test_two_runs_of_one_process_do_not_hear_each_others_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    store = dist.HashStore()
    first = StopAgreement(cast(Backend, Process(0, 1, store)), 0)
    first.request(signal.SIGTERM)
    first._thread.join()
    first.close()
    second = StopAgreement(cast(Backend, Process(0, 1, store)), 0)
    assert not second._signalled()
    second.close()
