"""Names that stand for paths where these are private: in tables, shards, pages and logs."""

import re
from collections.abc import Iterable

from octshard.errors import UsageError

SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}", re.ASCII)


def check(named: Iterable[tuple[str, str]], url: str) -> None:
    """UsageError unless all paths have one, each its own, or none has. named: (path, source_id) of rows."""
    path_of: dict[str, str] = {}
    without = ""
    for path, name in named:
        if not name:
            without = without or path
            continue
        if not SAFE.fullmatch(name):
            raise UsageError(f"{url}: source_id {name!r:.99}, want at most 80 of A-Z a-z 0-9 _ . -")
        if (first := path_of.setdefault(name, path)) != path:
            raise UsageError(f"{url}: source_id {name} is of {first} and of {path}, want one for each file")
    if path_of and without:
        raise UsageError(
            f"{url}: {without} has no source_id, and other files have one; want one for every file, or no "
            "such column"
        )
