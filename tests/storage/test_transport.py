"""Requests end with whoever waits for them: scopes within scopes, and threads of a block that fails."""

import threading
import uuid

import pytest

from octshard.storage import store, transport
from octshard.storage.transport import Cancelled
from tests.support.faulty_store import STALL, FaultyStore


def test_a_scope_cancels_those_made_within_it_and_no_other() -> None:
    outer, other = transport.Scope(), transport.Scope()
    with outer.active():
        inner = transport.Scope()
        assert transport.scope() is outer
    outer.cancel()
    for scope in (outer, inner):
        with pytest.raises(Cancelled):
            scope.sleep(60)
    other.sleep(0)
    with outer.active():
        late = transport.Scope()
    with pytest.raises(Cancelled):
        late.sleep(60)


def test_threads_of_a_block_that_fails_give_up_their_requests(faulty: FaultyStore) -> None:
    ends: list[BaseException | None] = []

    def run() -> None:
        with transport.thread_pool(2) as threads:
            future = threads.submit(store.read, f"gs://faulty/{uuid.uuid4().hex}")
            future.add_done_callback(lambda future: ends.append(future.exception()))
            assert faulty.stalled.wait(30)
            raise KeyboardInterrupt

    faulty.fail(*[STALL] * 100)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert isinstance(ends[0], Cancelled)
    assert len(faulty.asked) == 1


def test_threads_of_a_block_that_ends_do_all_their_work() -> None:
    done = threading.Semaphore(0)
    with transport.thread_pool(2) as threads:
        for _ in range(9):
            threads.submit(done.release)
    assert done._value == 9
