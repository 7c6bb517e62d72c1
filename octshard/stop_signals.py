"""SIGINT (Ctrl-C) and SIGTERM: the work answers the first one; a second one ends the process at once.

The exit code is 128 + the signal in both cases, as in a shell: 130 and 143.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SHELL_BASE = 128  # a shell's exit code of a process that a signal ended, less the signal
ECHO_S = 2.0  # torchrun passes on, within this time, a Ctrl-C that the terminal has sent to all


class Interrupted(KeyboardInterrupt):
    """A signal that ends the work wherever it is."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"by {signal.Signals(signum).name}")
        self.signum = signum


@contextmanager
def on_first_signal(answer: Callable[[int], None]) -> Iterator[None]:
    """Within the block the first SIGINT or SIGTERM calls answer(signum). Only a main thread can listen."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    times: list[float] = []

    def handle(signum: int, frame: Any) -> None:
        if not times:
            times.append(time.monotonic())
            answer(signum)
        elif not _is_echo(time.monotonic() - times[0]):
            os._exit(SHELL_BASE + signum)

    previous = {signum: signal.signal(signum, handle) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def interrupt(signum: int) -> NoReturn:
    """Raises Interrupted: the answer of work that has nothing to save."""
    raise Interrupted(signum)


def _is_echo(seconds: float) -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ and seconds < ECHO_S
