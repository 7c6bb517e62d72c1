"""One way to show progress: a rich bar on a terminal, plain lines elsewhere (logs, CI)."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

PLAIN_EVERY_S = 10.0  # at most one plain line so often

Advance = Callable[[int, int, str], None]  # (done, total, note); the total may become known later


def shown(metrics: Mapping[str, Any]) -> str:
    """The few metrics of training that a progress line has room for."""
    names = {
        "loss": "loss",
        "val_loss": "val_loss",
        "rank": "rank",
        "volumes_per_s_per_device": "volumes/s/device",
    }
    return "  ".join(f"{text} {metrics[name]:.3g}" for name, text in names.items() if name in metrics)


def duration(seconds: float) -> str:
    """A length of time in its greatest fitting unit: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextlib.contextmanager
def progress(title: str) -> Iterator[Advance]:
    """Gives `advance(done, total, note)`; the last state is always shown."""
    with (_bar if sys.stderr.isatty() else _lines)(title) as advance:
        yield advance


@contextlib.contextmanager
def _bar(title: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None, note="")
        yield lambda done, total, note: bar.update(task, completed=done, total=total, note=note)


@contextlib.contextmanager
def _lines(title: str) -> Iterator[Advance]:
    started, written_at = time.monotonic(), float("-inf")
    written = latest = ""
    first, began = (
        0,
        started,
    )  # what was done (by an earlier run, perhaps) when a job began, and when that was
    now = (0, 0)  # (done, total)

    def write() -> None:
        nonlocal written_at, written
        written_at, written = time.monotonic(), latest
        sys.stderr.write(f"{latest} ({written_at - started:.0f} s{left(written_at - began)})\n")
        sys.stderr.flush()

    def left(seconds: float) -> str:
        done, total = now
        if not first < done < total:
            return ""
        return f", about {duration(seconds * (total - done) / (done - first))} left"

    def advance(done: int, total: int, note: str) -> None:
        nonlocal latest, first, began, now
        if now == (0, 0) or done < now[0]:  # the next of several jobs counts anew
            first, began = done, time.monotonic()
        now = (done, total)
        latest = f"{title}: {done}/{total} {note}".rstrip()
        if latest != written and time.monotonic() - written_at >= PLAIN_EVERY_S:
            write()

    try:
        yield advance
    finally:
        if latest != written:
            write()
