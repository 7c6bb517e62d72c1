"""Several processes begin alike, or all of them end, and the line of each names the odd one out.

They meet in the store that all reach, before anything communicates: a process that failed, or that never
came, keeps nobody waiting for ever.
"""

import json
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import torch.distributed as dist

from octshard.devices.backend import Backend
from octshard.errors import OctshardError, UsageError

LOOK_S = 0.1  # between two looks at what the others have said
LINGER_S = 10.0  # the process that may keep the store leaves it open for those who still read
SHOWN = 4  # differences that the line names at most


class Start(NamedTuple):
    """What one process begins with. facts: what must be the same in all, by name."""

    host: str
    facts: Mapping[str, Any]


class Difference(NamedTuple):
    """A process that has another `value` than most. other: who has `usual`; None for several."""

    process: int
    name: str
    value: Any
    usual: Any
    other: int | None


class StartAgreement:
    """That of this process with the others of its run."""

    def __init__(self, backend: Backend, timeout_s: float) -> None:
        self._index, self._count = backend.process_index, backend.process_count
        self._store = dist.PrefixStore("start", backend.store) if backend.store else None
        self._timeout_s = timeout_s
        self._over = self._store is None

    def check(self, facts: Mapping[str, Any]) -> None:
        """UsageError if the facts of the others are not the same; OctshardError if one of them failed, or did
        not come in time. Waits for all.
        """
        if self._store is None:
            return
        try:
            self._store.set(f"start-{self._index}", json.dumps([socket.gethostname(), facts], default=str))
            self._wait_for_all()
            starts = [Start(*json.loads(self._store.get(f"start-{i}"))) for i in range(self._count)]
        except dist.DistError as error:
            raise OctshardError(
                f"process 0 of {self._count} has left, and with it the store that all share: look at what it "
                f"said last"
            ) from error
        self._leave()
        if odd := differences([start.facts for start in starts]):
            raise UsageError(difference_line(odd, [start.host for start in starts]))

    def tell_failure(self, error: BaseException) -> None:
        """Tells the others, as long as they wait for this process, why it does not come."""
        if self._store is None or self._over:
            return
        line = " ".join(str(error).split()) or type(error).__name__
        with suppress(dist.DistError):  # the process that keeps the store has left
            self._store.set(f"failed-{self._index}", f"{socket.gethostname()}: {line}")
        self._leave()

    def _wait_for_all(self) -> None:
        assert self._store is not None
        deadline = time.monotonic() + self._timeout_s
        absent = list(range(self._count))
        while absent:
            for i in absent:
                if self._store.check([f"failed-{i}"]):
                    line = self._store.get(f"failed-{i}").decode()
                    self._leave()
                    raise OctshardError(f"process {i} of {self._count} failed at its start, on {line}")
            absent = [i for i in absent if not self._store.check([f"start-{i}"])]
            if absent and time.monotonic() > deadline:
                self._leave()
                names = ", ".join(map(str, absent))
                raise OctshardError(
                    f"process {names} of {self._count} has not come within run.start_timeout_s="
                    f"{self._timeout_s:g}: look at what it said last, on its own machine"
                )
            if absent:
                time.sleep(LOOK_S)

    def _leave(self) -> None:
        """Ends the agreement. The first process may keep the store, so it leaves last."""
        assert self._store is not None
        self._over = True
        with suppress(dist.DistError):
            self._store.set(f"left-{self._index}", "")
            deadline = time.monotonic() + LINGER_S
            everyone = [f"left-{i}" for i in range(self._count)]
            while self._index == 0 and not self._store.check(everyone) and time.monotonic() < deadline:
                time.sleep(LOOK_S)


@contextmanager
def open_start(backend: Backend, timeout_s: float) -> Iterator[StartAgreement]:
    """A StartAgreement; an error within the block is told to processes that still wait for this one."""
    agreement = StartAgreement(backend, timeout_s)
    try:
        yield agreement
    except BaseException as error:
        agreement.tell_failure(error)
        raise


def differences(facts: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """Every fact of a process that is not what most have; of two halves that of the first process counts."""
    odd = []
    for name in dict.fromkeys(name for each in facts for name in each):
        values = [each.get(name) for each in facts]
        keys = [json.dumps(value, sort_keys=True) for value in values]
        usual, count = Counter(keys).most_common(1)[0]  # of equal counts the one that comes first
        other = keys.index(usual) if count == 1 or len(facts) == 2 else None
        odd += [
            Difference(i, name, value, values[keys.index(usual)], other)
            for i, value in enumerate(values)
            if keys[i] != usual
        ]
    return sorted(odd, key=lambda difference: difference.process)


def difference_line(odd: Sequence[Difference], hosts: Sequence[str]) -> str:
    """Which process has what, where the others have something else; and what to do."""
    parts = []
    for process, name, value, usual, other in odd[:SHOWN]:
        who = "the others have" if other is None else f"process {other} ({hosts[other]}) has"
        parts.append(f"process {process} ({hosts[process]}) has {name} {value}, {who} {usual}")
    more = f" and {len(odd) - SHOWN} more differences" if len(odd) > SHOWN else ""
    return (
        f"{len(hosts)} processes do not begin alike: {'; '.join(parts)}{more}; want the same octshard, "
        f"command, data and run.out in all"
    )
