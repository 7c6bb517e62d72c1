"""Labels that scans' own files hold, kept in a journal, so that a file is read again only when it changed."""

import io
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future

from octshard.prep.index.content import ZipMember
from octshard.prep.index.journal import Journal, Record
from octshard.prep.index.look import SCAN, UNREAD, Finding
from octshard.prep.index.place import Place
from octshard.prep.readers import npz
from octshard.prep.refusals import Refused
from octshard.prep.release import zip_directory, zip_path
from octshard.prep.release.zip_directory import DamagedZip, ZipEntry
from octshard.storage import store, transport

VERSION = f"{1:016x}"  # of what is read of a file: what another one read is not used
AHEAD = 64  # files for each thread that wait, or are read before their turn


def read(
    folder: str, places: Sequence[Place], journal_url: str, threads: int
) -> Iterator[Mapping[str, str] | None]:
    """Of each file, in the order of the walk: its single values by their names; nothing of a damaged one, and
    None where the machine could not read it.

    A run that is killed goes on; one that is whole forgets those before it.
    """
    journal = Journal(journal_url, VERSION)
    waiting: deque[Record | Future[Record]] = deque()

    def first() -> Mapping[str, str] | None:
        record = waiting.popleft()
        record = record.result() if isinstance(record, Future) else record
        journal.add(record)
        _, finding = record.read()
        values: Mapping[str, str] | None = json.loads(finding.what) if finding.kind == SCAN else None
        return values

    try:
        with transport.thread_pool(threads) as pool:
            inside = _LastZip(zip_path.home_of(folder))
            for place in places:
                record = journal.find(place)
                waiting.append(record or pool.submit(_record, folder, inside.filled(place)))
                if len(waiting) > AHEAD * threads:
                    yield first()
            while waiting:
                yield first()
        journal.finish()
    finally:
        journal.save()
    journal.forget_earlier()


class _LastZip:
    """The members of the ZIP that a walk is in, one at a time."""

    def __init__(self, root: str) -> None:
        self._root, self._path = root, ""
        self._members: dict[str, ZipEntry] = {}
        self._are_files: dict[str, bool] = {}  # of paths that are called as ZIPs

    def filled(self, place: Place) -> Place:
        """The place with where it lies in its ZIP, which a journal does not have."""
        path = next(filter(self._is_file, zip_path.candidates(place.path)), "")
        if not path:
            return place
        if self._path != path:
            members, _ = zip_directory.read(store.join(self._root, path))
            self._path, self._members = path, {one.name.replace("\\", "/"): one for one in members}
        entry = self._members.get(place.path.removeprefix(f"{path}/"))
        return place if entry is None else place._replace(member=ZipMember(entry, self._members))

    def _is_file(self, path: str) -> bool:
        if path not in self._are_files:
            self._are_files[path] = zip_path.is_file(store.join(self._root, path))
        return self._are_files[path]


def _record(folder: str, place: Place) -> Record:
    """Of a remote file only its directory and its small arrays are read; a member of a ZIP is read whole."""
    url = store.join(folder, place.path)
    try:
        with io.BytesIO(place.member.whole()) if place.member else store.open_read(url, npz.BLOCK) as file:
            values = npz.single_values(file)
    except (FileNotFoundError, Refused, DamagedZip):
        values = {}
    except store.StoreError:
        if store.is_remote(url):
            raise
        return Record.of(place, Finding(UNREAD, ""))
    return Record.of(place, Finding(SCAN, json.dumps(values)))
