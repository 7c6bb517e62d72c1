"""The lock of a target on a store without conditions: each run puts a claim of its own, then lists them all.

A run holds the target if a listing made after its claim was put shows no other. A claim that stays as it is
for LEASE_S on the looker's own clock belongs to a dead run and is removed.

What it needs of the store: a listing shows every object that was put before it (S3, B2, Cloud Storage). What
it promises less than `versioned`: the store refuses nothing, so that a claim which a run was putting just
when its machine was suspended may appear when it wakes; it holds nothing then, and keeps others out for
LEASE_S.
"""

from octshard.storage import holder as holders
from octshard.storage import lease, store
from octshard.storage.holder import Holder, held_error

SETTLE_S = 1.0  # between the looks of a run that waits for others to withdraw


class ClaimLock:
    """The claims on the lock `url`, for one run."""

    def __init__(self, url: str, holder: Holder) -> None:
        self._url, self._folder, self._holder = url, f"{url}.claims", holder
        self.at = self._claim(holder.token)  # the object that is renewed
        self._first_seen: dict[str, tuple[str, float]] = {}  # claim of another -> its version, and when

    def take(self) -> float:
        """Puts our claim; when that began, by `lease.clock`. OctshardError while another run lives."""
        while self._others(self._names()):
            lease.pause(lease.LOOK_S)
        try:
            while True:
                self._holder, before = self._holder.now(), lease.clock()
                store.write(self._claim(self._holder.token), self._holder.encode())
                names = self._names()
                others = self._others(names)
                if not others and self._holder.token in names:
                    return before
                if others and min(others) < self._holder.token:  # of several at once, the first by name
                    raise held_error(self._url, self._read(min(others)))
                lease.pause(SETTLE_S)
        except BaseException:
            self.release()
            raise

    def renew(self) -> bool:
        """Puts our claim again; False if another run has removed it."""
        if self._version(self._holder.token) is None:
            return False
        self._holder = self._holder.next()
        store.write(self._claim(self._holder.token), self._holder.encode())
        return True

    def release(self) -> None:
        """Removes our claim."""
        store.remove(self._claim(self._holder.token))

    def _names(self) -> list[str]:
        return store.list_names(self._folder)

    def _others(self, names: list[str]) -> list[str]:
        """Claims of other runs that may be alive. OctshardError if one surely is; dead ones are removed."""
        return [name for name in names if name != self._holder.token and not self._is_dead(name)]

    def _is_dead(self, name: str) -> bool:
        before, version = lease.clock(), self._version(name)
        if version is None:  # withdrawn since
            return True
        if name not in self._first_seen:
            other = self._read(name)
            if lease.is_held_here(name):
                raise held_error(self._url, other)
            self._first_seen[name] = version, lease.clock()
            if other is None or not other.is_dead():
                lease.log_wait(self._url, other)
                return False
        else:
            first, since = self._first_seen[name]
            if version != first:
                other = self._read(name)
                if other is not None and other.beat > 0:  # else it waits as we do
                    raise held_error(self._url, other)
                self._first_seen[name] = version, lease.clock()
                return False
            if before - since < lease.LEASE_S:
                return False
        store.remove(self._claim(name))
        return True

    def _claim(self, name: str) -> str:
        return store.join(self._folder, name)

    def _version(self, name: str) -> str | None:
        try:
            return store.etag(self._claim(name))
        except FileNotFoundError:
            return None

    def _read(self, name: str) -> Holder | None:
        try:
            return holders.decode(store.read(self._claim(name)))
        except FileNotFoundError:
            return None
