"""Parquet tables as bytes: written with a checksum of every page, read whole or not at all."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from octshard.errors import UsageError


class UnreadableParquet(Exception):
    """Bytes that are no Parquet table; the text says why."""


def encoded(table: pa.Table) -> bytes:
    """The table as a file."""
    sink = BytesIO()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def encoded_columns(columns: Mapping[str, Sequence[Any]]) -> bytes:
    """Columns as a file, of the types that Arrow infers."""
    return encoded(pa.table({name: list(values) for name, values in columns.items()}))


def parsed(data: bytes) -> tuple[dict[str, pa.DataType], dict[str, list[Any]]]:
    """(types, values) of a table by column name; UnreadableParquet for damaged bytes."""
    try:
        # without Arrow's threads: one that releases a Python object at shutdown aborts the process
        with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False, page_checksum_verification=True) as file:
            table = file.read(use_threads=False)
        if repeated := [name for name in table.column_names if table.column_names.count(name) > 1]:
            raise UnreadableParquet(f"several columns are called {repeated[0]}")
        return {field.name: field.type for field in table.schema}, table.to_pydict()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # what Arrow raises on damaged bytes
        raise UnreadableParquet((str(error).splitlines() or [type(error).__name__])[0]) from error


def parse_table(data: bytes, source: str) -> dict[str, list[Any]]:
    """Column name -> values of the bytes of somebody's Parquet table; UsageError if they are none."""
    try:
        return parsed(data)[1]
    except UnreadableParquet as error:
        raise UsageError(f"{source}: not a whole Parquet file ({error})") from error
