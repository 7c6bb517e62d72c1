"""What was found in each file, kept beside the manifest, so that a file is read again only when it changed.

A folder of parts, each a few thousand lines in the order of the walk. A run goes by the parts of all earlier
ones. As long as it finds what the last one found it writes nothing; then it writes parts of a generation of
its own, and when it is done it removes the others. A killed run leaves what it had found.
"""

import heapq
import json
import logging
import re
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from octshard.prep.index.look import UNREAD, Finding
from octshard.prep.index.place import Key, Place
from octshard.storage import checksum, store

logger = logging.getLogger(__name__)

PART_LINES, PART_S = 4096, 5.0  # a part is put when it has so many lines, or is so old
# generation, number, digest of what was asked, xxh3 of the part
_PART = re.compile(r"\d{6}-\d{6}-([0-9a-f]{16})-([0-9a-f]{16})\.jsonl", re.ASCII)
_WIDTH = Place._fields.index("member")  # of a line; where a member lies in its ZIP may change
_quoted = json.encoder.encode_basestring_ascii  # letters that are no text become escapes


class Record(NamedTuple):
    """A file as it was when it was looked at, as one line of text."""

    line: str

    @staticmethod
    def of(place: Place, finding: Finding) -> "Record":
        """With its line."""
        return Record(f"{_start(place)}{','.join(map(_quoted, finding))}]")

    def read(self) -> tuple[Place, Finding]:
        """What stands in the line."""
        values = json.loads(self.line)
        return Place(*values[:_WIDTH]), Finding(*values[_WIDTH:])


class Journal:
    """In the folder `url`. asked: a digest of what decides a finding; parts of another one are not used."""

    def __init__(self, url: str, asked: str) -> None:
        self._url, self._asked = url, asked
        self._old = [name for name in store.list_names(url) if _PART.fullmatch(name)]  # sorted
        generations: dict[str, list[str]] = {}
        for name in self._old:
            if asked in name.split("-"):
                generations.setdefault(name[:6], []).append(name)
        newest_first = [names for _, names in sorted(generations.items(), reverse=True)]
        self._names = newest_first[0] if newest_first else []  # of the run that this one repeats so far
        self._repeated, self._last = 0, self._lines_of(self._names)
        self._is_new = False
        many = [self._lines_of(names) for names in newest_first]
        self._known = many[0] if len(many) == 1 else heapq.merge(*many, key=_key)
        self._ahead = next(self._known, None)
        self._generation = max((int(name[:6]) for name in self._old), default=0) + 1
        self._unsaved: list[str] = []
        self._save_at = time.monotonic() + PART_S

    def find(self, place: Place) -> Record | None:
        """What an earlier run found in a file that is what it was. To be asked in the order of the walk."""
        start, line = _start(place), None
        while self._ahead is not None:
            if self._ahead.startswith(start):
                line = line or self._ahead
            elif _key(self._ahead) > place.key:
                break
            self._ahead = next(self._known, None)
            if line is not None and (self._ahead is None or not self._ahead.startswith(start)):
                break
        return None if line is None or _is_unsure(line, start, place) else Record(line)

    def add(self, record: Record) -> None:
        """The next file in the order of the walk."""
        if not self._is_new:
            if next(self._last, None) == record.line:
                self._repeated += 1
                return
            self._begin()
        self._append(record.line)

    def save(self) -> None:
        """Puts what was added since the last part."""
        if self._unsaved:
            data = "\n".join(self._unsaved).encode()
            name = f"{self._generation:06d}-{len(self._names):06d}-{self._asked}-{checksum.xxh3(data)}.jsonl"
            store.write(store.join(self._url, name), data)
            self._names.append(name)
        self._unsaved, self._save_at = [], time.monotonic() + PART_S

    def finish(self) -> bool:
        """To be called behind the last file; True if all is as the last run found it."""
        if not self._is_new and next(self._last, None) is not None:
            self._begin()  # files behind those of this run are gone
        self.save()
        return not self._is_new and bool(self._names)

    def records(self) -> Iterator[tuple[Place, Finding]]:
        """All of this run, in the order of the walk; to be called when it is finished."""
        return (Record(line).read() for line in self._lines_of(self._names))

    def forget_earlier(self) -> None:
        """Removes the parts of other runs, once this one is whole."""
        for name in self._old:
            if name not in self._names:
                store.remove(store.join(self._url, name))

    def _begin(self) -> None:
        """Begins a generation of its own with what was repeated so far."""
        repeated = islice(self._lines_of(self._names), self._repeated)
        self._names, self._is_new = [], True
        for line in repeated:
            self._append(line)

    def _append(self, line: str) -> None:
        self._unsaved.append(line)
        if len(self._unsaved) >= PART_LINES or time.monotonic() > self._save_at:
            self.save()

    def _lines_of(self, names: Sequence[str]) -> Iterator[str]:
        """One part is in memory; damaged ones are passed over."""
        for name in tuple(names):
            data = store.read(store.join(self._url, name))
            if f"-{checksum.xxh3(data)}." in name:
                yield from data.decode().split("\n")
            else:
                logger.warning("%s: damaged; its files are looked at again", store.join(self._url, name))


def _start(place: Place) -> str:
    """As the line of a place begins."""
    path, size, version, problem, _ = place
    return f"[{_quoted(path)},{size},{_quoted(version)},{_quoted(problem)},"


def _key(line: str) -> Key:
    path: str = json.loads(line)[0]
    return tuple(path.split("/"))


def _is_unsure(line: str, start: str, place: Place) -> bool:
    """True for a file that could not be read: that may have been the machine's doing."""
    return bool(place.size) and not place.problem and line.startswith(f'"{UNREAD}"', len(start))
