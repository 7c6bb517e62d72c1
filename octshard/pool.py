"""Worker processes that never outlive their parent: spawned, deaf to Ctrl-C, gone when it is killed."""

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
KEPT_BYTES = 2**30


@contextmanager
def process_pool(workers: int, enter: Callable[..., None], *arguments: Any) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes first call enter(*arguments); on an error in the block they are killed at once.

    Spawned, because clients of stores and threads do not survive a fork.
    """
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _begin, (enter, arguments))
    try:
        yield pool
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - before:
            process.kill()
        raise


def worker_count(wanted: int) -> int:
    """`wanted` workers, or for 0 as many as this process has CPUs to run on."""
    return wanted or len(os.sched_getaffinity(0))


def no_setup() -> None:
    """What a worker does first when it has nothing to prepare."""


def init_worker() -> None:
    """What every worker does first: be deaf to Ctrl-C, which is the parent's to answer, and end with it."""
    _keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _keep_freed_memory() -> None:
    """Lets glibc reuse what was freed: fresh pages for each volume cost as much as all of the resampling."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def _begin(enter: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    init_worker()
    enter(*arguments)


def _die_with_parent() -> None:
    """A killed parent must not leave workers that write beside the next run."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
