"""The text beside a file of bare numbers: lines of `key=value` or `key: value`, in [sections].

Such texts name patients too: only values that a reader asks for by their keys are taken out of them.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from octshard.prep.readers.scan_bytes import ScanBytes
from octshard.prep.refusals import Refused
from octshard.prep.release import companion_names

LONGEST = 2**20  # bytes
SECTION = re.compile(r"\[(.*)\]")
COUNT = re.compile(r"\d{1,9}", re.ASCII)
MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}


class Line(NamedTuple):
    """section: of the last [section] above, or empty; key: in lower case, one blank between its words."""

    section: str
    key: str
    value: str


def beside(file: ScanBytes) -> list[Line]:
    """The lines of the text that is called as the file is; none if there is no such text."""
    data = next(filter(None, map(file.find, names_beside(file.name))), b"")
    return list(_lines(bytes(data[:LONGEST])))


def names_beside(name: str) -> list[str]:
    """What such a text may be called."""
    stem, dot, _ = name.rpartition("/")[2].rpartition(".")
    return [stem + ending for ending in companion_names.TEXTS] if dot and stem else []


def count(line: Line) -> int:
    """A whole number; Refused `unreadable` for anything else."""
    if COUNT.fullmatch(line.value) is None:
        raise Refused("unreadable", f"{line.key} in the text beside it is no whole number")
    return int(line.value)


def _lines(data: bytes) -> Iterator[Line]:
    section = ""
    coding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "latin-1")
    for text in data.decode(coding, "replace").splitlines():
        if header := SECTION.fullmatch(text.strip()):
            section = header[1].strip()
            continue
        key, mark, value = text.partition("=" if "=" in text else ":")
        if mark and (words := key.split()):
            yield Line(section, " ".join(words).lower(), value.strip())
