"""Batches on their way to the device: one thread sends them ahead of their use, in order, a bounded number.

An error of the stream or of the transfer is raised in place of its batch, on every backend.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Generic, NamedTuple, TypeVar

from octshard.devices.backend import Backend, Transfer
from octshard.storage import transport

Tree = TypeVar("Tree")

AHEAD = 2  # batches on the device besides the one in use
ASK_S = 0.2  # between two questions whether to wait on


class DeviceBatch(NamedTuple, Generic[Tree]):
    """A batch as it was on the host, and as it is on the device."""

    host: Tree
    device: Tree


def never() -> bool:
    """Waits for every batch, however long."""
    return False


@contextlib.contextmanager
def prefetch_to_device(
    batches: Generator[Tree, None, None], backend: Backend, gives_up: Callable[[], bool] = never
) -> Iterator[Iterator[DeviceBatch[Tree]]]:
    """The items of `batches` on the device; closes `batches` and ends the thread at the end of the block.

    They end early if `gives_up` is true while the next one is not there.
    """
    slots, items = threading.Semaphore(AHEAD), queue.SimpleQueue[_Item[Tree]]()
    closed, requests = threading.Event(), transport.Scope()

    def feed() -> None:
        with requests.active():
            _feed(batches, backend, slots, items, closed)

    thread = threading.Thread(target=feed, name="feed", daemon=True)
    thread.start()
    try:
        yield _device_batches(backend, slots, _items(items, gives_up))
    finally:
        closed.set()
        slots.release()
        requests.cancel()  # else the thread would wait for a batch that nobody wants
        thread.join()


class _Item(NamedTuple, Generic[Tree]):
    """A batch, or the end of all: with an error, or with neither."""

    host: Tree | None
    transfer: Transfer[Tree] | None
    error: BaseException | None


def _feed(
    batches: Generator[Tree, None, None],
    backend: Backend,
    slots: threading.Semaphore,
    items: "queue.SimpleQueue[_Item[Tree]]",
    closed: threading.Event,
) -> None:
    with contextlib.closing(batches):
        try:
            while slots.acquire() and not closed.is_set():
                host = next(batches, None)
                items.put(_Item(host, None if host is None else backend.to_device(host), None))
                if host is None:
                    return
                del host  # or its memory could not be used again while this thread waits
        except BaseException as error:  # of any kind: the consumer raises it
            items.put(_Item(None, None, error))


def _items(items: "queue.SimpleQueue[_Item[Tree]]", gives_up: Callable[[], bool]) -> Iterator[_Item[Tree]]:
    while True:
        try:
            yield items.get(timeout=ASK_S)
        except queue.Empty:
            if gives_up():
                return


def _device_batches(
    backend: Backend, slots: threading.Semaphore, items: "Iterator[_Item[Tree]]"
) -> Iterator[DeviceBatch[Tree]]:
    for host, transfer, error in items:
        slots.release()
        if error is not None:
            raise error
        if host is None or transfer is None:
            return
        yield DeviceBatch(host, backend.ready(transfer))
        del host, transfer
