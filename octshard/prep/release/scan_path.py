"""Paths of scans: that of a file, and behind # which scan of it is meant where a file may hold several.

One that ends in / is a folder that is one scan, an image for each B-scan.
"""

import re

from octshard.errors import UsageError
from octshard.prep.release import zip_path

HOME, STRUCTURAL = "retinal_oct", "structural_oct"  # folders of a release: of both tables, of devices
OWN = re.compile(  # names of what prep and its locks write beside scans
    r"lock|\..*\.(lock|json|partial).*|(manifest|participants)\.tsv|(plan|dataset|run)\.json"
    r"|(samples|shards)\.parquet|.*\.(done\.json|rows\.parquet)|(train|val|test)-\d+\.tar",
    re.IGNORECASE,
)

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


def relative_path(text: str, location: str) -> str:
    """A filepath below the release root: no leading slash, no `dataset/`; a last one means a folder.

    UsageError for one with `..`, and for a name of our own files: a scan is neither read from nor unpacked
    to a lock, a journal or a table.
    """
    parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts or any(":" in part for part in parts[:1]):
        raise UsageError(f"{location}: filepath {text!r} leaves the release, want a path below its root")
    if own := next(filter(OWN.fullmatch, parts), ""):
        raise UsageError(f"{location}: filepath {text!r} names {own}, a file of octshard's own; want a scan")
    path = "/".join(parts[1:] if parts[:1] == ["dataset"] else parts)
    return f"{path}/" if path and text.endswith(("/", "\\")) else path
