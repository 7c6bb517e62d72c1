"""participants.tsv of a public data set: splits of its folders, labels of its tables, else of its files."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from octshard import delimited, tsv
from octshard.errors import UsageError
from octshard.pool import worker_count
from octshard.prep.index import layout, layout_label, own_table, row, run, scan_labels
from octshard.prep.index.b_scan_set import BScanSet
from octshard.prep.index.layout import Layout
from octshard.prep.readers import npz
from octshard.prep.refusals import Refused
from octshard.prep.release import aireadi
from octshard.prep.release.aireadi import Entry
from octshard.prep.release.split_table import COLUMN, WORDS
from octshard.progress import OnProgress, no_progress
from octshard.storage import store, transport

TABLE, TABLE_END = "data_summary", ".csv"  # as tables of a row for each file are called
NOTES = "readme"  # the folder of tables, beside those of scans
FILE, USE = "filename", "use"  # their columns that are no labels
MOST_CLASSES = 10  # of a column whose values are counted
Rows = Mapping[tuple[str, str], Mapping[str, str]]  # (disease, file name) -> cells


@dataclass
class People:
    """What is in the table that was written. by_label: column -> its values, of columns of few values."""

    table: str
    splits: Counter[str] = field(default_factory=Counter)
    by_label: dict[str, Counter[str]] = field(default_factory=dict)
    without: int = 0  # people of whom neither a table nor their file tells anything
    differ: int = 0  # people whose folder and table name two splits
    unclear: Counter[str] = field(default_factory=Counter)  # labels that differ among scans of one person
    scan_labels: str = ""  # a table of labels of scans, where one was written

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
    workers: int = 0,
    on_progress: OnProgress = no_progress,
) -> People:
    """Writes participants.tsv beside the manifest, which an index of `folder` by this layout has written.

    UsageError if somebody else wrote such a table, or if somebody is in two splits.
    """
    out = store.join(manifest.rpartition("/")[0] or ".", aireadi.TABLES[1])
    journal, folder = store.join(own_table.beside(manifest, "index"), "participants"), run.full(folder)
    own_table.check(out, folder, journal)
    entries = aireadi.parse_manifest(tsv.decode(store.read(manifest), manifest), manifest)
    tables = _tables(folder, entries, rule) if isinstance(rule, Layout) else {}
    people: dict[str, _Person] = {}
    threads = run.REMOTE_THREADS if store.is_remote(folder) else worker_count(workers)
    with transport.thread_pool(threads) as pool:
        rows = pool.map(lambda entry: _person(folder, entry, rule, tables), entries)
        for done, person in enumerate(rows, start=1):
            on_progress(done, len(entries), "labels")
            _add(people, person)
    result = People(out)
    own_table.write(out, folder, journal, _lines(list(people.values()), result))
    if isinstance(rule, BScanSet) and rule.rows:
        result.scan_labels = scan_labels.write(manifest, folder, entries, rule)
    return result


def _tables(folder: str, entries: Sequence[Entry], rule: Layout) -> Rows:
    """The rows of all data_summary*.csv in folders above scans, and in a ReadMe beside these."""
    above = {""}
    for entry in entries:
        parts = entry.path.split("/")[:-1]
        above.update("/".join(parts[:count]) for count in range(1, len(parts) + 1))
    rows: dict[tuple[str, str], Mapping[str, str]] = {}
    for place in sorted(above):
        home = store.join(folder, place) if place else folder
        names = store.list_names(home)
        notes = [f"{name}/" for name in names if name.lower() == NOTES]
        inner = [note + name for note in notes for name in store.list_names(store.join(home, note[:-1]))]
        for name in [*names, *inner]:
            stem = name.rpartition("/")[2].lower()
            if stem.startswith(TABLE) and stem.endswith(TABLE_END):
                named = stem.removeprefix(TABLE).removesuffix(TABLE_END).strip("_- ")
                disease = named if named in layout.DISEASES else rule.disease(f"{place}/")
                _add_rows(rows, store.join(home, name), disease)
    return rows


def _add_rows(rows: dict[tuple[str, str], Mapping[str, str]], url: str, disease: str) -> None:
    table = delimited.parse(tsv.decode(store.read(url), url), url)
    if FILE not in table.columns:
        raise UsageError(
            f"{url}: no column {FILE}, its columns are {', '.join(table.columns) or 'none'}; want the table "
            "as it is delivered, or move it away, and labels are read from the files"
        )
    for (line, cells), name in zip(table.rows, table.column((FILE,)), strict=True):
        cell_of = dict(zip(table.columns, cells, strict=True))
        if rows.setdefault((disease, name.rpartition("/")[2]), cell_of) != cell_of:
            raise UsageError(f"{url} line {line}: {name} has another row already, want one row for each file")


def _person(folder: str, entry: Entry, rule: Layout | BScanSet, tables: Rows) -> _Person:
    if isinstance(rule, BScanSet):
        return _Person(entry, rule.split(entry.path), rule.labels(entry.path), False)
    disease, name = rule.disease(entry.path), entry.path.rpartition("/")[2]
    values = tables.get((disease, name)) or tables.get(("", name))
    if values is None:
        values = _values_in(store.join(folder, entry.path))
    use = WORDS.get(values.get(USE, "").lower(), "")
    by_folder = layout.split(entry.path)
    left_out = {"", FILE, USE, COLUMN, *tsv.PERSON}  # "": the numbers of rows that a data frame writes
    labels = {key: value for key, value in values.items() if key not in left_out}
    return _Person(
        entry,
        by_folder or use,
        layout_label.cells(labels, disease),
        bool(use and by_folder and use != by_folder),
    )


def _values_in(url: str) -> Mapping[str, str]:
    """Of a remote file only its directory and its small arrays are read."""
    try:
        with store.open_read(url, npz.BLOCK) as file:
            return npz.single_values(file)
    except (FileNotFoundError, Refused):
        return {}
    except store.StoreError:
        if store.is_remote(url):
            raise
        return {}


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
