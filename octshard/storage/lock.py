"""One writer per target, on every store; a run that died holds nothing.

Local: flock, which ends with the process. Remote: an object with a heartbeat, taken over when it is stale;
every write of it replaces the very version that was read, so that of two takers one loses.
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

from octshard.errors import OctshardError
from octshard.storage import local, store
from octshard.storage.store import StoreError

LEASE_S = 90.0  # a remote lock whose heartbeat is older belongs to a dead run
HEARTBEAT_S = 20.0


@contextlib.contextmanager
def one_writer(url: str) -> Iterator[None]:
    """Holds the lock object `url` for the block; OctshardError while a living run holds it."""
    with _remote_lock(url) if store.is_remote(url) else _local_lock(url):
        yield


@contextlib.contextmanager
def _local_lock(url: str) -> Iterator[None]:
    path = store.local_path(url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+")  # noqa: SIM115 (held for the whole block below)
    except OSError as error:
        raise StoreError(f"{url}: cannot be written ({error.strerror}), want a folder to write to") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise _held(url, file.read()) from None
        with local.one_line_errors(url):
            file.truncate(0)
            file.write(json.dumps(_owner()))
            file.flush()
        yield


@contextlib.contextmanager
def _remote_lock(url: str) -> Iterator[None]:
    mine = _owner()
    version = _take_lease(url, mine)
    stop, lost = threading.Event(), threading.Event()

    def beat() -> None:
        """Keeps the lease fresh; a lease that cannot be kept is lost, and the block must not end well."""
        at: str | None = version
        while at is not None and not stop.wait(HEARTBEAT_S):
            try:
                at = store.put_if_version(url, json.dumps({**mine, "time": time.time()}).encode(), at)
            except StoreError:
                at = None
        if at is None:
            lost.set()

    thread = threading.Thread(target=beat, name=f"lease of {url}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        if _lease(url)[0].get("token") == mine["token"]:
            store.remove(url)
    if lost.is_set():
        raise StoreError(
            f"{url}: the lock was lost while writing; make sure no other run writes, then run again"
        )


def _take_lease(url: str, mine: dict[str, Any]) -> str:
    """Puts our lease where there is none, or over the dead one that was read; the lease's version."""
    found, version = _lease(url)
    if found and not _is_dead(found):
        raise _held(url, json.dumps(found))
    store.put_if_version(url, json.dumps(mine).encode(), version)
    now, version = _lease(url)  # also where an emulator took no notice of the condition
    if now.get("token") != mine["token"]:
        raise _held(url, json.dumps(now))
    return version


def _lease(url: str) -> tuple[dict[str, Any], str]:
    """Who holds a remote lock, and the version that says so; ({}, '') if nobody does.

    An object that makes no sense is a lease of one long dead.
    """
    try:
        data, version = store.read_version(url)
    except FileNotFoundError:
        return {}, ""
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    sound = isinstance(found, dict) and isinstance(found.get("time"), int | float)
    return found if sound else {"token": "", "time": 0.0}, version


def _is_dead(owner: dict[str, Any]) -> bool:
    if time.time() - float(owner.get("time", 0.0)) > LEASE_S:
        return True
    return owner.get("place") == _place() and not Path(f"/proc/{owner.get('pid')}").exists()


def _owner() -> dict[str, Any]:
    me = {"host": socket.gethostname(), "place": _place(), "pid": os.getpid()}
    return {"token": uuid.uuid4().hex, "time": time.time(), **me}


def _place() -> str:
    """Where process ids mean the same: one boot of a kernel and one process namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"unknown {uuid.uuid4().hex}"


def _held(url: str, owner: str) -> OctshardError:
    try:
        who = json.loads(owner)
        text = f"process {who['pid']} on {who['host']}"
    except (ValueError, KeyError):
        text = "another process"
    return OctshardError(f"{url}: {text} is writing here, want one writer per target; wait for it or stop it")
