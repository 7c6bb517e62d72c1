"""Which map belongs to which stored scan: by a pattern of names, or by a table."""

import string
from collections.abc import Sequence

from octshard import tsv
from octshard.config.dense import MapConfig
from octshard.dataset.participants import canonical
from octshard.dataset.tables import SampleRow
from octshard.errors import UsageError
from octshard.eval.dense.map_file import ENDINGS
from octshard.storage import store

FIELDS = (  # of a row: what a pattern, or the first column of a table, may name
    "key", "sop_instance_uid", "source", "participant", "device", "protocol", "region", "eye",
)  # fmt: skip
UNIQUE = ("key", "sop_instance_uid", "source")


def names_of(rows: Sequence[SampleRow], cfg: MapConfig) -> dict[str, str]:
    """Key -> URL of the map of each scan that has one. UsageError for a pattern or table that cannot be.

    Two scans never share a map.
    """
    if not cfg.folder:
        raise UsageError("folder of maps: not set, want one with .npy or .nii.gz, one for each scan")
    names = _by_table(rows, cfg) if cfg.table else _by_pattern(rows, cfg)
    owner: dict[str, str] = {}
    for key, name in names.items():
        if (other := owner.setdefault(name, key)) != key:
            raise UsageError(f"maps: {other} and {key} would both have {name}, want one map for each scan")
        if not name.endswith(ENDINGS):
            raise UsageError(f"map {name} of {key}: want one that ends in {', '.join(ENDINGS)}")
    folders: dict[str, set[str]] = {}
    urls = {key: store.join(cfg.folder, name) for key, name in names.items()}
    present = {}
    for key, url in urls.items():
        folder, _, name = url.rpartition("/")
        if folder not in folders:
            folders[folder] = set(store.list_names(folder))
        if name in folders[folder]:
            present[key] = url
        elif cfg.table:
            raise UsageError(
                f"maps {cfg.table}: {name} of {key} is not in {folder}, want every file it lists"
            )
    if not present:
        example = next(iter(urls.values()), f"{cfg.folder}/{cfg.pattern}")
        raise UsageError(f"maps {cfg.folder}: none of {len(rows)} scans has one, want for example {example}")
    return present


def _by_pattern(rows: Sequence[SampleRow], cfg: MapConfig) -> dict[str, str]:
    try:
        fields = [name for _, name, _, _ in string.Formatter().parse(cfg.pattern) if name is not None]
    except ValueError as error:
        raise UsageError(f"pattern={cfg.pattern}: {error}, want for example {{key}}.npy") from None
    if not fields or not set(fields) <= set(FIELDS):
        raise UsageError(f"pattern={cfg.pattern}: want {{NAME}} in it, with NAME one of {', '.join(FIELDS)}")
    return {row.key: _filled(cfg.pattern, row, fields) for row in rows}


def _filled(pattern: str, row: SampleRow, fields: Sequence[str]) -> str:
    for name in fields:
        pattern = pattern.replace("{" + name + "}", str(getattr(row, name)))
    if "{" in pattern or "}" in pattern:
        raise UsageError(f"pattern={pattern}: want plain {{NAME}}, without a format")
    return pattern.lstrip("/")


def _by_table(rows: Sequence[SampleRow], cfg: MapConfig) -> dict[str, str]:
    """By a TSV with a column `map` and one or more of FIELDS, which together tell scans apart."""
    source = f"maps {cfg.table}"
    try:
        table = tsv.parse(tsv.decode(store.read(cfg.table), source), source)
    except FileNotFoundError:
        raise UsageError(f"{source}: no such file, want a tab-separated table") from None
    by = [name for name in FIELDS if name in table.columns]
    if "map" not in table.columns or not by:
        raise UsageError(
            f"{source}: columns {', '.join(table.columns) or 'none'}, want map and some of "
            f"{', '.join(FIELDS)}"
        )
    columns = [table.column((name,)) for name in by]
    name_of: dict[tuple[str, ...], str] = {}
    for name, *values in zip(table.column(("map",)), *columns, strict=True):
        place = tuple(_plain(field, value) for field, value in zip(by, values, strict=True))
        if name and name_of.setdefault(place, name) != name:
            raise UsageError(f"{source}: {' '.join(values)} has {name_of[place]} and {name}, want one map")
    places = {row.key: tuple(_plain(field, str(getattr(row, field))) for field in by) for row in rows}
    return {key: name_of[place].lstrip("/") for key, place in places.items() if place in name_of}


def _plain(field: str, value: str) -> str:
    """As it is compared: ids of people as in every table, the rest as it stands."""
    return canonical(value) if field == "participant" else value.lstrip("/") if field == "source" else value
