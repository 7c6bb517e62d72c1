"""What a reader is given: the bytes of a file, what it is called, and the files that lie beside it."""

import re
from collections.abc import Callable
from typing import NamedTuple

from octshard.prep.refusals import Refused
from octshard.storage.checksum import Buffer

INSIDE = re.compile(r"(?!\.\.?\Z)(?![A-Za-z]:)[^/\\\0]+")  # the name of a file in the same folder


def nothing_beside(name: str) -> Buffer:
    """For bytes that lie in no folder."""
    raise FileNotFoundError(name)


class ScanBytes(NamedTuple):
    """axes: what the manifest says of them, as `d`, `h` and `w` in the order of the file; empty: nothing."""

    data: Buffer
    name: str = ""  # with or without folders; a hint, where content alone cannot tell
    axes: str = ""
    folder: Callable[[str], Buffer] = nothing_beside  # FileNotFoundError where there is no such file
    parts: tuple[str, ...] = ()  # names of the other files of the scan, in the same folder
    keep: bool = False  # more than 8 bits are wanted, where a format's own display has 8

    def find(self, name: str) -> Buffer | None:
        """The file of this name in the same folder, or None."""
        if not INSIDE.fullmatch(name):
            return None
        try:
            return self.folder(name)
        except FileNotFoundError:
            return None

    def beside(self, name: str) -> Buffer:
        """The file of this name in the same folder; Refused if it is elsewhere, or not there."""
        if not INSIDE.fullmatch(name):
            raise Refused("unreadable", "its pixels are said to lie in another folder, want them beside it")
        try:
            return self.folder(name)
        except FileNotFoundError:
            detail = f"its pixels are said to lie in {name}, which is not there"
            raise Refused("no_pixel_data", detail, (name,)) from None
