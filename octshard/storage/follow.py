"""For machines that write for a run which holds a lock elsewhere: they do so while they see it renewed.

Two looks at the lock that differ prove that it was renewed after the first of them.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import NamedTuple

from octshard.storage import holder as holders
from octshard.storage import lease, store, transport
from octshard.storage.lease import Lease
from octshard.storage.store import StoreError

LOOK_S = 10.0  # between two looks, within which the holder renews its lease once or not at all


class Ticket(NamedTuple):
    """Which lock a helper of this run has to look at."""

    at: str  # the object
    targets: tuple[str, ...]
    token: str


def ticket(folder: str) -> Ticket | None:
    """That of the lease which this process holds on `folder`; None for a local one, which is not lost."""
    held = lease.on(folder)
    return Ticket(held.at, held.targets, held.token) if held else None


@contextlib.contextmanager
def followed(ticket: Ticket | None) -> Iterator[None]:
    """Ties writes to the ticket's targets, in this process, to the lock of the run that gave it."""
    if ticket is None or lease.is_held_here(ticket.token):
        yield
        return
    held = Lease(ticket.at, ticket.targets, ticket.token, 0.0, ticket.at)
    begin = lease.clock()
    first = _version(ticket)
    if first is None:
        held.lose("the run that this process works for has given it back or lost it")
    held.renew(begin)  # it cannot be known how long ago it was renewed: the run that asked has just checked
    lease.hold(held)
    stop = threading.Event()
    watch = threading.Thread(target=_watch, args=(ticket, held, (first, begin), stop), daemon=True)
    watch.start()
    try:
        yield
    finally:
        stop.set()
        watch.join()
        lease.drop(held)


def _watch(ticket: Ticket, held: Lease, seen: tuple[str | None, float], stop: threading.Event) -> None:
    """Prolongs the lease by what is seen of the lock, until `stop`."""
    version, since = seen
    while not stop.wait(LOOK_S):
        begin = lease.clock()
        try:
            with transport.until(transport.clock() + LOOK_S):
                now = _version(ticket)
        except StoreError as error:
            held.reason = f"the last look at it: {error}"
            continue
        if now is None:
            held.lose("the run that this process works for has given it back or lost it")
            return
        if now != version:
            held.renew(since)
            version = now
        since = begin


def _version(ticket: Ticket) -> str | None:
    """The version of the lock; None if it is not that of the ticket any more."""
    try:
        data, version = store.read_version(ticket.at)
    except FileNotFoundError:
        return None
    holder = holders.decode(data)
    return version if holder is not None and holder.token == ticket.token else None
