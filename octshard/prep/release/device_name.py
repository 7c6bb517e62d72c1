"""The name of a device: of its folder in DST, and what --device asks for."""

import re

from octshard.errors import UsageError

LONGEST = 64
SAFE = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,{LONGEST - 1}}}", re.ASCII)
ALL = "all"  # what --device takes for every device


def check(name: str, location: str) -> str:
    """`name`, if it can be a folder beside those of other devices; else a UsageError."""
    if SAFE.fullmatch(name) and name.lower() != ALL:
        return name
    raise UsageError(
        f"{location}: device {name!r:.99} names a folder of DST; want at most {LONGEST} of A-Z a-z 0-9 _ -, "
        f"such as topcon_triton; not {ALL}"
    )


def of_text(text: str) -> str:
    """A safe name made of any text, in small letters; empty if it has no letter or digit of ASCII."""
    words = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:LONGEST].strip("_")
    return f"{words}_device" if words == ALL else words
