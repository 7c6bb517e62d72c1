"""One attempt at a request on a store's event loop: it ends by a time limit, and when its scope is cancelled.

fsspec's own waiting ends in neither case. Both limits belong to the thread that asks, so that clients need
not hand them on.
"""

import asyncio
import contextlib
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

from octshard.storage.errors import StoreError

GRACE_S = 1.0  # that the event loop may take to end a request, before it is left behind
CLEANUP_S = 10.0  # for a request without a limit: what takes an unfinished upload back

clock = time.monotonic


_scope: ContextVar["Scope | None"] = ContextVar("scope", default=None)


class Cancelled(StoreError):
    """The request was given up, because nobody waits for its result any more."""


class Scope:
    """Requests of any threads that are given up together, at once; also those of scopes made within it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[Future[Any]] = set()
        self._inner: weakref.WeakSet[Scope] = weakref.WeakSet()
        self._cancelled = threading.Event()
        if outer := _scope.get():
            outer._add(self)

    def cancel(self) -> None:
        """Ends what is under way and what comes later, each with Cancelled."""
        with self._lock:
            self._cancelled.set()
            running, inner = list(self._running), list(self._inner)
        for future in running:
            future.cancel()
        for scope in inner:
            scope.cancel()

    def _add(self, inner: "Scope") -> None:
        with self._lock:
            self._inner.add(inner)
            late = self._cancelled.is_set()
        if late:
            inner.cancel()

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Requests of this thread in the block belong to the scope."""
        token = _scope.set(self)
        try:
            yield
        finally:
            _scope.reset(token)

    @contextlib.contextmanager
    def holding(self, future: Future[Any]) -> Iterator[None]:
        """`future` is cancelled with the scope."""
        with self._lock:
            self._running.add(future)
            late = self._cancelled.is_set()
        try:
            if late:
                future.cancel()
            yield
        finally:
            with self._lock:
                self._running.discard(future)

    def sleep(self, seconds: float) -> None:
        """Waits; Cancelled as soon as the scope is."""
        if self._cancelled.wait(seconds):
            raise Cancelled("the request was cancelled")


@contextlib.contextmanager
def thread_pool(workers: int, name: str = "") -> Iterator[ThreadPoolExecutor]:
    """Threads for work with stores. If the block ends with an error, so do their requests, at once."""
    requests = Scope()
    pool = ThreadPoolExecutor(workers, name, lambda: [_scope.set(requests)])
    try:
        yield pool
    except BaseException:
        requests.cancel()
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


_until: ContextVar[float | None] = ContextVar("until", default=None)
_endless = Scope()  # of requests outside any scope; nobody cancels it


def scope() -> Scope:
    """The scope of this thread's requests."""
    return _scope.get() or _endless


@contextlib.contextmanager
def until(moment: float) -> Iterator[None]:
    """Requests of this thread in the block end by this moment of `clock`."""
    token = _until.set(moment)
    try:
        yield
    finally:
        _until.reset(token)


def limit() -> float:
    """The moment by which requests of this thread end; infinite if there is none."""
    return float("inf") if (moment := _until.get()) is None else moment


def wait(
    loop: asyncio.AbstractEventLoop, function: Callable[..., Awaitable[Any]], /, *args: Any, **arguments: Any
) -> Any:
    """The result of function(*args, **arguments) on the loop's thread; TimeoutError at the limit, Cancelled.

    Whatever ends the waiting, Ctrl-C too, ends the request.
    """
    moment = _until.get()
    seconds = CLEANUP_S if moment is None else max(0.0, moment - clock())

    async def run() -> Any:
        return await asyncio.wait_for(function(*args, **arguments), seconds)

    future = asyncio.run_coroutine_threadsafe(run(), loop)
    try:
        with scope().holding(future):
            return future.result(seconds + GRACE_S)
    except CancelledError:
        raise Cancelled("the request was cancelled") from None
    except TimeoutError as error:
        raise TimeoutError(str(error) or f"no answer in {seconds:.3g} s") from error
    finally:
        future.cancel()
