"""Progress and log lines on a terminal: a rich bar with lines above it, plain lines elsewhere (logs, CI)."""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from octshard.printable import printable

PLAIN_EVERY_S = 10.0  # seconds between two plain lines, at least

OnProgress = Callable[[int, int, str], None]  # (done, total, note); the total may change

_console: Any = None  # the rich console of the bar on the screen


def no_progress(done: int, total: int, note: str) -> None:
    """An OnProgress that shows nothing."""


def duration(seconds: float) -> str:
    """Seconds in a unit of their size: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextlib.contextmanager
def progress(title: str) -> Iterator[OnProgress]:
    """Yields `on_progress(done, total, note)`; the last state is always shown."""
    with (_bar if sys.stderr and sys.stderr.isatty() else _lines)(title) as on_progress:
        yield on_progress


class StderrHandler(logging.Handler):
    """Log records as lines on stderr: above the progress bar if one is shown, never into it."""

    def format(self, record: logging.LogRecord) -> str:
        text = printable(record.getMessage(), keep="\n")
        return text if record.levelno <= logging.INFO else f"{record.levelname} {text}"

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        if _console is not None:
            with contextlib.suppress(OSError):
                _console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            write_line(line)


def write_line(line: str) -> None:
    """On stderr. Where it is full or closed the line is lost, and the work goes on."""
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


@contextlib.contextmanager
def _bar(title: str) -> Iterator[OnProgress]:
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
        TextColumn("{task.description:<22}", markup=False), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}", markup=False),
    )  # fmt: skip
    bar = Progress(*columns, console=Console(stderr=True))

    def on_progress(done: int, total: int, note: str) -> None:
        global _console
        note = printable(note)
        if _console is not bar.console:  # the first call: what is logged before it needs no bar
            bar.add_task(printable(title), total=total, note=note)
            _console = bar.console
            bar.start()
        bar.update(bar.task_ids[0], completed=done, total=total, note=note)

    try:
        yield on_progress
    finally:
        _close(bar)


def _close(bar: Any) -> None:
    global _console
    if _console is bar.console:
        _console = None
        bar.stop()


@contextlib.contextmanager
def _lines(title: str) -> Iterator[OnProgress]:
    start, written_at = time.monotonic(), float("-inf")
    written = latest = ""
    first_done, first_at = 0, start  # of the current task: what an earlier run had done, and the time
    done_and_total = (0, 0)

    def write() -> None:
        nonlocal written_at, written
        written_at, written = time.monotonic(), latest
        write_line(f"{latest} ({written_at - start:.0f} s{remaining(written_at - first_at)})")

    def remaining(seconds: float) -> str:
        done, total = done_and_total
        if not first_done < done < total:
            return ""
        return f", about {duration(seconds * (total - done) / (done - first_done))} left"

    def on_progress(done: int, total: int, note: str) -> None:
        nonlocal latest, first_done, first_at, done_and_total
        if done_and_total == (0, 0) or done < done_and_total[0]:  # the next of several tasks starts to count
            first_done, first_at = done, time.monotonic()
        done_and_total = (done, total)
        latest = printable(f"{title}: {done}/{total} {note}".rstrip())
        if latest != written and time.monotonic() - written_at >= PLAIN_EVERY_S:
            write()

    try:
        yield on_progress
    finally:
        if latest != written:
            write()
