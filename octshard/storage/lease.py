"""The leases that this process holds on folders of remote stores, and what becomes of a write without one.

A lease counts from the beginning of the request that renewed it last, on this machine's own clock, so that
no other machine's clock matters. A run that cannot prove that it holds one writes nothing more.
"""

import logging
import threading
import time
from dataclasses import dataclass, field

from octshard.storage.errors import StoreError
from octshard.storage.holder import Holder

logger = logging.getLogger(__name__)
pause = time.sleep

LEASE_S = 90.0  # a lock that nobody renews for so long, while another run looks on, belongs to a dead run
MARGIN_S = 10.0  # before its end, a lease counts as lost: for what is still on its way to the store
LOOK_S = 5.0  # between two looks at the lock of another run


class LostLease(StoreError):
    """This run may have lost its target to another one."""


def clock() -> float:
    """Seconds that also count while the machine is suspended, where the system can tell."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


@dataclass(eq=False)
class Lease:
    """What this run holds: files and folders, by the lock `url`, until `end` on our clock.

    at: the object that is renewed.
    """

    url: str
    targets: tuple[str, ...]
    token: str
    end: float
    at: str
    reason: str = "no renewal of it has succeeded in time"
    _lost: threading.Event = field(default_factory=threading.Event)

    def renew(self, since: float) -> None:
        """Proven to be held by a request that began at `since`."""
        self.end = since + LEASE_S - MARGIN_S

    def lose(self, reason: str) -> None:
        """Ends the lease now."""
        self.reason = reason
        self._lost.set()

    def seconds_left(self) -> float:
        """For how long it is surely held. LostLease, from then on for ever, when that is over."""
        left = self.end - clock()
        if left <= 0:
            self._lost.set()
        if self._lost.is_set():
            raise LostLease(
                f"{self.url}: the lock was lost while writing ({self.reason}), so nothing more is written; "
                "make sure no other run writes there, then run again"
            )
        return left

    def covers(self, url: str) -> bool:
        """True if `url` is a target, in one, or of the lock itself."""
        return url in self.targets or url.startswith(
            (self.url, *(target.rstrip("/") + "/" for target in self.targets))
        )


_held: dict[str, Lease] = {}  # by token


def hold(lease: Lease) -> None:
    """Ties all writes to the lease's targets to it."""
    _held[lease.token] = lease


def drop(lease: Lease) -> None:
    """Ends that."""
    _held.pop(lease.token, None)


def on(target: str) -> Lease | None:
    """The lease that this process holds on that very target."""
    return next((lease for lease in tuple(_held.values()) if target in lease.targets), None)


def is_held_here(token: str) -> bool:
    """True if this process holds the lease with this token."""
    return token in _held


def seconds_left(url: str) -> float:
    """For how long this process may write at `url`: infinite without a lease; LostLease if it is lost."""
    covering = [lease for lease in tuple(_held.values()) if lease.covers(url)]
    return min((lease.seconds_left() for lease in covering), default=float("inf"))


def log_wait(url: str, other: Holder | None) -> None:
    """Says why a run does not begin at once."""
    who = f"process {other.pid} on {other.host}" if other and other.host else "another process"
    logger.info("%s: the lock of %s; looking on for up to %.0f s, whether that is alive", url, who, LEASE_S)
