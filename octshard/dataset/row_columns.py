"""Frozen dataclasses as the columns of a Parquet table, both directions, by the types of their fields."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_type_hints

import pyarrow as pa

from octshard.imaging.volume import Shape, Spacing

AXES = 3  # of a shape or a spacing
LATER = frozenset(
    {"split_source", "retina_found", "format", "acquired", "slice_axis", "slice_places"}
)  # columns that tables of 0.1.0 do not have: they may be absent
FILE_NAMES = ("name", "shard", "key")  # columns that name a file, or members of a tar, or nothing
LONGEST_NAME = 255

_TYPES: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    int | None: pa.int64(),
    float | None: pa.float64(),
    Spacing | None: pa.list_(pa.float64()),
    Shape | None: pa.list_(pa.int64()),
    tuple[str, ...]: pa.list_(pa.string()),
}


class OtherColumns(Exception):
    """Columns that are not of such rows; the text says which."""


def table_of(values: Sequence[Any], kind: type) -> pa.Table:
    """A row for each value of that dataclass."""
    fields = dataclasses.fields(kind)
    columns = {f.name: [_plain(getattr(value, f.name)) for value in values] for f in fields}
    return pa.table(columns, schema=pa.schema(_schema(kind)))


def rows_of(types: Mapping[str, pa.DataType], columns: Mapping[str, list[Any]], kind: type) -> list[Any]:
    """The values of that dataclass; OtherColumns if a column is missing, of another type, or not whole."""
    schema = {name: type_ for name, type_ in _schema(kind).items() if name in columns or name not in LATER}
    if missing := sorted({*schema} - {*columns}):
        raise OtherColumns(f"columns {missing} are missing")
    if mistyped := [name for name in schema if types[name] != schema[name]]:
        raise OtherColumns(", ".join(f"{name} is {types[name]}, want {schema[name]}" for name in mistyped))
    for name, hint in get_type_hints(kind).items():
        _check_column(name, hint, columns.get(name, []))
    frozen = [[_frozen(value) for value in columns[name]] for name in schema]
    return [kind(**dict(zip(schema, values, strict=True))) for values in zip(*frozen, strict=True)]


def _check_column(name: str, hint: Any, values: Sequence[Any]) -> None:
    """OtherColumns for what no row of ours holds: a blank that must be none, a shape of two axes, a path."""
    optional = type(None) in get_args(hint)
    for row, value in enumerate(values):
        is_whole = optional if value is None else True
        if isinstance(value, list):
            is_whole = None not in value and (not optional or len(value) == AXES)
        elif isinstance(value, str) and name in FILE_NAMES:
            is_whole = "/" not in value and value.isprintable() and len(value) <= LONGEST_NAME
        if not is_whole:
            raise OtherColumns(f"{name} of row {row} is {value!r:.99}, want a whole value")


def _schema(kind: type) -> dict[str, pa.DataType]:
    return {name: _TYPES[hint] for name, hint in get_type_hints(kind).items()}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
