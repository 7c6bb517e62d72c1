"""Worker processes that never outlive their parent: spawned, ignoring Ctrl-C, ended when it is killed."""

import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
KEEP_BYTES = 2**30


@contextmanager
def process_pool(
    workers: int, initializer: Callable[..., None], *initargs: Any
) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes first call initializer(*initargs); an error in the block kills them at once.

    Spawned, because threads and clients of stores do not survive a fork.
    """
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start_worker, (initializer, initargs))
    try:
        yield pool
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        raise


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


def _start_worker(initializer: Callable[..., None], initargs: tuple[Any, ...]) -> None:
    init_worker()
    initializer(*initargs)


def _die_with_parent() -> None:
    """A killed parent must not leave workers that write beside the next run."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
