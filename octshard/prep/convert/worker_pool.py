"""Child processes in which foreign decoders meet foreign bytes: a crash, a hang or a swelling costs one file.

A child makes (Row, tar slice) out of one file after another and writes nothing anywhere, so that it may die
at any moment. A file whose child died is tried once more, alone, and then refused; a twin that the child
was reading for it is passed over.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from octshard.errors import OctshardError
from octshard.prep.convert import sample
from octshard.prep.convert.sample import Converted, ConvertTask
from octshard.prep.convert.worker import WorkerJob, serve
from octshard.prep.refusals import Refused

AHEAD = 4  # files per child that may be made, or wait to be, before their turn to be written
PRELOADED = ["octshard.prep.convert.sample"]  # imported once; children are forked off it in milliseconds
STARTS = 6  # of a child: the server it is forked off may have been killed, and is then begun anew
PAUSE_S = (
    0.05  # before the second start, twice as long before each that follows: that server takes time to die
)
ENDING_S = 10.0  # after its pipe broke; a child that is not gone by then is killed


class WorkerDied(Exception):
    """A child did not survive a file; `reason` is a refusal's, `path` that of what it read last, or empty."""

    def __init__(self, reason: str, detail: str, path: str) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.path = reason, detail, path


class WorkerPool:
    """`workers` children; leave the block to end them. Errors of ours or of a store come with the results."""

    def __init__(self, job: WorkerJob, workers: int) -> None:
        self.workers = workers
        self._job, self._gate = job, ReadWriteLock()
        self._mine = threading.local()
        self._all: list[_Child] = []
        self._closed = False
        # what these threads start is deaf to Ctrl-C from its first moment: a mask of signals is inherited
        self._threads = ThreadPoolExecutor(workers, "sandbox", _block_interrupt)

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._closed = True
        for child in list(self._all):
            child.kill()  # whoever waits for one wakes up
        self._threads.shutdown(cancel_futures=True)
        for child in self._all:
            child.end()

    def submit(self, task: ConvertTask) -> "Future[Converted]":
        """Makes one file's row and slice in a child that is free."""
        return self._threads.submit(self._make, task)

    def in_order(self, tasks: Iterable[ConvertTask]) -> Iterator[Converted]:
        """What the tasks come to, in their order; a bounded number of them is ahead of the one asked for."""
        waiting: deque[Future[Converted]] = deque()
        for task in tasks:
            waiting.append(self.submit(task))
            if len(waiting) > AHEAD * self.workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _make(self, task: ConvertTask) -> Converted:
        try:
            with self._gate.shared():
                return self._in_child(task)
        except WorkerDied:
            self._stop_if_closed()
        try:
            with self._gate.exclusive():
                return self._in_child(task)
        except WorkerDied as again:
            self._stop_if_closed()
            if again.path not in ("", task.member.entry.path):  # the twin's own row says what it is like
                return self._make(replace(task, crashed_paths=task.crashed_paths | {again.path}))
            return sample.refused(task, Refused(again.reason, f"twice: {again.detail}"))

    def _in_child(self, task: ConvertTask) -> Converted:
        """Made by this thread's child, or by a new one."""
        self._stop_if_closed()
        child: _Child | None = getattr(self._mine, "child", None)
        if child is None:
            child = self._mine.child = _Child(self._job)
            self._all.append(child)
        try:
            self._stop_if_closed()  # who kills them all may have looked before this one was there
            return child.make(task)
        finally:
            if child.ended:
                self._mine.child = None
                self._all.remove(child)

    def _stop_if_closed(self) -> None:
        if self._closed:
            raise OctshardError("the run is being stopped")


class _Child:
    """One process and the pipe to it, used by one thread; any other may kill it."""

    def __init__(self, job: WorkerJob) -> None:
        self._limit_s, self._memory = job.cfg.decode_timeout_s, job.cfg.worker_memory
        self._pipe, self._process = _start(job)
        self._lock = threading.Lock()
        self.ended = False

    def make(self, task: ConvertTask) -> Converted:
        """The row and slice of one file; Died if the child does not survive it, however that happens."""
        deadline, path = None, ""
        self._send(task)
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = wait([self._pipe, self._process.sentinel], left)
            if not ready:
                self.end()
                raise WorkerDied(
                    "decoder_timeout", f"not done {self._limit_s:g} s after its bytes were read", path
                )
            if self._pipe not in ready:
                raise self._died(path)
            word, value = self._receive(self._pipe.recv, path)
            if word == "reading":
                deadline, path = None, value
            elif word == "read":  # from here on it is computation, which no slow store can excuse
                deadline = time.monotonic() + self._limit_s
            elif word == "made":
                row, last = value
                made = Converted(row, self._receive(self._pipe.recv_bytes, path))
                if last:
                    self.end()
                return made
            elif word == "memory":
                self.end()
                text = f"asked for more than {self._memory / 1e9:g} GB of memory ({value})"
                raise WorkerDied("decoder_crash", text, path)
            else:
                raise value

    def kill(self) -> None:
        """Ends the process, which has nothing to lose; its thread finds out by the pipe."""
        with self._lock:
            if not self.ended:
                self._process.kill()

    def end(self, patience_s: float = 0.0) -> int:
        """Lets go of the process and the pipe, the exit code. Killed if it does not end by itself before."""
        self._process.join(patience_s)
        self._process.kill()
        self._process.join()
        code = self._process.exitcode or 0
        with self._lock:
            self.ended = True
            self._process.close()
            self._pipe.close()
        return code

    def _send(self, task: ConvertTask) -> None:
        try:
            self._pipe.send(task)
        except OSError as error:
            raise self._died("") from error

    def _receive(self, act: Callable[[], Any], path: str) -> Any:
        try:
            return act()
        except (EOFError, OSError) as error:  # killed between two messages, or within one
            raise self._died(path) from error

    def _died(self, path: str) -> WorkerDied:
        code = self.end(ENDING_S)
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit code {code}"
        memory = ", perhaps out of memory" if -code == signal.SIGKILL else ""
        return WorkerDied("decoder_crash", f"its process ended by {name}{memory}", path)


def _start(job: WorkerJob) -> tuple[Connection, BaseProcess]:
    """A new child, and our end of the pipe to it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    for attempt in range(STARTS):
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, job, dict(os.environ)), daemon=True)
        try:
            process.start()
        except (EOFError, OSError) as error:
            ours.close()
            if attempt == STARTS - 1:
                text = " ".join(str(error).split()) or type(error).__name__
                raise OctshardError(
                    f"a worker could not be started ({text}); run the same command again"
                ) from error
        else:
            return ours, process
        finally:
            theirs.close()
        time.sleep(PAUSE_S * 2**attempt)
    raise AssertionError("unreachable")


def _block_interrupt() -> None:
    resource_tracker.ensure_running()  # its first start would lift the mask again
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


class ReadWriteLock:
    """Many beside each other, or one alone: whoever wants to be alone waits until the others are out."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside, self._lonely = 0, 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._lonely)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._lonely)
            self._lonely = 1
            self._changed.wait_for(lambda: not self._inside)
        try:
            yield
        finally:
            with self._changed:
                self._lonely = 0
                self._changed.notify_all()
