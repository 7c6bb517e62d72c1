"""An AI-READI release: its manifest and participants tables, in all spellings that real copies use.

`read_release` is the only I/O. Device and eye come from columns and the path's folder, not from a file name.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from octshard import delimited, tsv
from octshard.dataset import participants
from octshard.errors import UsageError
from octshard.prep.release import device_name, entry, source_id, split_table, zip_path
from octshard.prep.release.entry import UNKNOWN, Entry
from octshard.prep.release.scan_path import HOME
from octshard.prep.release.split_table import SplitTable
from octshard.storage import store

COLUMNS = {  # our name -> its headings in releases and in copies
    "participant": tsv.PERSON,
    "device": ("device",),
    "manufacturer": ("manufacturer",),
    "model": ("manufacturers_model_name", "manufacturer_model_name"),
    "region": ("anatomic_region", "region"),
    "protocol": ("protocol",),
    "imaging": ("imaging",),
    "laterality": ("laterality",),
    "rows": ("height",),
    "cols": ("width",),
    "frames": ("number_of_frames",),
    "pixel_spacing": ("pixel_spacing",),
    "slice_thickness": ("slice_thickness",),
    "default_spacing": ("default_spacing",),
    "date": ("date",),
    "day": ("day",),
    "uid": ("sop_instance_uid",),
    "path": ("filepath",),
    "axes": ("axes",),
    "source_id": ("source_id",),
    "parts": ("parts",),
}
TABLES = ("manifest.tsv", "participants.tsv")


@dataclass(frozen=True)
class Release:
    """A release's tables. root: the folder of the entries' paths; tables: their paths below root."""

    root: str
    entries: tuple[Entry, ...]
    splits: dict[str, str]  # participant -> train | val | test, where the release gives one
    tables: tuple[str, ...]
    split_table: SplitTable | None = None  # None without participants.tsv


def home_of(src: str) -> str:
    """The folder that holds manifest.tsv: `src`, or its retinal_oct; empty if there is none."""
    if "://" not in src:
        src = os.path.abspath(src)  # `.` and `retinal_oct` have names and parents too
    folders = [src, store.join(src, HOME)]
    return next((folder for folder in folders if store.exists(store.join(folder, TABLES[0]))), "")


def read_release(src: str, manifest: str = "") -> Release:
    """The tables of the release at `src`, the folder that holds manifest.tsv (v3: in its retinal_oct).

    manifest: a table elsewhere, whose paths begin at `src`, or where a ZIP lies; participants.tsv is beside
    it, or in `src`.
    """
    if manifest:
        return _with_manifest(zip_path.home_of(src if "://" in src else os.path.abspath(src)), manifest)
    home = home_of(src)
    if not home:
        raise UsageError(f"{src}: no manifest.tsv, want the release root, the folder that holds it")
    manifest = store.join(home, TABLES[0])
    entries = parse_manifest(_text(manifest), manifest)
    root, participants_url = _root_and_participants(home.rstrip("/"), entries)
    tables, table = [manifest.removeprefix(root).strip("/")], None
    if root != home.rstrip("/"):  # paths relative to home are one folder lower from the root
        entries = [e if _below_home(e) else replace(e, path=f"{HOME}/{e.path}") for e in entries]
    if participants_url:
        table = split_table.parse(_text(participants_url), participants_url)
        tables.append(participants_url.removeprefix(root).strip("/"))
    return Release(root, tuple(entries), _splits(entries, table), tuple(tables), table)


def _with_manifest(root: str, manifest: str) -> Release:
    try:
        entries = parse_manifest(_text(manifest), manifest)
    except FileNotFoundError:
        raise UsageError(f"{manifest}: no such manifest; octshard prep index {root} writes one") from None
    beside = manifest.rpartition("/")[0] or "."
    url = next((u for f in (beside, root) if store.exists(u := store.join(f, TABLES[1]))), "")
    table = split_table.parse(_text(url), url) if url else None
    return Release(root, tuple(entries), _splits(entries, table), (), table)


def _splits(entries: Sequence[Entry], table: SplitTable | None) -> dict[str, str]:
    """Participant, as the entries spell it, -> the split that a participants.tsv recommends."""
    by_person = {} if table is None else table.splits()
    spelling = {participants.canonical(e.participant): e.participant for e in entries}
    return {spelling.get(person, person): split for person, split in by_person.items()}


def _root_and_participants(home: str, entries: Sequence[Entry]) -> tuple[str, str]:
    """(release root, URL of its participants.tsv or empty) of a manifest in `home`.

    The paths of a manifest in retinal_oct begin at the parent folder or at retinal_oct itself, and
    participants.tsv may be in either.
    """
    parent = home.removesuffix(f"/{HOME}")
    own_table, parents_table = (store.join(folder, TABLES[1]) for folder in (home, parent))
    has_own, has_parents = store.exists(own_table), parent != home and store.exists(parents_table)
    if parent != home and (any(e.path and _below_home(e) for e in entries) or (has_parents and not has_own)):
        return parent, parents_table if has_parents else own_table if has_own else ""
    return home, own_table if has_own else ""


def _below_home(scan: Entry) -> bool:
    return not scan.path or scan.path.startswith(f"{HOME}/")


def parse_manifest(text: str, url: str) -> list[Entry]:
    """Entries in file order. Columns may be reordered or missing; those of person and file are required."""
    table, devices = _cells(text, url)
    for required in ("participant", "path"):
        if table.rows and not set(table.columns).intersection(COLUMNS[required]):
            raise UsageError(
                f"{url}: no column {' or '.join(COLUMNS[required])}, found {sorted(table.columns)}"
            )
    columns = {name: table.column(headings) for name, headings in COLUMNS.items()} | {"device": devices}
    entries = []
    for (line, _), *values in zip(table.rows, *columns.values(), strict=True):
        field = dict(zip(columns, values, strict=True))
        if _is_structural(field):
            entries.append(entry.of_row(field, f"{url} line {line}"))
    source_id.check(((e.path, e.source_id) for e in entries), url)
    spelling = participants.spellings(e.participant for e in entries)
    return [_spelled(e, spelling[participants.canonical(e.participant)]) for e in entries]


def _cells(text: str, url: str) -> tuple[tsv.Table, list[str]]:
    """The table, and each row's cell of `device`: the one column in which `unknown` is a value."""
    table = delimited.parse(text, url, UNKNOWN - {device_name.UNKNOWN})
    devices = table.column(COLUMNS["device"])
    rows = tuple((line, delimited.filled(cells, {device_name.UNKNOWN})) for line, cells in table.rows)
    return replace(table, rows=rows), devices


def _spelled(scan: Entry, participant: str) -> Entry:
    return scan if scan.participant == participant else replace(scan, participant=participant)


def _text(url: str) -> str:
    return tsv.decode(store.read(url), url)


def _is_structural(field: dict[str, str]) -> bool:
    """True unless the row says that it is something else (OCT angiography has its own tables)."""
    kind = field["imaging"].lower()
    if "octa" in kind or "angio" in kind:
        return False
    return not kind or "oct" in kind or "optical coherence" in kind
