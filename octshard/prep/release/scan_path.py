"""Paths of scans: that of a file, and behind # which scan of it is meant where a file may hold several.

One that ends in / is a folder that is one scan, an image for each B-scan.
"""

import re

from octshard.prep.release import zip_path

SERIES_OF = re.compile(r"(.+\.(?:e2e|sdb))#(\d+)", re.IGNORECASE)  # exam.E2E#12: series 12 of exam.E2E
VOLUME_OF = re.compile(r"(.+)#volume-([0-9]+)", re.DOTALL)  # a.dcm#volume-2: the second one in a DICOM file


def file_of(path: str) -> str:
    """The path of the file that holds the scan."""
    match = SERIES_OF.fullmatch(path) or VOLUME_OF.fullmatch(path)
    return path if match is None else match[1]


def series_of(path: str) -> int | None:
    """The series that is meant; None if the path names none."""
    match = SERIES_OF.fullmatch(path)
    return None if match is None else int(match[2])


def volume_of(path: str) -> int | None:
    """The number of the volume that is meant, from 1; None if the path names none."""
    match = VOLUME_OF.fullmatch(path)
    return None if match is None else int(match[2])


def scan_of(path: str) -> str:
    """Which scan of the file is meant, in one spelling; empty if the path names a file alone."""
    series, volume = series_of(path), volume_of(path)
    if series is not None:
        return str(series)
    return "" if volume is None else name_of_volume(volume)


def name_of_volume(number: int) -> str:
    """What stands behind the # of `volume_of`."""
    return f"volume-{number}"


def is_folder(path: str) -> bool:
    """True if a folder is the scan."""
    return path.endswith("/")


def folders_above(path: str) -> list[str]:
    """Names of the folders above the scan, the outermost first; a ZIP is one, without its ending."""
    return [zip_path.stem(name) for name in path.rstrip("/").split("/")[:-1]]
