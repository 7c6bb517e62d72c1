"""Counts the rows of a device: how far a run is, how fast, and whether too many files are refused."""

import math
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from octshard.dataset.tables import SampleRow
from octshard.errors import OctshardError, UsageError
from octshard.progress import OnProgress


@dataclass
class ProgressCounter:
    """Counts rows by status and reports them; fresh and bytes_read are of this run alone."""

    device: str
    total: int
    on_progress: OnProgress
    most_refused: int | None
    by_status: Counter[str] = field(default_factory=Counter)
    fresh: int = 0
    bytes_read: int = 0
    started: float = field(default_factory=time.monotonic)
    lock: Any = field(default_factory=threading.Lock)  # several shards add at the same time

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return max(time.monotonic() - self.started, 1e-3)

    def add_kept(self, rows: Iterable[SampleRow]) -> None:
        """Rows of an earlier run."""
        self.by_status.update(row.status for row in rows)
        self._report()

    def add(self, row: SampleRow) -> None:
        """A row of this run; OctshardError once more than most_refused are refused."""
        with self.lock:
            self.fresh, self.bytes_read = self.fresh + 1, self.bytes_read + (row.source_bytes or 0)
            self.by_status[row.status] += 1
            self._report()

    def subtract(self, rows: Iterable[SampleRow]) -> None:
        """Rows of shards that are built again."""
        self.by_status.subtract(row.status for row in rows)

    def _report(self) -> None:
        refused = self.by_status["refused"]
        rate, megabytes = self.fresh / self.seconds, self.bytes_read / self.seconds / 1e6
        note = f"{self.device}, {refused} refused, {rate:.1f} files/s, {megabytes:.0f} MB/s"
        self.on_progress(self.by_status["ok"] + refused, self.total, note)
        if self.most_refused is not None and refused > self.most_refused:
            raise OctshardError(
                f"{self.device}: {refused} of {self.by_status.total()} files are refused so far, want at "
                f"most {self.most_refused} (max_refused); what is done is kept, so raise it to go on"
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
