"""From a folder to a manifest: walk, look at what is new, write rows; killed and given again, it goes on.

Findings are put into a journal beside the manifest in the order of the walk, and the manifest is made of the
journal at the end, so that it is the same bytes whatever was killed, and with any number of threads.
"""

import dataclasses
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import islice

from octshard.errors import UsageError
from octshard.pool import worker_count
from octshard.prep.index import manifest, own_table, pattern_example, person, summary
from octshard.prep.index.journal import Journal, Record
from octshard.prep.index.look import look
from octshard.prep.index.options import IndexOptions
from octshard.prep.index.own_table import beside
from octshard.prep.index.place import Place
from octshard.prep.index.pseudonym import of_uid, shifted
from octshard.prep.index.summary import Summary
from octshard.prep.index.walk import walk
from octshard.prep.release import zip_path
from octshard.progress import OnProgress, no_progress
from octshard.storage import local, lock, store, transport

REMOTE_THREADS = 32  # a store answers a request in tens of milliseconds
GROUP = 64  # files that one task looks at
AHEAD = 4  # tasks for each thread that wait, or are done before their turn


def index(folder: str, out: str, options: IndexOptions, on_progress: OnProgress = no_progress) -> Summary:
    """Writes the manifest `out` of all scans below `folder`, and says what is in it.

    UsageError if there is no such folder, no scan in it that can be listed, or if `out` is a table that
    somebody else wrote. on_progress counts files.
    """
    options.check()
    folder = checked(folder)
    journal_url, lock_url = beside(out, "index"), beside(out, "lock")
    store.check_writable(out)
    with lock.one_writer(lock_url, out, journal_url):
        own_table.check(out, folder, journal_url)
        findings, held_names = Journal(journal_url, options.digest()), _holds_names(folder)
        try:
            reused = _look_at_all(folder, _files_of(folder, out), findings, options, on_progress)
        finally:
            findings.save()
        if held_names and not _holds_names(folder):  # as where a share was unmounted
            raise store.StoreError(f"{folder}: it went while it was read; no manifest was written")
        made_of = f"{folder} {options.rows_digest()}"
        before = own_table.read_note(out, journal_url) if findings.finish() else None
        if before is not None and before.made_of == made_of:
            findings.forget_earlier()
            return dataclasses.replace(summary.read(dict(before.summary)), reused=reused)
        people = options.people
        by_folder = people.source in ("", "folder")
        result = Summary(
            folder, out, reused=reused, pseudonyms=bool(people.salt), by_folder=by_folder, axes=options.axes
        )
        own_table.write(out, folder, journal_url, _checked_lines(findings, options, result))
        own_table.note(journal_url, made_of, result.record())
        findings.forget_earlier()
    return result


def full(url: str) -> str:
    """A URL without `..`, however it was given."""
    return url if store.is_remote(url) else os.path.abspath(local.local_path(url))


def checked(folder: str) -> str:
    """The folder as it is written down; UsageError if there is none."""
    if not store.is_remote(folder):
        folder = full(folder)
        if not os.path.isdir(folder) and zip_path.home_of(folder) == folder:
            found = "a file" if os.path.exists(folder) else "nothing"
            raise UsageError(f"{folder}: {found}, want a folder of scans, or a .zip")
    return folder


def _holds_names(folder: str) -> bool:
    """False for a local folder, or ZIP, that is empty, gone, or cannot be read."""
    if store.is_remote(folder):
        return True
    try:
        with os.scandir(zip_path.home_of(folder)) as names:
            return next(names, None) is not None
    except OSError:
        return False


def _files_of(folder: str, out: str) -> Iterator[Place]:
    """The walk, without the manifest itself and its journal."""
    own = full(out).removeprefix(zip_path.home_of(folder).rstrip("/") + "/")
    ours = (own, beside(own, "index") + "/")
    return (place for place in walk(folder) if place.path not in ours)


def _look_at_all(
    folder: str, files: Iterable[Place], findings: Journal, options: IndexOptions, on_progress: OnProgress
) -> int:
    """Adds a record of every file to the journal, in the order of the walk; how many were known before."""
    threads = REMOTE_THREADS if store.is_remote(folder) else worker_count(options.workers)
    folder = zip_path.home_of(folder)
    waiting: deque[Future[list[Record]] | list[Record]] = deque()
    done = listed = reused = 0

    def add_first() -> None:
        nonlocal done
        first = waiting.popleft()
        records = first if isinstance(first, list) else first.result()
        for record in records:
            findings.add(record)
        done += len(records)
        on_progress(done, listed, f"{listed - reused:,} looked at")

    with transport.thread_pool(threads) as pool:
        for places in _groups(files):
            known = [findings.find(place) for place in places]
            listed, reused = listed + len(places), reused + sum(record is not None for record in known)
            whole = [record for record in known if record is not None]
            is_known = len(whole) == len(places)
            waiting.append(whole if is_known else pool.submit(_looked, folder, places, known, options))
            while len(waiting) > AHEAD * threads:
                add_first()
        while waiting:
            add_first()
    return reused


def _groups(places: Iterable[Place]) -> Iterator[list[Place]]:
    places = iter(places)
    while group := list(islice(places, GROUP)):
        yield group


def _looked(
    folder: str, places: Sequence[Place], known: Sequence[Record | None], options: IndexOptions
) -> list[Record]:
    """The records of some files; those that are not known are looked at now."""
    return [record or _new(folder, place, options) for place, record in zip(places, known, strict=True)]


def _new(folder: str, place: Place, options: IndexOptions) -> Record:
    people, finding = options.people, look(place, place.content(folder), options.asked)
    person = people.patient(finding.person) if finding.person else ""
    finding = finding._replace(person=person, uid=of_uid(finding.uid, people.salt))
    if finding.date and people.salt:
        fields = (people.pattern.match(place.path) if people.pattern else None) or {}
        person, _ = people.of(place.path, fields, finding.person)
        finding = finding._replace(date=shifted(finding.date, person, people.salt))
    return Record.of(place, finding)


def _checked_lines(findings: Journal, options: IndexOptions, result: Summary) -> Iterator[str]:
    """The manifest; an error at its end if it lists no scan, or people that seem to be none."""
    yield from manifest.lines(findings, options, result)
    if not result.scans:
        reasons = [f"{files.count:,}: {problem}" for problem, files in sorted(result.problems.items())]
        others = [f"{sum(result.others.values()):,} files of other kinds"] if result.others else []
        folders = [result.folders_text] if result.folders_text else []
        text = "; ".join([*others, *folders, *reasons, *_advice(result)]) or "no file at all"
        raise UsageError(f"{result.folder}: no scan that could be listed; {text}")
    if not options.people.source and (odd := result.odd_folders()):
        other_way = pattern_example.advice(result.first_odd[odd], dicom="dicom" in result.formats)
        raise UsageError(
            f"{result.folder}: the folder above most scans looks like {odd}, not like a person; {other_way}, "
            "or --person-from folder if it is one"
        )


def _advice(result: Summary) -> list[str]:
    """How to say who is who, where that is the problem of a file."""
    nobody = [files for problem, files in sorted(result.problems.items()) if problem in person.NOBODY]
    return [pattern_example.advice(nobody[0].first[0], dicom=nobody[0].dicom)] if nobody else []
