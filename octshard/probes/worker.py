"""What runs in the process of the probes: snapshots come in, scores go out, until the run is gone.

`python -m octshard.probes.worker DESCRIPTOR PARENT`: of its end of a socket; `worker_process` starts it.
"""

import dataclasses
import os
import select
import signal
import sys
import textwrap
import threading
from contextlib import suppress
from multiprocessing.connection import Connection

from octshard.config.train import TrainConfig
from octshard.devices import select as devices
from octshard.models.encoder import random_encoder
from octshard.probes.embedding import embed
from octshard.probes.judge import judge
from octshard.probes.protocol import ALIVE, CONTROL, FAILED, SCORES, ProbeJob, Weights, receive_weights
from octshard.probes.task import ProbeScores
from octshard.rng import seed_for

READ_AHEAD_BYTES = 64_000_000
LOOK_MS = 1000
LONGEST_LINE = 300


def serve(pipe: Connection) -> None:
    """Answers each snapshot by its scores, before the first by those of the control; or says what failed.

    After every batch it says that it is alive.
    """
    job: ProbeJob = pipe.recv()
    probe, control = _Probe(job, pipe), job.control
    while True:
        weights = receive_weights(pipe)
        try:
            if control is None:
                control = probe.scores(probe.random_weights)
                pipe.send((CONTROL, control))
            pipe.send((SCORES, probe.scores(weights)))
        except Exception as error:  # whatever it is, the run says it in one line and goes on
            pipe.send((FAILED, textwrap.shorten(f"{type(error).__name__}: {error}", LONGEST_LINE)))


class _Probe:
    """An encoder on the device of the probes, and the volumes that it is judged on."""

    def __init__(self, job: ProbeJob, pipe: Connection) -> None:
        self._task, self._pipe, self._cfg = job.task, pipe, probe_config(job.cfg)
        self._backend = devices.open_backend(self._cfg.run)
        encoder = random_encoder(self._cfg, seed_for("probe", "random"))
        self.random_weights = {name: t.clone() for name, t in encoder.state_dict().items()}
        self._encoder = encoder.to(self._backend.device)

    def scores(self, weights: Weights) -> ProbeScores:
        """Those of an encoder with these weights."""
        self._encoder.load_state_dict(dict(weights))
        train_NF, val_MF = (
            embed(self._encoder, volumes, self._cfg, self._backend, self._alive)
            for volumes in (self._task.train, self._task.val)
        )
        return judge(self._task, train_NF, val_MF)

    def _alive(self) -> None:
        self._pipe.send((ALIVE, None))


def probe_config(cfg: TrainConfig) -> TrainConfig:
    """The config of the run for the process of its probes: its device and threads, and little memory."""
    cuda, threads = cfg.run.probe_device != "cpu", cfg.run.probe_threads
    run = dataclasses.replace(
        cfg.run, device="cuda" if cuda else "cpu", compile=False, cpu_threads=threads,
        precision=cfg.run.precision if cuda else "fp32",  # bf16 is slow on a CPU without instructions for it
    )  # fmt: skip
    data = dataclasses.replace(
        cfg.data, threads=threads, prefetch_bytes=0, connections=1, read_ahead_bytes=READ_AHEAD_BYTES
    )
    return dataclasses.replace(cfg, run=run, data=data)


def end_with(descriptor: int, parent: int) -> None:
    """Ends this process once the other end of its socket is closed, or its parent is another one."""
    poll = select.poll()
    poll.register(descriptor, 0)  # only that it hangs up
    while not poll.poll(LOOK_MS) and os.getppid() == parent:
        pass
    os._exit(1)


def main() -> None:
    """The process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run answers it
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=end_with, args=(descriptor, parent), daemon=True).start()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the run is gone
        serve(Connection(descriptor))


if __name__ == "__main__":
    main()
