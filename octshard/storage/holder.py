"""Who holds a lock: what stands in it, and what an error line says of it."""

import dataclasses
import json
import os
import socket
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from octshard.errors import OctshardError


@dataclass(frozen=True)
class Holder:
    """One run. token: unique; place: the boot and PID namespace in which `pid` means something.

    time is for people who look at the lock: no clock of another machine decides anything.
    """

    token: str
    host: str
    place: str
    pid: int
    time: float
    beat: int = 0  # renewals so far, so that no two contents are equal

    def now(self) -> "Holder":
        """The same run a moment later."""
        return dataclasses.replace(self, time=time.time())

    def next(self) -> "Holder":
        """The same run at its next renewal."""
        return dataclasses.replace(self.now(), beat=self.beat + 1)

    def encode(self) -> bytes:
        """What stands in the lock."""
        return json.dumps(dataclasses.asdict(self)).encode()

    def is_dead(self) -> bool:
        """True if it was a process of this machine that has ended."""
        return self.place == _process_namespace() and not Path(f"/proc/{self.pid}").exists()


def this_process() -> Holder:
    """A new holder: this process."""
    return Holder(uuid.uuid4().hex, socket.gethostname(), _process_namespace(), os.getpid(), time.time())


def decode(data: bytes) -> Holder | None:
    """The holder that a lock names; None if it is no lock."""
    try:
        values = json.loads(data)
        if not isinstance(values["token"], str) or not isinstance(values["time"], int | float):
            return None
        return Holder(
            values["token"],
            str(values.get("host", "")),
            str(values.get("place", "")),
            int(values.get("pid", 0)),
            float(values["time"]),
            int(values.get("beat", 0)),
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def held_error(url: str, holder: Holder | None) -> OctshardError:
    """The error that another run is writing."""
    who = f"process {holder.pid} on {holder.host}" if holder and holder.host else "another process"
    return OctshardError(f"{url}: {who} is writing here, want one writer per target; wait for it or stop it")


def _process_namespace() -> str:
    """Identifies one boot of a kernel and one PID namespace, in which process ids are comparable."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"unknown {uuid.uuid4().hex}"
