"""One writer per target, on every store; a run that died holds no lock.

Local: flock, which ends with the process. Remote: a lease that this run renews all the while; a run that may
have lost it writes nothing more, and another takes it over when nobody has renewed it for `lease.LEASE_S`.
"""

import contextlib
import fcntl
import logging
import threading
from collections.abc import Iterator

from octshard import pool
from octshard.storage import conditions, lease, local, store, transport
from octshard.storage import holder as holders
from octshard.storage.claims import ClaimLock
from octshard.storage.lease import Lease, LostLease
from octshard.storage.store import StoreError
from octshard.storage.versioned import VersionedLock

logger = logging.getLogger(__name__)

HEARTBEAT_S = 20.0
RETRY_S = 2.0  # after a renewal that failed
RENEW_S = 10.0  # for one renewal with all its attempts


@contextlib.contextmanager
def one_writer(url: str, *targets: str) -> Iterator[None]:
    """Holds the lock object `url` for the block; OctshardError while a living run holds it.

    targets: the files and folders that it stands for. LostLease for every write there after the lock of a
    remote target was lost, and after the block.
    """
    pool.stop_if_imported_again()  # else that script's worker would find the lock of its own parent
    with _remote_lock(url, targets) if store.is_remote(url) else _local_lock(url):
        yield


@contextlib.contextmanager
def _local_lock(url: str) -> Iterator[None]:
    path = store.local_path(url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # unbuffered: nothing is left to be written when it is closed
        file = open(path, "a+b", buffering=0)  # noqa: SIM115 (held for the whole block below)
    except OSError as error:
        raise StoreError(f"{url}: cannot be written ({error.strerror}), want a folder to write to") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise holders.held_error(url, holders.decode(file.read())) from None
        with local.one_line_errors(url):
            file.truncate(0)
            file.write(holders.this_process().encode())
        yield


@contextlib.contextmanager
def _remote_lock(url: str, targets: tuple[str, ...]) -> Iterator[None]:
    holder = holders.this_process()
    lock = VersionedLock(url, holder) if conditions.heeded(url) else ClaimLock(url, holder)
    begin = lock.take()
    held = Lease(url, targets, holder.token, 0.0, lock.at)
    held.renew(begin)
    lease.hold(held)
    stop = threading.Event()
    heartbeat = threading.Thread(
        target=_keep_renewing, args=(lock, held, stop), name=f"lease of {url}", daemon=True
    )
    heartbeat.start()
    try:
        yield
    finally:
        stop.set()
        heartbeat.join()
        _release(lock, held)
    held.seconds_left()


def _keep_renewing(lock: VersionedLock | ClaimLock, held: Lease, stop: threading.Event) -> None:
    """Renews the lease until `stop`, and for as long as it lasts whatever fails; then it is lost."""
    wait = HEARTBEAT_S
    while not stop.wait(wait):
        try:
            held.seconds_left()
            begin = lease.clock()
            with transport.until(transport.clock() + RENEW_S):
                renewed = lock.renew()
        except LostLease:
            return
        except (StoreError, FileNotFoundError) as error:
            held.reason = f"the last try to renew it: {error}"
            wait = RETRY_S
            continue
        if not renewed:
            held.lose("another run has taken it")
            return
        held.renew(begin)
        wait = HEARTBEAT_S


def _release(lock: VersionedLock | ClaimLock, held: Lease) -> None:
    """Gives the lock back if it is still ours; one that stays is found dead by the next run."""
    try:
        with transport.until(transport.clock() + min(held.seconds_left(), RENEW_S)):
            lock.release()
    except (StoreError, FileNotFoundError) as error:
        logger.debug("%s: stays: %s", held.url, error)
    finally:
        lease.drop(held)
