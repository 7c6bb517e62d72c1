"""What runs in a child process: one file after another becomes a row and a tar slice."""

import os
import pickle
import resource
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from octshard import pool
from octshard.config.prep import PrepConfig
from octshard.prep.convert import sample
from octshard.prep.release.entry import Entry
from octshard.prep.release.source import Fingerprint, Source
from octshard.storage.checksum import Buffer


@dataclass(frozen=True)
class WorkerJob:
    """What every file of a run shares."""

    cfg: PrepConfig
    source: Source


def serve(pipe: Connection, job: WorkerJob, environment: dict[str, str]) -> None:
    """The child: says that it is ready, then converts what is asked for until the pipe ends."""
    pool.init_worker()
    os.environ.update(environment)  # the server that children are forked from may be older
    base_bytes = _own_bytes()
    _limit_memory(base_bytes + job.cfg.worker_memory)
    source = _ReportingSource(job.source, pipe)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
        pipe.send(("ready", os.getppid()))
        while True:
            task = pipe.recv()
            try:
                row, data = sample.convert(task, job.cfg, source)
            except MemoryError as error:
                pipe.send(("memory", " ".join(str(error).split())[:200] or "MemoryError"))
                return
            except Exception as error:  # the parent raises it: nothing is caught here
                pipe.send(("failed", _picklable(error)))
            else:
                # after a leak in a codec a sound file would fail later: end here, and another child goes on
                last = _own_bytes() > base_bytes + job.cfg.worker_memory // 2
                pipe.send(("converted", (row, last)))
                pipe.send_bytes(data)
                if last:
                    return


@dataclass(frozen=True)
class _ReportingSource:
    """A source that tells the parent which file is read, and when its bytes are there."""

    source: Source
    pipe: Connection

    def read(self, entry: Entry) -> Buffer:
        self.pipe.send(("reading", entry.path))
        data = self.source.read(entry)
        self.pipe.send(("read", len(data)))
        return data

    def has(self, path: str) -> bool:
        return self.source.has(path)

    def fingerprint(self, path: str) -> Fingerprint:
        return self.source.fingerprint(path)


def _own_bytes() -> int:
    """The process's own memory, heap and anonymous mappings, in bytes; 0 where the system does not say."""
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData"))
    except (OSError, StopIteration):
        return 0


def _limit_memory(limit: int) -> None:
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _picklable(error: Exception) -> Exception:
    """`error`, or its text where it does not survive being sent."""
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:  # any constructor may want what pickle does not know
        copy = None
    return error if type(copy) is type(error) else RuntimeError(f"{type(error).__name__}: {error}")
