"""Paths of scans: that of a file, and behind # which scan of it is meant where a file may hold several."""

import re

SCAN_OF = re.compile(r"(.+\.(?:e2e|sdb))#(\d+)", re.IGNORECASE)  # exam.E2E#12: series 12 of exam.E2E


def file_of(path: str) -> str:
    """The path of the file that holds the scan."""
    match = SCAN_OF.fullmatch(path)
    return path if match is None else match[1]


def series_of(path: str) -> int | None:
    """The series that is meant; None if the path names a file alone."""
    match = SCAN_OF.fullmatch(path)
    return None if match is None else int(match[2])
