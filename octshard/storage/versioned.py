"""The lock of a target on a store that heeds conditions: one object, replaced only in the version last read.

Of two runs that take it at once, one is refused by the store. A run that finds the lock of another looks on:
while that is renewed it is alive, and if it stays as it is for LEASE_S on our own clock it is dead.
"""

import logging

from octshard.storage import holder as holders
from octshard.storage import lease, store
from octshard.storage.holder import Holder, held_error

logger = logging.getLogger(__name__)


class VersionedLock:
    """The lock object `url`, for one run."""

    def __init__(self, url: str, holder: Holder) -> None:
        self._url, self._holder, self._version = url, holder, ""
        self.at = url  # the object that is renewed

    def take(self) -> float:
        """Puts our holder there; when that began, by `lease.clock`. OctshardError while another run lives."""
        first, since = None, 0.0
        while True:
            before = lease.clock()
            other, version = self._read()
            stale = version == first and before - since >= lease.LEASE_S
            if other is None or other.is_dead() or stale:
                before = lease.clock()
                new = store.put_if_version(self._url, self._holder.encode(), version)
                other, self._version = self._read()
                # another run was quicker; some stores look at the condition and put the object in two moves
                if new is None or other is None or other.token != self._holder.token:
                    raise held_error(self._url, other)
                return before
            if lease.is_held_here(other.token) or first not in (None, version):
                raise held_error(self._url, other)
            if first is None:
                first, since = version, lease.clock()
                lease.log_wait(self._url, other)
            lease.pause(lease.LOOK_S)

    def renew(self) -> bool:
        """Puts the next version; False if another run's stands there."""
        self._holder = self._holder.next()
        new = store.put_if_version(self._url, self._holder.encode(), self._version)
        if new is None:  # it may be our own: one that was put though its reply was lost
            other, version = self._read()
            if other is None or other.token != self._holder.token:
                return False
            new = store.put_if_version(self._url, self._holder.encode(), version)
        self._version = new or ""
        return new is not None

    def release(self) -> None:
        """Removes it, if it is ours."""
        other, _ = self._read()
        if other is not None and other.token == self._holder.token:
            store.remove(self._url)

    def _read(self) -> tuple[Holder | None, str]:
        """(holder, version); (None, '') if there is no lock. An object that is none holds nobody."""
        try:
            data, version = store.read_version(self._url)
        except FileNotFoundError:
            return None, ""
        return holders.decode(data), version
