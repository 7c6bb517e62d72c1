"""When to stop: a signal to any process stops all of them, after the same step, within a second or two.

No step waits for it. A thread in each process looks into the store that all of them reach; once a signal is
there, each promises the step that it is at, and all stop after the greatest of these.
"""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch.distributed as dist

from octshard import stop_signals
from octshard.devices.backend import Backend

LOOK_S, ANSWER_S = 0.5, 0.1  # between two looks: for a signal, for the promises of the others
LOST_S = 30.0  # without a promise of the others: they are gone, and this process stops alone
PATIENCE_S = 10.0  # for data of the last steps, once all have agreed
SIGNAL = "signal"
EARLY_STOP = -1  # in place of a signal: the run has found its end

_numbers = itertools.count()  # of agreements: those of one process share a store, and never their keys


class StopAgreement:
    """signum: the signal that stops the run, of whichever process; 0: none came."""

    def __init__(self, backend: Backend, step: int) -> None:
        self.signum = 0
        self._index, self._count = backend.process_index, backend.process_count
        self._store = dist.PrefixStore(f"stop-{next(_numbers)}", backend.store) if backend.store else None
        self._lock = threading.Lock()
        self._step = step + 1  # that is being made
        self._promise: int | None = None
        self._last_step: int | None = None
        self._agreed_at = 0.0
        self._answered, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stop", daemon=True)
        if self._store is not None:
            self._thread.start()

    def request(self, signum: int) -> None:
        """Asks all to stop. For signal handlers: it takes no lock and writes nothing."""
        self.signum = self.signum or signum

    def stops_after(self, step: int) -> bool:
        """True if `step` is the last one. Waits only once a stop was asked for, and only for the answers."""
        if self._store is None:
            return self.signum != 0
        with self._lock:
            if self._promise is None:
                self._step = step + 1
                return False
        self._answered.wait(LOST_S)
        return self._last_step is None or step >= self._last_step

    def ends_by_signal(self, step: int) -> bool:
        """True once all know that a signal makes `step` the last one. Waits for nothing."""
        if self._store is None:
            return self.signum > 0
        return self.signum > 0 and self._last_step is not None and step >= self._last_step

    def waits_in_vain(self) -> bool:
        """True if a stop was asked for and data that the loop waits for need not come any more."""
        if self._store is None:
            return self.signum != 0
        return self._answered.is_set() and time.monotonic() - self._agreed_at > PATIENCE_S

    def close(self) -> None:
        """Ends the thread. A process that is through promises no further step, lest others wait for it."""
        self._closed.set()
        if self._store is not None and self._thread.is_alive():
            self._thread.join()
        if self._store is not None and self._promise is None:
            with suppress(dist.DistError):  # the process that keeps the store has left
                self._store.set(str(self._index), str(self._step - 1))

    def _watch(self) -> None:
        try:
            while not self._closed.wait(LOOK_S):
                if self._signalled():
                    self._agree()
                    return
        except dist.DistError:  # the process that keeps the store has left
            self._store = None
        finally:
            self._agreed_at = time.monotonic()
            self._answered.set()

    def _signalled(self) -> bool:
        assert self._store is not None
        if self._store.check([SIGNAL]):
            self.signum = int(self._store.get(SIGNAL))
            return True
        if self.signum:
            self._store.set(SIGNAL, str(self.signum))
        return self.signum != 0

    def _agree(self) -> None:
        assert self._store is not None
        with self._lock:
            self._promise = self._step
        self._store.set(str(self._index), str(self._promise))
        everyone = [str(index) for index in range(self._count)]
        while not self._store.check(everyone):
            if self._closed.wait(ANSWER_S):
                return
        self._last_step = max(int(self._store.get(index)) for index in everyone)


@contextmanager
def open_agreement(backend: Backend, step: int) -> Iterator[StopAgreement]:
    """Listens to SIGINT and SIGTERM within the block. step: the last one that was made."""
    agreement = StopAgreement(backend, step)
    try:
        with stop_signals.on_first_signal(agreement.request):
            yield agreement
    finally:
        agreement.close()
