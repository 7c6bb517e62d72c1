"""A reader whose files plant a bad decoder in the process that reads them."""

import ctypes
import os
import signal
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from octshard.prep.dicom import decode
from octshard.prep.release.entry import Entry
from octshard.prep.release.source import FolderSource
from octshard.storage.checksum import Buffer

FRAMES = decode.frames
KINDS = ("crash", "exit", "hang", "swell", "wrong", "cut")


@dataclass(frozen=True)
class Planted(FolderSource):
    """Unpacked files; what is done to the decoder is named by the UID or path. once: a folder that remembers.

    `cut` leaves the decoder alone: the process is killed when half of the slice is on the pipe.
    """

    kinds: dict[str, str] = field(default_factory=dict)
    once: str = ""

    def read(self, entry: Entry) -> Buffer:
        kind = self.kinds.get(entry.path) or self.kinds.get(entry.sop_instance_uid)
        decode.frames = FRAMES
        if kind and not self._done(entry):
            if kind == "cut":
                Connection.send_bytes = _cut  # type: ignore[assignment, method-assign]
            else:
                decode.frames = lambda *_: _bad(kind)
        return super().read(entry)

    def _done(self, entry: Entry) -> bool:
        """True the second time, if there is a folder to remember the first."""
        if not self.once:
            return False
        mark = Path(self.once) / entry.sop_instance_uid
        done = mark.exists()
        mark.touch()
        return done


def _cut(self: Connection, data: bytes) -> None:
    os.write(self.fileno(), struct.pack("!i", len(data)) + data[: len(data) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


def _bad(kind: str) -> Iterator[np.ndarray]:
    if kind == "crash":
        ctypes.string_at(0)  # a null pointer is read: SIGSEGV
    elif kind == "exit":
        os._exit(7)
    elif kind == "hang":
        time.sleep(3600)
    elif kind == "swell":
        yield np.ones(2**40, np.uint8)
    raise ZeroDivisionError("a bug of ours")
