"""Tables of labels that come with a data set, as CSV, TSV or a workbook of Excel: row by what it is about."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from octshard import table_file
from octshard.errors import UsageError
from octshard.prep.release import zip_path
from octshard.storage import listing, store
from octshard.storage.listing import Listed

Labels = Mapping[str, Mapping[str, str]]
ENDINGS = (".csv", ".tsv", ".xlsx")  # the first that is there is read
PLACES = "label"  # in the name of a folder in which tables are looked for
DEEPEST = 3
IMAGES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")


def name_of(text: str) -> str:
    """What a scan is called, in one spelling: without case, ending, blanks and a slash in front."""
    name = text.strip().lower().replace(" ", "_").replace("\\", "/").strip("/")
    return next((name.removesuffix(ending) for ending in IMAGES if name.endswith(ending)), name)


def read(folder: str, names: Sequence[str], join: Sequence[str], *, folders: bool) -> tuple[Labels, str]:
    """(name of a scan -> its cells, digest of the tables). join: the column that names scans.

    folders: of an image's path that stands there its folder is the scan; else its name alone.

    Of several rows for one scan, as of its B-scans, numbers are the greatest, and other cells the first.
    """
    rows: dict[str, dict[str, str]] = {}
    digest = hashlib.sha256()
    for url in _found(folder, names) if names else ():
        data = store.read(url)
        digest.update(data)
        table = table_file.parse(data, url)
        column = next((name for name in join if name in table.columns), None)
        if column is None:
            columns = ", ".join(table.columns) or "none"
            raise UsageError(f"{url}: columns {columns}, want {' or '.join(join)}, as it is delivered")
        for (_, cells), name in zip(table.rows, table.column((column,)), strict=True):
            cell_of = {key: cell for key, cell in zip(table.columns, cells, strict=True) if key != column}
            above, slash, last = name_of(name).rpartition("/")
            _add(rows, above if slash and folders else last, cell_of)
    return rows, digest.hexdigest()[:16] if rows else ""


def _add(rows: dict[str, dict[str, str]], name: str, cells: Mapping[str, str]) -> None:
    row = rows.setdefault(name, dict(cells))
    for key, cell in cells.items():
        row[key] = _greater(row.get(key, ""), cell)


def _greater(before: str, cell: str) -> str:
    if not before or not cell:
        return before or cell
    try:
        return max(before, cell, key=float)
    except ValueError:
        return before


def _found(folder: str, names: Sequence[str]) -> Iterator[str]:
    """In the folder, in those directly in it, and below these in those that are called after labels.

    Of a ZIP in its place beside it.
    """
    home = zip_path.home_of(folder)
    for place in _places(folder, 0) if home == folder else (home,):
        files = {entry.name.lower(): entry.name for entry in _entries(place) if not entry.is_folder}
        for name in names:
            for ending in ENDINGS:
                if name + ending in files:
                    yield store.join(place, files[name + ending])
                    break


def _places(folder: str, depth: int) -> Iterator[str]:
    yield folder
    for entry in _entries(folder):
        if entry.is_folder and not entry.name.startswith("."):
            if PLACES in entry.name.lower() and depth < DEEPEST:
                yield from _places(store.join(folder, entry.name), depth + 1)
            elif depth == 0:
                yield store.join(folder, entry.name)


def _entries(folder: str) -> Sequence[Listed]:
    """Nothing of a local folder that cannot be read, which the index itself counts."""
    try:
        return listing.entries(folder)
    except (FileNotFoundError, store.StoreError):
        if store.is_remote(folder):
            raise
        return []
