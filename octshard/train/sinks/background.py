"""A sink that may fail or hang without harm to the run: one thread makes its calls, in their order.

An error is said once, and the next call is tried all the same, so that a network or a disk that comes back
is used again. metrics.jsonl has every line whatever happens here.
"""

import logging
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from octshard.models.checkpoint_info import CheckpointInfo
from octshard.printable import printable
from octshard.train.sinks.sink import Picture, Sink, Values

logger = logging.getLogger(__name__)

MAX_PENDING = 10_000  # calls; lines come every few seconds


class Patience(NamedTuple):
    """Seconds that a run waits for a sink: at a flush, at its end, and when it is stopped or fails."""

    flush_s: float
    end_s: float
    stop_s: float


class BackgroundSink(Sink):
    """Hands every call to `sink` in a thread. name: of the setting that asks for it, for warnings."""

    def __init__(self, sink: Sink, name: str, patience: Patience) -> None:
        self._sink, self._name, self._patience = sink, name, patience
        self._calls = queue.Queue[Callable[[], None] | None](MAX_PENDING)
        self._flushed = threading.Event()
        self._flushed.set()
        self._failed, self._abandoned = 0, False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def write(self, values: Values) -> None:
        """Begins to write a line."""
        self._begin(partial(self._sink.write, dict(values)))

    def write_picture(self, picture: Picture) -> None:
        """Begins to write a picture."""
        self._begin(partial(self._sink.write_picture, picture))

    def write_checkpoint(self, info: CheckpointInfo) -> None:
        """Begins to send a checkpoint."""
        self._begin(partial(self._sink.write_checkpoint, info))

    def flush(self) -> None:
        """Waits until all is written, but not long, and not again while the flush before hangs."""
        if self._flushed.is_set():
            self._flushed.clear()
            self._begin(self._flush)
            self._flushed.wait(self._patience.flush_s)

    def close(self, exit_code: int) -> None:
        """Writes what is left and closes the sink, unless that takes too long."""
        wait_s = self._patience.stop_s if exit_code else self._patience.end_s
        self._begin(partial(self._sink.close, exit_code))
        self._begin(None)
        self._thread.join(wait_s)
        if self._thread.is_alive():
            self._abandoned = True
            if wait_s:
                logger.warning("%s: not done after %g s; the run ends without it", self._name, wait_s)
            self._sink.abandon()
        elif self._failed > 1:
            logger.warning("%s: %d calls failed", self._name, self._failed)

    def _begin(self, call: Callable[[], None] | None) -> None:
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            self._fail(f"{MAX_PENDING} calls wait for it")

    def _flush(self) -> None:
        try:
            self._sink.flush()
        finally:
            self._flushed.set()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call()
            except Exception as error:  # foreign code raises kinds of its own, and none may end the run
                self._fail(printable(f"{type(error).__name__}: {error}"))

    def _fail(self, reason: str) -> None:
        self._failed += 1
        if self._failed == 1 and not self._abandoned:
            logger.warning("%s: %s; the run goes on, and metrics.jsonl has every line", self._name, reason)
