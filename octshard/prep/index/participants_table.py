"""participants.tsv of a public data set: splits of its folders, labels of its tables, else of its files."""

import hashlib
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from octshard import tsv
from octshard.errors import UsageError
from octshard.pool import worker_count
from octshard.prep.index import (
    data_summary,
    file_labels,
    layout,
    layout_label,
    own_table,
    row,
    run,
    scan_labels,
)
from octshard.prep.index.b_scan_set import BScanSet
from octshard.prep.index.data_summary import Rows, SummaryTable
from octshard.prep.index.journal import Journal
from octshard.prep.index.layout import Layout
from octshard.prep.index.options import IndexOptions
from octshard.prep.release import aireadi
from octshard.prep.release.entry import Entry
from octshard.prep.release.split_table import COLUMN, WORDS
from octshard.progress import OnProgress, no_progress
from octshard.storage import store

USE = "use"  # the column of a data_summary that names a split
MOST_CLASSES = 10  # of a column whose values are counted
VERSION = 1  # of how the table is made of what is known


@dataclass
class People:
    """What is in the table that was written. by_label: column -> its values, of columns of few values."""

    table: str
    splits: Counter[str] = field(default_factory=Counter)
    by_label: dict[str, Counter[str]] = field(default_factory=dict)
    without: int = 0  # people of whom neither a table nor their file tells anything
    differ: int = 0  # people whose folder and table name two splits
    unclear: Counter[str] = field(default_factory=Counter)  # labels that differ among scans of one person
    unread: int = 0  # files that the machine could not read for labels; they are tried again
    scan_labels: str = ""  # a table of labels of scans, where one was written

    @staticmethod
    def read(record: Mapping[str, Any]) -> "People":
        """Of its fields as a JSON file has them."""
        counters = {name: Counter(record[name]) for name in ("splits", "unclear")}
        by_label = {name: Counter(counts) for name, counts in record["by_label"].items()}
        return People(**{**record, **counters, "by_label": by_label})

    @property
    def text(self) -> str:
        """Some lines for a terminal."""
        lines = [f"{self.table}: {self.splits.total():,} people; split: {_counts(self.splits)}"]
        lines += [f"  {name}: {_counts(counts)}" for name, counts in self.by_label.items()]
        if self.without:
            lines.append(f"  without any label: {self.without:,}")
        if self.differ:
            lines.append(
                f"  in another split by the table than by their folder, which is believed: {self.differ:,}"
            )
        if self.unclear:
            lines.append(f"  others for another scan of one person, so empty here: {_counts(self.unclear)}")
        if self.unread:
            lines.append(f"  files that could not be read for labels: {self.unread:,}")
        if self.scan_labels:
            lines.append(f"{self.scan_labels}: labels of single scans (labels=... join=source)")
        if not any(self.splits):
            lines.append("  no splits are published: give prep shard --split hash")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Person:
    entry: Entry
    split: str
    cells: Mapping[str, str]
    differs: bool
    unclear: frozenset[str] = frozenset()


def write(
    manifest: str,
    folder: str,
    rule: Layout | BScanSet,
    options: IndexOptions,
    on_progress: OnProgress = no_progress,
) -> People:
    """Writes participants.tsv beside the manifest, which an index of `folder` by this layout, with these
    options, has written just now.

    UsageError if somebody else wrote such a table, or if somebody is in two splits.
    """
    out = store.join(manifest.rpartition("/")[0] or ".", aireadi.TABLES[1])
    journal, folder = store.join(own_table.beside(manifest, "index"), "participants"), run.full(folder)
    own_table.check(out, folder, journal)
    data, note = store.read(manifest), own_table.read_note(out, journal)
    if note is not None and isinstance(rule, Layout):
        tables = data_summary.find(folder, note.summary["above"])
        if note.made_of == _made_of(manifest, data, rule, tables):
            return People.read(note.summary["people"])
    result, people = People(out), dict[str, _Person]()
    entries = aireadi.parse_manifest(tsv.decode(data, manifest), manifest)
    above = data_summary.folders_of(entries)
    tables = data_summary.find(folder, above) if isinstance(rule, Layout) else []
    known = _Known(manifest, folder, options, tables, result)
    for done, person in enumerate(_people(known, entries, rule), start=1):
        on_progress(done, len(entries), "labels")
        _add(people, person)
    own_table.write(out, folder, journal, _lines(list(people.values()), result))
    if isinstance(rule, BScanSet) and rule.rows:
        result.scan_labels = scan_labels.write(manifest, folder, entries, rule)
    if isinstance(rule, Layout) and not result.unread:
        made_of = _made_of(manifest, data, rule, tables)
        own_table.note(journal, made_of, {"above": above, "people": vars(result)})
    return result


def _made_of(manifest: str, data: bytes, rule: Layout, tables: Sequence[SummaryTable]) -> str:
    """A digest of all that the table is made of; names of a journal's parts change with what is in them."""
    parts = store.list_names(own_table.beside(manifest, "index"))
    total = hashlib.sha256(
        repr((VERSION, rule.text, [name for name in parts if name != own_table.INFO])).encode()
    )
    total.update(data)
    for table in tables:
        total.update(f"{table.url} {len(table.data)} ".encode() + table.data)
    return total.hexdigest()


@dataclass(frozen=True)
class _Known:
    """What `write` was given, and the tables of the data set. result: counts files that cannot be read."""

    manifest: str
    folder: str
    options: IndexOptions
    tables: Sequence[SummaryTable]
    result: People


def _people(known: _Known, entries: Sequence[Entry], rule: Layout | BScanSet) -> Iterator[_Person]:
    """In the order of the manifest."""
    if isinstance(rule, BScanSet):
        yield from (_Person(e, rule.split(e.path), rule.labels(e.path), False) for e in entries)
        return
    rows = data_summary.rows(known.tables, rule)
    row_of = {entry.path: _row_of(entry, rule, rows) for entry in entries}
    index, folder = own_table.beside(known.manifest, "index"), known.folder
    looked = Journal(index, known.options.digest()).records()
    places = [place for place, _ in looked if row_of.get(place.path, {}) is None]
    threads = run.REMOTE_THREADS if store.is_remote(folder) else worker_count(known.options.workers)
    in_files = file_labels.read(folder, places, store.join(index, "labels-in-files"), threads)
    for entry in entries:
        values = row_of[entry.path]
        if values is None and (values := next(in_files)) is None:
            known.result.unread += 1
        yield _person(entry, rule, values or {})
    deque(in_files, maxlen=0)  # to its end


def _row_of(entry: Entry, rule: Layout, rows: Rows) -> Mapping[str, str] | None:
    """None if no table tells of the file."""
    name = entry.path.rpartition("/")[2]
    return rows.get((rule.disease(entry.path), name)) or rows.get(("", name))


def _person(entry: Entry, rule: Layout, values: Mapping[str, str]) -> _Person:
    use = WORDS.get(values.get(USE, "").lower(), "")
    by_folder = layout.split(entry.path)
    left_out = {
        "",
        data_summary.FILE,
        USE,
        COLUMN,
        *tsv.PERSON,
    }  # "": the numbers of rows that a data frame writes
    labels = {key: value for key, value in values.items() if key not in left_out}
    return _Person(
        entry,
        by_folder or use,
        layout_label.cells(labels, rule.disease(entry.path)),
        bool(use and by_folder and use != by_folder),
    )


def _add(people: dict[str, _Person], person: _Person) -> None:
    first = people.setdefault(person.entry.participant, person)
    if first is not person:
        people[person.entry.participant] = _merged(first, person)
    if first.split != person.split:
        raise UsageError(
            f"{person.entry.participant} is in {first.split or 'no split'} by {first.entry.path} and in "
            f"{person.split or 'no split'} by {person.entry.path}; want one split, so remove one of the two"
        )


def _merged(first: _Person, other: _Person) -> _Person:
    """With the labels of both scans; one that is another for each is none of the person's."""
    both = {**other.cells, **{name: cell for name, cell in first.cells.items() if cell}}
    differ = {name for name, cell in other.cells.items() if cell and cell != both[name]} | first.unclear
    cells = {name: "" if name in differ else cell for name, cell in both.items()}
    return replace(first, cells=cells, unclear=frozenset(differ))


def _lines(people: Sequence[_Person], result: People) -> Iterator[str]:
    columns = list(dict.fromkeys(column for person in people for column in person.cells))
    yield row.line(["person_id", COLUMN, *columns])
    for person in people:
        result.splits[person.split] += 1
        result.without += not any(person.cells.values())
        result.differ += person.differs
        result.unclear.update(person.unclear)
        yield row.line(
            [person.entry.participant, person.split, *(person.cells.get(name, "") for name in columns)]
        )
    for name in columns:
        counts = Counter(person.cells.get(name, "") for person in people)
        if 1 < len(counts) <= MOST_CLASSES:
            result.by_label[name] = counts


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name or 'not told'} {n:,}" for name, n in sorted(counts.items())) or "none"
