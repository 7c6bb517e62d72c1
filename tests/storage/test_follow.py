"""Helpers on other machines write while the lock of their run is renewed, and not after."""

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest

from octshard.storage import follow, lease, lock, store
from octshard.storage.lease import LostLease


class Clock:
    now = 1000.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(lease, "clock", lambda: fake.now)
    monkeypatch.setattr(follow, "LOOK_S", 0.001)
    return fake


def eventually(condition: Callable[[], object]) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


@contextlib.contextmanager
def helper(ticket: follow.Ticket | None) -> Iterator[None]:
    """As in another process."""
    leases, lease._held = lease._held, {}
    try:
        with follow.followed(ticket):
            yield
    finally:
        lease._held = leases


def test_a_helper_writes_while_the_lock_is_renewed_and_not_after(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, holder = f"memory://{uuid.uuid4().hex}", lock.holders.this_process()
    ticket = follow.Ticket(f"{folder}/lock", (folder,), holder.token)
    store.write(ticket.at, holder.encode())
    looks, look = [], follow._version

    def counted(ticket: follow.Ticket) -> str | None:
        looks.append(clock.now)
        return look(ticket)

    monkeypatch.setattr(follow, "_version", counted)
    with helper(ticket):
        mine = lease._held[ticket.token]
        for _ in range(3):
            store.write(f"{folder}/a", b"in time")
            end = mine.end
            clock.now += 60
            eventually(lambda: looks.count(clock.now) > 3)
            assert mine.end == end  # looks that see no renewal prove nothing
            holder = holder.next()
            store.write(ticket.at, holder.encode())
            eventually(lambda: mine.end == clock.now + 80)
        clock.now += 81
        with pytest.raises(LostLease):
            store.write(f"{folder}/a", b"late")
    assert store.read(f"{folder}/a") == b"in time"


@pytest.mark.parametrize("gone", [True, False], ids=["given back", "another's"])
def test_a_helper_of_a_run_that_has_ended_writes_nothing(gone: bool) -> None:
    folder = f"memory://{uuid.uuid4().hex}"
    with lock.one_writer(f"{folder}/lock", folder):
        ticket = follow.ticket(folder)
    if not gone:
        store.write(f"{folder}/lock", lock.holders.this_process().encode())

    def write() -> None:
        with helper(ticket):
            store.write(f"{folder}/a", b"late")

    with pytest.raises(LostLease, match="has given it back or lost it"):
        write()


def test_a_helper_learns_within_a_look_that_its_run_has_ended() -> None:
    folder = f"memory://{uuid.uuid4().hex}"
    ended, ready = threading.Event(), threading.Event()
    tickets: list[follow.Ticket | None] = []

    def run() -> None:
        with lock.one_writer(f"{folder}/lock", folder):
            tickets.append(follow.ticket(folder))
            ready.set()
            assert ended.wait(30)

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(30)
    (ticket,) = tickets
    assert ticket is not None
    with helper(ticket):
        mine = lease._held[ticket.token]
        store.write(f"{folder}/a", b"in time")
        lease._held = {}
        ended.set()
        thread.join()
        eventually(mine._lost.is_set)
        lease._held = {ticket.token: mine}
        with pytest.raises(LostLease, match="has given it back or lost it"):
            store.write(f"{folder}/a", b"late")


def test_a_local_folder_needs_no_ticket(tmp_path: object) -> None:
    with lock.one_writer(f"{tmp_path}/lock", str(tmp_path)):
        assert follow.ticket(str(tmp_path)) is None
    with follow.followed(None):
        store.write(f"{tmp_path}/a", b"x")
