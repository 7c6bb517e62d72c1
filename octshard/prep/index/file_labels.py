"""Labels that scans' own files hold, kept in a journal, so that a file is read again only when it changed."""

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future

from octshard.prep.index.journal import Journal, Record
from octshard.prep.index.look import SCAN, UNREAD, Finding
from octshard.prep.index.walk import Place
from octshard.prep.readers import npz
from octshard.prep.refusals import Refused
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
            for place in places:
                waiting.append(journal.find(place) or pool.submit(_record, folder, place))
                if len(waiting) > AHEAD * threads:
                    yield first()
            while waiting:
                yield first()
        journal.finish()
    finally:
        journal.save()
    journal.forget_earlier()


def _record(folder: str, place: Place) -> Record:
    """Of a remote file only its directory and its small arrays are read."""
    url = store.join(folder, place.path)
    try:
        with store.open_read(url, npz.BLOCK) as file:
            values = npz.single_values(file)
    except (FileNotFoundError, Refused):
        values = {}
    except store.StoreError:
        if store.is_remote(url):
            raise
        return Record.of(place, Finding(UNREAD, ""))
    return Record.of(place, Finding(SCAN, json.dumps(values)))
