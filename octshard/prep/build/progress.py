"""Rows of a device as they come: how far a run is, how fast, and whether too much is refused."""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from octshard.dataset.tables import SampleRow
from octshard.errors import OctshardError, UsageError


@dataclass(frozen=True)
class Progress:
    """How far one device is, in manifest rows; fresh, bytes_read and seconds are of this run alone."""

    device: str
    total: int
    stored: int
    refused: int
    fresh: int
    bytes_read: int
    seconds: float


@dataclass
class ProgressCounter:
    """Rows as they come, and what is said of them."""

    device: str
    total: int
    told: Callable[[Progress], None]
    most_refused: int | None
    seen: Counter[str] = field(default_factory=Counter)
    fresh: int = 0
    bytes_read: int = 0
    started: float = field(default_factory=time.monotonic)
    lock: Any = field(default_factory=threading.Lock)  # conductors tell at the same time

    def add_kept(self, rows: Iterable[SampleRow]) -> None:
        """Rows of an earlier run."""
        self.seen.update(row.status for row in rows)
        self._tell()

    def add(self, row: SampleRow) -> None:
        """A row of this run; OctshardError once more are refused than may be."""
        with self.lock:
            self.fresh, self.bytes_read = self.fresh + 1, self.bytes_read + (row.source_bytes or 0)
            self.seen[row.status] += 1
            self._tell()

    def subtract(self, rows: Iterable[SampleRow]) -> None:
        """Rows that will come once more."""
        self.seen.subtract(row.status for row in rows)

    def progress(self) -> Progress:
        """Where things stand."""
        done, refused = self.seen["ok"], self.seen["refused"]
        seconds = time.monotonic() - self.started
        return Progress(self.device, self.total, done, refused, self.fresh, self.bytes_read, seconds)

    def _tell(self) -> None:
        self.told(self.progress())
        refused = self.seen["refused"]
        if self.most_refused is not None and refused > self.most_refused:
            text = (
                f"{refused} of {self.seen.total()} files are refused so far, want at most {self.most_refused}"
            )
            raise OctshardError(
                f"{self.device}: {text} (max_refused); what is done is kept, so raise it to go on"
            )


def most_refused(text: str, total: int) -> int | None:
    """`12` or `5%` of the rows; empty: any number."""
    if not text:
        return None
    share = text.endswith("%")
    try:
        value = float(text.removesuffix("%")) * (total / 100 if share else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise UsageError(f"max_refused={text!r}: want a number of files or a share such as 5%")
    return int(value)
