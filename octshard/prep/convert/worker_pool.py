"""Child processes for foreign decoders and foreign bytes: a crash, a hang or a memory leak costs one file.

A child converts one file after another to (row, tar slice) and writes nothing to any store, so that it may
die at any moment. A file whose child died is tried once more, alone, and then refused; a twin that the child
was reading for it is passed over. A child that was killed from outside says nothing about its file.
"""

import logging
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

from octshard import pool
from octshard.errors import OctshardError
from octshard.prep.convert import sample, worker_exit
from octshard.prep.convert.sample import Converted, ConvertTask
from octshard.prep.convert.worker import WorkerJob, serve
from octshard.prep.convert.worker_exit import FileInHand, WorkerDied, WorkerKilled
from octshard.prep.refusals import Refused

logger = logging.getLogger(__name__)

AHEAD = 4  # files per child that may be converted, or wait for it, before their turn to be written
PRELOADED = ["octshard.prep.convert.sample"]  # imported once; children are forked off it in milliseconds
STARTS = 6  # of a child: the server it is forked off may have been killed, and is then started again
PAUSE_S = (
    0.05  # before the second start, twice as long before each that follows: that server takes time to end
)
KILLS = 20  # of its children from outside that one file outlives; then the run stops
LONGEST_PAUSE_S = 2.0  # after a kill: what kills workers may be over in half a minute
ENDING_S = 10.0  # after its pipe broke; a child that is not gone by then is killed


class WorkerPool:
    """`workers` children; leave the block to end them. Errors of ours or of a store come with the results."""

    def __init__(self, job: WorkerJob, workers: int) -> None:
        self.workers = workers
        self._job, self._gate = job, ReadWriteLock()
        self._local = threading.local()
        self._children: list[_Child] = []
        self._closed = False
        # children of these threads ignore Ctrl-C from the start: they inherit the mask of signals
        self._threads = ThreadPoolExecutor(workers, "sandbox", _block_interrupt)

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._closed = True
        for child in list(self._children):
            child.kill()  # a thread that waits for it wakes up
        self._threads.shutdown(cancel_futures=True)
        for child in self._children:
            child.end()

    def submit(self, task: ConvertTask) -> "Future[Converted]":
        """Converts one file in a child that is free."""
        return self._threads.submit(self._convert, task)

    def in_order(self, tasks: Iterable[ConvertTask]) -> Iterator[Converted]:
        """The results of the tasks, in their order; a bounded number of them is computed ahead."""
        waiting: deque[Future[Converted]] = deque()
        for task in tasks:
            waiting.append(self.submit(task))
            if len(waiting) > AHEAD * self.workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _convert(self, task: ConvertTask) -> Converted:
        for kill in range(KILLS):
            try:
                return self._convert_twice(task)
            except WorkerKilled as error:
                self._stop_if_closed()
                cause = error
            logger.info("%s: %s; it is tried again", task.member.entry.source, cause)
            time.sleep(min(PAUSE_S * 2**kill, LONGEST_PAUSE_S))
        raise OctshardError(
            f"{task.member.entry.source}: {cause}, {KILLS} times; find what ends it (a guard of the "
            "machine's memory? then give fewer --workers) and run the same command again"
        )

    def _convert_twice(self, task: ConvertTask) -> Converted:
        """The second time alone; WorkerKilled if a child is ended from outside."""
        try:
            with self._gate.shared():
                return self._in_child(task)
        except WorkerDied:
            self._stop_if_closed()
        try:
            with self._gate.exclusive():
                return self._in_child(task)
        except WorkerDied as death:
            self._stop_if_closed()
            twins = {entry.path for entry in task.member.earlier_duplicates} - {task.member.entry.path}
            if death.path in twins - task.crashed_paths:  # the twin has a row of its own, which says so
                return self._convert_twice(replace(task, crashed_paths=task.crashed_paths | {death.path}))
            return sample.refused(task, Refused(death.reason, f"twice: {death.detail}"))

    def _in_child(self, task: ConvertTask) -> Converted:
        """Converted by this thread's child, or by a new one."""
        self._stop_if_closed()
        child: _Child | None = getattr(self._local, "child", None)
        if child is None:
            child = self._local.child = _Child(self._job)
            self._children.append(child)
        try:
            self._stop_if_closed()  # the pool may have been closed before this child was in its list
            return child.convert(task)
        finally:
            if child.ended:
                self._local.child = None
                self._children.remove(child)

    def _stop_if_closed(self) -> None:
        if self._closed:
            raise OctshardError("the run is being stopped")


class _Child:
    """One process and the pipe to it, used by one thread; any other may kill it."""

    def __init__(self, job: WorkerJob) -> None:
        self._limit_s, self._memory = job.cfg.decode_timeout_s, job.cfg.worker_memory
        self._pipe, self._process = _start(job)
        self._lock = threading.Lock()
        self._server = 0  # the process that it was forked off, once it is ready
        self._oom_kills = 0
        self.ended = False

    def convert(self, task: ConvertTask) -> Converted:
        """The row and slice of one file; WorkerDied if the child does not survive it, however it ends.

        WorkerKilled if that had nothing to do with the file.
        """
        deadline, path = None, ""
        self._oom_kills = worker_exit.oom_kills()
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
            kind, value = self._receive(self._pipe.recv, path)
            if kind == "ready":
                self._server = value
            elif kind == "reading":
                deadline, path = None, value
            elif kind == "read":  # from here on it is computation alone, so the time limit applies
                deadline = time.monotonic() + self._limit_s
            elif kind == "converted":
                row, last = value
                converted = Converted(row, self._receive(self._pipe.recv_bytes, path))
                if last:
                    self.end()
                return converted
            elif kind == "memory":
                self.end()
                text = f"asked for more than {self._memory / 1e9:g} GB of memory ({value})"
                raise WorkerDied("decoder_crash", text, path)
            else:
                raise value

    def kill(self) -> None:
        """Ends the process at once; its thread sees the closed pipe."""
        with self._lock:
            if not self.ended:
                self._process.kill()

    def end(self, patience_s: float = 0.0) -> int:
        """Closes process and pipe; the exit code. It is killed if it does not end within patience_s."""
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

    def _receive(self, receive: Callable[[], Any], path: str) -> Any:
        try:
            return receive()
        except (EOFError, OSError) as error:  # killed between two messages, or within one
            raise self._died(path) from error

    def _died(self, path: str) -> WorkerDied | WorkerKilled:
        code = self.end(ENDING_S)
        return worker_exit.cause(code, FileInHand(path, self._server, self._oom_kills))


def _start(job: WorkerJob) -> tuple[Connection, BaseProcess]:
    """A new child, and the parent's end of the pipe to it."""
    pool.check_script()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    for attempt in range(STARTS):
        parent_end, child_end = context.Pipe()
        process = context.Process(target=serve, args=(child_end, job, dict(os.environ)), daemon=True)
        try:
            process.start()
        except (EOFError, OSError) as error:
            parent_end.close()
            if attempt == STARTS - 1:
                text = " ".join(str(error).split()) or type(error).__name__
                raise OctshardError(
                    f"a worker could not be started ({text}); run the same command again"
                ) from error
        else:
            return parent_end, process
        finally:
            child_end.close()
        time.sleep(PAUSE_S * 2**attempt)
    raise AssertionError("unreachable")


def _block_interrupt() -> None:
    resource_tracker.ensure_running()  # its first start would lift the mask again
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


class ReadWriteLock:
    """Many threads at once, or one alone: one that wants to be alone waits until the others are out."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside, self._exclusive = 0, 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._exclusive)
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
            self._changed.wait_for(lambda: not self._exclusive)
            self._exclusive = 1
            self._changed.wait_for(lambda: not self._inside)
        try:
            yield
        finally:
            with self._changed:
                self._exclusive = 0
                self._changed.notify_all()
