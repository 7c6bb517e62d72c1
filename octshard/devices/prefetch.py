"""Batches on their way to the device: one thread sends them ahead of their use, in order, a bounded number.

An error of the stream or of the transfer comes out where its batch would have, on every backend.
"""

import contextlib
import queue
import threading
from collections.abc import Generator, Iterator
from typing import Generic, NamedTuple, TypeVar

from octshard.devices.backend import Backend, Transfer

Tree = TypeVar("Tree")

AHEAD = 2  # batches on the device besides the one in use


class DeviceBatch(NamedTuple, Generic[Tree]):
    """A batch as it was on the host, and as it is on the device."""

    host: Tree
    device: Tree


@contextlib.contextmanager
def prefetch_to_device(
    batches: Generator[Tree, None, None], backend: Backend
) -> Iterator[Iterator[DeviceBatch[Tree]]]:
    """What `batches` yields, on the device; closes `batches` and ends the thread at the end of the block."""
    room, box = threading.Semaphore(AHEAD), queue.SimpleQueue[_Item[Tree]]()
    closed = threading.Event()
    thread = threading.Thread(
        target=_feed, args=(batches, backend, room, box, closed), name="feed", daemon=True
    )
    thread.start()
    try:
        yield _taken(backend, room, box)
    finally:
        closed.set()
        room.release()
        thread.join()


class _Item(NamedTuple, Generic[Tree]):
    """A batch, or how they end: an error, or neither."""

    host: Tree | None
    sent: Transfer[Tree] | None
    error: BaseException | None


def _feed(
    batches: Generator[Tree, None, None],
    backend: Backend,
    room: threading.Semaphore,
    box: "queue.SimpleQueue[_Item[Tree]]",
    closed: threading.Event,
) -> None:
    with contextlib.closing(batches):
        try:
            while room.acquire() and not closed.is_set():
                host = next(batches, None)
                box.put(_Item(host, None if host is None else backend.to_device(host), None))
                if host is None:
                    return
                del host  # its memory is the consumer's from now on
        except BaseException as error:  # whatever it is, it belongs to the consumer
            box.put(_Item(None, None, error))


def _taken(
    backend: Backend, room: threading.Semaphore, box: "queue.SimpleQueue[_Item[Tree]]"
) -> Iterator[DeviceBatch[Tree]]:
    while True:
        host, sent, error = box.get()
        room.release()
        if error is not None:
            raise error
        if host is None or sent is None:
            return
        yield DeviceBatch(host, backend.ready(sent))
        del host, sent
