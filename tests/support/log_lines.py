"""What a run logs, as the CLI shows it."""

import contextlib
import logging
from collections.abc import Iterator

from octshard.progress import StderrHandler


class LogLines(StderrHandler):
    """Keeps the lines that the CLI would write to stderr."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextlib.contextmanager
def log_lines() -> Iterator[list[str]]:
    """The lines that the logger `octshard` gets within the block."""
    log, handler = logging.getLogger("octshard"), LogLines()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield handler.lines
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
