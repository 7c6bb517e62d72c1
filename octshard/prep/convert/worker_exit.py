"""Why a worker process ended: by what its file did to it, or from outside, which says nothing of the file."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from octshard import pool
from octshard.errors import OctshardError

CRASHES = {  # signals that a process gets for what it does itself; any other comes from outside
    signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGSYS,
    signal.SIGTRAP,
}  # fmt: skip
SERVER_GONE = 255  # the exit code of a child whose fork server ended first, says multiprocessing
VMSTAT = Path("/proc/vmstat")


class WorkerDied(Exception):
    """A child did not survive a file; `reason` is a refusal's, `path` that of what it read last, or empty."""

    def __init__(self, reason: str, detail: str, path: str) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.path = reason, detail, path


class WorkerKilled(Exception):
    """A child was ended from outside while it had a file; the text says by what."""


def oom_kills(vmstat: Path = VMSTAT) -> int:
    """Processes that the kernel has killed for want of memory; 0 where it does not say. vmstat: proc(5)."""
    try:
        lines = vmstat.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


@dataclass(frozen=True)
class FileInHand:
    """What a child was at: the path it read last, or empty; its fork server, or 0 before it was ready."""

    path: str
    server: int
    oom_kills: int  # before it was given the file


def cause(code: int, file: FileInHand) -> WorkerDied | WorkerKilled:
    """What an exit code of multiprocessing means; an OctshardError is raised if no file had a part in it."""
    if code == SERVER_GONE and not (file.server and _is_alive(file.server)):
        return WorkerKilled("the server of its worker process was ended from outside")
    if code > 0 and not file.server:
        raise OctshardError(pool.NOT_STARTED)
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit code {code}"
    if code >= 0 or -code in CRASHES:
        return WorkerDied("decoder_crash", f"its process ended by {name}", file.path)
    if -code == signal.SIGKILL and oom_kills() > file.oom_kills:
        text = f"its process ended by {name}, because the machine ran out of memory"
        return WorkerDied("decoder_crash", text, file.path)
    return WorkerKilled(f"its worker process was ended from outside by {name}")


def _is_alive(child: int) -> bool:
    """True for a process of ours that has not ended; it is not reaped."""
    try:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
