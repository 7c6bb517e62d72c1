"""One writer per target, on every store; a run that died holds no lock.

Local: flock, which ends with the process. Remote: a lease, an object with a heartbeat that another run takes
over when it is stale. Every write replaces only the version that was read, so that of two runs one loses.
"""

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from octshard import pool
from octshard.errors import OctshardError
from octshard.storage import local, store
from octshard.storage.store import StoreError

LEASE_S = 90.0  # a remote lock whose heartbeat is older belongs to a dead run
HEARTBEAT_S = 20.0


@contextlib.contextmanager
def one_writer(url: str) -> Iterator[None]:
    """Holds the lock object `url` for the block; OctshardError while a living run holds it."""
    pool.stop_if_imported_again()  # else that script's worker would find the lock of its own parent
    with _remote_lock(url) if store.is_remote(url) else _local_lock(url):
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
            raise _held_error(url, file.read().decode(errors="replace")) from None
        with local.one_line_errors(url):
            file.truncate(0)
            file.write(json.dumps(_new_lease()).encode())
        yield


@contextlib.contextmanager
def _remote_lock(url: str) -> Iterator[None]:
    lease = _new_lease()
    version = _take_lease(url, lease)
    stop, lost = threading.Event(), threading.Event()

    def heartbeat() -> None:
        """Renews the lease; if that fails the lease is lost, and the block ends with an error."""
        current: str | None = version
        while current is not None and not stop.wait(HEARTBEAT_S):
            try:
                renewed = json.dumps({**lease, "time": time.time()}).encode()
                current = store.put_if_version(url, renewed, current)
            except StoreError:
                current = None
        if current is None:
            lost.set()

    thread = threading.Thread(target=heartbeat, name=f"lease of {url}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        if _read_lease(url)[0].get("token") == lease["token"]:
            store.remove(url)
    if lost.is_set():
        raise StoreError(
            f"{url}: the lock was lost while writing; make sure no other run writes, then run again"
        )


def _take_lease(url: str, lease: dict[str, Any]) -> str:
    """Puts our lease where there is none or a dead one; its version, or OctshardError if a run holds one."""
    holder, version = _read_lease(url)
    if holder and not _is_dead(holder):
        raise _held_error(url, json.dumps(holder))
    store.put_if_version(url, json.dumps(lease).encode(), version)
    stored, version = _read_lease(url)  # an emulator may ignore the condition
    if stored.get("token") != lease["token"]:
        raise _held_error(url, json.dumps(stored))
    return version


def _read_lease(url: str) -> tuple[dict[str, Any], str]:
    """The lease of a remote lock and the object's version; ({}, '') if there is none.

    An object that is no lease counts as an expired one.
    """
    try:
        data, version = store.read_version(url)
    except FileNotFoundError:
        return {}, ""
    try:
        lease = json.loads(data)
    except ValueError:
        lease = None
    sound = isinstance(lease, dict) and isinstance(lease.get("time"), int | float)
    return lease if sound else {"token": "", "time": 0.0}, version


def _is_dead(lease: dict[str, Any]) -> bool:
    if time.time() - float(lease.get("time", 0.0)) > LEASE_S:
        return True
    return lease.get("place") == _process_namespace() and not Path(f"/proc/{lease.get('pid')}").exists()


def _new_lease() -> dict[str, Any]:
    process = {"host": socket.gethostname(), "place": _process_namespace(), "pid": os.getpid()}
    return {"token": uuid.uuid4().hex, "time": time.time(), **process}


def _process_namespace() -> str:
    """Identifies one boot of a kernel and one PID namespace, in which process ids are comparable."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"unknown {uuid.uuid4().hex}"


def _held_error(url: str, text: str) -> OctshardError:
    try:
        lease = json.loads(text)
        holder = f"process {lease['pid']} on {lease['host']}"
    except (ValueError, KeyError):
        holder = "another process"
    return OctshardError(
        f"{url}: {holder} is writing here, want one writer per target; wait for it or stop it"
    )
