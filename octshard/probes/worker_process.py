"""The process of the probes, as the run sees it: started, given one snapshot at a time, ended with the run.

It has an interpreter of its own and the lowest priority. A worker that neither takes nor says anything for
run.probe_timeout_s has failed.
"""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import IO

from octshard.config.run import RunConfig
from octshard.probes.protocol import ALIVE, CONTROL, FAILED, ProbeJob, Weights, send_weights
from octshard.probes.task import ProbeScores

MODULE = "octshard.probes.worker"
NICE = 19  # the lowest priority
OF_THE_RUN = (  # variables that would make the worker one of the run's processes, or take its accelerators
    "WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "PJRT_DEVICE",
)  # fmt: skip
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
ENDING_S = 2.0  # for a process whose socket is closed to end by itself
TAIL_BYTES = 4096  # of what it wrote to stderr


class ProbeFailed(Exception):
    """A snapshot got no scores; the text says why."""


class WorkerProcess:
    """One worker. `judge` is for one thread; `kill` may be called by any. control: its scores, once known."""

    def __init__(self, job: ProbeJob) -> None:
        self._timeout_s, self.control = job.cfg.run.probe_timeout_s, job.control
        self._job: ProbeJob | None = job  # until it is sent
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
                ours.setsockopt(socket.SOL_SOCKET, option, _timeval(self._timeout_s))
            words = [MODULE, str(theirs.fileno()), str(os.getpid())]
            self._process = start(words, job.cfg.run, self._errors, [theirs.fileno()])
            self._pipe = Connection(ours.detach())

    def judge(self, weights: Weights) -> ProbeScores:
        """The scores of an encoder with these weights; ProbeFailed ends the process."""
        try:
            if self._job is not None:
                self._pipe.send(self._job)
                self._job = None
            send_weights(self._pipe, weights)
            while True:
                kind, value = self._pipe.recv()
                if kind == FAILED:
                    raise ProbeFailed(value)
                if kind == CONTROL:
                    self.control = value
                elif kind != ALIVE:
                    scores: ProbeScores = value
                    return scores
        except BlockingIOError:
            self.end()
            raise ProbeFailed(f"its process said nothing for {self._timeout_s:g} s") from None
        except (EOFError, OSError):
            raise ProbeFailed(self._death()) from None
        except ProbeFailed:
            self.end()
            raise

    def kill(self) -> None:
        """Ends the process at once; a thread that waits in `judge` wakes up."""
        self._process.kill()

    def end(self) -> None:
        """Ends the process, and gives back what it held."""
        self._process.kill()
        self._process.wait()
        self._pipe.close()
        self._errors.close()

    def _death(self) -> str:
        """How the process ended, and the last line that it wrote."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDING_S)
        code = self._process.poll()
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - TAIL_BYTES))
        lines = self._errors.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        self.end()
        if code is not None and code < 0:
            return f"its process was killed by {signal.Signals(-code).name}"
        return f"its process ended with exit code {code}" + (f" ({last[:200]})" if last else "")


def start(
    words: Sequence[str], run: RunConfig, stderr: IO[bytes], descriptors: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """`python -m WORDS` at the lowest priority, which has these descriptors too.

    In a group of its own, as the terminal's Ctrl-C is for the run. In no session of its own: Linux shares the
    CPU between sessions first, and the priority would count for nothing.
    """
    process = subprocess.Popen(
        [sys.executable or "python3", "-P", "-m", *words],
        pass_fds=descriptors, env=environment(run), process_group=0,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
    )  # fmt: skip
    with contextlib.suppress(OSError):  # it has ended already
        os.setpriority(os.PRIO_PROCESS, process.pid, NICE)
    return process


def environment(run: RunConfig) -> dict[str, str]:
    """The worker's: the modules of this process, few threads, its own device, and no part in the run."""
    others = {name: value for name, value in os.environ.items() if name not in OF_THE_RUN}
    folders = [path or os.getcwd() for path in sys.path]
    return {
        **others,
        **{name: str(run.probe_threads) for name in THREADS},
        "PYTHONPATH": os.pathsep.join(folders),
        "CUDA_VISIBLE_DEVICES": visible_gpu(run.probe_device),
    }


def visible_gpu(device: str) -> str:
    """CUDA_VISIBLE_DEVICES of a process that is to see `device` alone, as this process numbers them."""
    if device == "cpu":
        return ""
    number = int(device.removeprefix("cuda:"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[number] if visible else str(number)


def _timeval(seconds: float) -> bytes:
    """struct timeval."""
    return struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
