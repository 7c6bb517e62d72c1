"""Worker processes that never outlive their parent: spawned, ignoring Ctrl-C, ended when it is killed."""

import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import util
from multiprocessing.synchronize import Event
from typing import Any

from octshard.errors import OctshardError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
KEEP_BYTES = 2**30
# a socket's address has at most 107 bytes; behind TMPDIR come /pymp-xxxxxxxx/listener-xxxxxxxx
LONGEST_TMPDIR, SHORT_TMPDIR = 107 - 32, "/tmp"
_socket_lock = threading.Lock()
IMPORTED_AGAIN = 112  # exit code of a worker whose import of the parent's script came back to octshard
NOT_STARTED = (
    "a worker process ended before it began: every worker imports the script that started it, so in a script "
    'the call must stand below `if __name__ == "__main__":`'
)


@contextmanager
def process_pool(
    workers: int, initializer: Callable[..., None], *initargs: Any
) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes first call initializer(*initargs); an error in the block kills them at once.

    Spawned, because threads and clients of stores do not survive a fork. OctshardError if one is killed.
    """
    check_script()
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    pool = ProcessPoolExecutor(workers, context, _start_worker, (begun, initializer, initargs))
    try:
        yield pool
        pool.shutdown()
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        if isinstance(error, BrokenProcessPool):
            killed = "a worker process was killed, perhaps out of memory; run again with fewer workers"
            raise OctshardError(killed if begun.is_set() else NOT_STARTED) from error
        raise


def check_script() -> None:
    """To be called before a process is started: what the process will find when it imports our script."""
    stop_if_imported_again()
    _shorten_sockets()
    script = sys.modules["__main__"]
    if getattr(script, "__file__", "") == "<stdin>":  # no worker could import that, and none needs it
        del script.__file__


def _shorten_sockets() -> None:
    """Lets multiprocessing make its sockets below /tmp if TMPDIR is too long for the address of one."""
    with _socket_lock:
        before = tempfile.gettempdir()
        if len(before.encode()) <= LONGEST_TMPDIR:
            return
        tempfile.tempdir = SHORT_TMPDIR
        try:
            util.get_temp_dir()  # made once for this process
        except OSError as error:
            raise OctshardError(
                f"TMPDIR={before}: too long for a socket, and {SHORT_TMPDIR} cannot be used "
                f"({error.strerror}); set a shorter TMPDIR"
            ) from error
        finally:
            tempfile.tempdir = before


def stop_if_imported_again() -> None:
    """Ends this process if it is a worker that still imports the script of its parent.

    A script without the `__main__` guard makes its call again there; the parent says so (`NOT_STARTED`).
    """
    # what multiprocessing itself looks at before it refuses to start a process
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        os._exit(IMPORTED_AGAIN)


def worker_count(requested: int) -> int:
    """`requested` workers; 0 means one for each CPU that this process may use."""
    return requested or len(os.sched_getaffinity(0))


def no_setup() -> None:
    """The initializer of workers that need none."""


def init_worker() -> None:
    """First call in every worker: ignore Ctrl-C, which the parent handles, and end when the parent ends."""
    _keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _keep_freed_memory() -> None:
    """Lets glibc reuse freed memory: new pages for each volume take as long as all of the resampling."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, KEEP_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, KEEP_BYTES)


def _start_worker(begun: Event, initializer: Callable[..., None], initargs: tuple[Any, ...]) -> None:
    begun.set()
    init_worker()
    initializer(*initargs)


def _die_with_parent() -> None:
    """A killed parent must not leave workers that write beside the next run."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
