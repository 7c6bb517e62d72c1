"""labels.tsv of a public data set: labels of single scans, by what samples.parquet calls their source."""

from collections.abc import Iterator, Sequence

from octshard.prep.index import own_table, row
from octshard.prep.index.b_scan_set import BScanSet
from octshard.prep.release.entry import Entry
from octshard.storage import store

TABLE = "labels.tsv"


def write(manifest: str, folder: str, entries: Sequence[Entry], rule: BScanSet) -> str:
    """Writes it beside the manifest; where. UsageError if somebody else wrote one there."""
    out = store.join(manifest.rpartition("/")[0] or ".", TABLE)
    journal = store.join(own_table.beside(manifest, "index"), "labels")
    own_table.check(out, folder, journal)
    own_table.write(out, folder, journal, _lines(entries, rule))
    return out


def _lines(entries: Sequence[Entry], rule: BScanSet) -> Iterator[str]:
    cells = [rule.labels(entry.path) for entry in entries]
    columns = list(dict.fromkeys(column for labels in cells for column in labels))
    yield row.line(["source", *columns])
    for entry, labels in zip(entries, cells, strict=True):
        yield row.line([entry.source, *(labels.get(name, "") for name in columns)])
