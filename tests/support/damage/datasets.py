"""A small finished dataset folder, and damage to its Parquet tables: bytes, columns, values that lie."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from octshard.rng import rng_for
from tests.support.damage.case import Rng, pick
from tests.support.damage.texts import damaged_json

Files = Mapping[str, bytes]  # name in the folder -> bytes
SAMPLES, SHARDS, INFO = "samples.parquet", "shards.parquet", "dataset.json"


@dataclasses.dataclass(frozen=True)
class FolderDamage:
    """What was done, and the folder's files after it. sealed: dataset.json has the digests of its tables."""

    text: str
    files: Files


def json_case(files: Files, seed: int, i: int) -> FolderDamage:
    """The JSON files of the folder in turn."""
    rng = rng_for(seed, "structured json", i)
    names = sorted(name for name in files if name.endswith(".json"))
    name = names[i % len(names)]
    text, data = damaged_json(files[name], rng)
    return FolderDamage(f"{name}: {text}", {**files, name: data})


def parquet_case(files: Files, seed: int, i: int) -> FolderDamage:
    """The two tables in turn; dataset.json agrees with the damage, or knows no digests, as older ones."""
    rng = rng_for(seed, "structured parquet", i)
    name = (SAMPLES, SHARDS)[i % 2]
    change = pick(rng, (_bytes, _footer, _column, _column, _value, _value, _value, _rows))
    try:
        text, data = change(files[name], rng)
    except (pa.ArrowException, OverflowError, ValueError) as error:  # a value that Parquet cannot hold
        text, data = f"empty, for {type(error).__name__}", b""
    info = json.loads(files[INFO])
    if rng.random() < 0.8:
        info["sha256"] = {**info["sha256"], name: hashlib.sha256(data).hexdigest()}
    else:
        del info["sha256"]
    return FolderDamage(f"{name}: {text}", {**files, name: data, INFO: json.dumps(info).encode()})


def _bytes(data: bytes, rng: Rng) -> tuple[str, bytes]:
    damaged = bytearray(data)
    places = sorted(int(rng.integers(len(data))) for _ in range(int(rng.integers(1, 6))))
    for place in places:
        damaged[place] ^= int(rng.integers(1, 256))
    if rng.random() < 0.3:
        stop = int(rng.integers(len(data)))
        return f"cut at {stop}", data[:stop]
    return f"bytes {places} flipped", bytes(damaged)


def _footer(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """The Thrift metadata, or its length."""
    length = int.from_bytes(data[-8:-4], "little")
    start = len(data) - 8 - length
    if rng.random() < 0.4:
        claim = int(pick(rng, (0, 1, length - 1, length + 1, 2**31 - 1, 2**32 - 1, len(data))))
        return f"a footer of {claim} bytes", data[:-8] + claim.to_bytes(4, "little") + data[-4:]
    damaged = bytearray(data)
    for _ in range(int(rng.integers(1, 20))):
        damaged[start + int(rng.integers(length))] = int(pick(rng, (0, 0x7F, 0x80, 0xFF, 0x15, 0x19, 0x1C)))
    return "footer bytes changed", bytes(damaged)


def _written(table: pa.Table) -> bytes:
    out = BytesIO()
    pq.write_table(table, out, compression="zstd", write_page_checksum=True)
    return out.getvalue()


def _column(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """A column of another type, gone, twice, nested, or full of nulls."""
    table = pq.read_table(BytesIO(data))
    at = int(rng.integers(table.num_columns))
    name, count = table.column_names[at], table.num_rows
    what = pick(rng, ("type", "gone", "twice", "nested", "nulls", "order", "dictionary", "binary"))
    column: Any = {
        "type": pa.array([str(i) for i in range(count)]) if rng.random() < 0.5 else pa.array([1.5] * count),
        "nested": pa.array([[{"a": [1]}]] * count),
        "nulls": pa.nulls(count, table.column(at).type),
        "dictionary": pa.array(["x"] * count).dictionary_encode(),
        "binary": pa.array([b"\xff\xfe"] * count),
    }.get(what)
    if column is not None:
        return f"{name} {what}", _written(table.set_column(at, name, column))
    if what == "gone":
        return f"{name} gone", _written(table.remove_column(at))
    if what == "twice":
        return f"{name} twice", _written(table.append_column(name, table.column(at)))
    return "columns in other order", _written(table.select(table.column_names[::-1]))


STRINGS = (
    "",
    "x",
    "\x1b[31m\n",
    "../../../etc/passwd",
    "a" * 5000,
    "\0",
    "refused",
    "test",
    "s3://b/x.tar",
    "nope.tar",
)
NUMBERS = (-1, 0, 1, 511, 2**31, 2**62, -(2**63), 10**12)
FLOATS = (float("nan"), float("inf"), -1.0, 0.0, 1e308)
LISTS: dict[str, tuple[Any, ...]] = {
    "shape_out": ([], [0, 0, 0], [1], [10**6] * 3, [-1, 2, 3], [2**62] * 3, [4, 4, 4, 4]),
    "spacing_out": ([], [0.0] * 3, [float("nan")] * 3, [-1.0, 1.0, 1.0], [1e308] * 3),
    "spacing_in": ([], [1.0]),
    "flags": ([""], ["x"] * 1000, [None]),
}


def _value(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """One value of one row."""
    table = pq.read_table(BytesIO(data))
    columns = table.to_pydict()
    name = pick(rng, table.column_names)
    kind = table.schema.field(name).type
    at = int(rng.integers(table.num_rows))
    if name in LISTS:
        value = pick(rng, LISTS[name])
    else:
        value = pick(rng, STRINGS if kind == pa.string() else FLOATS if kind == pa.float64() else NUMBERS)
    if rng.random() < 0.15:
        value = None
    old, columns[name][at] = columns[name][at], value
    return f"{name} of row {at}: {str(old)[:20]!r} -> {str(value)[:20]!r}", _written(
        pa.table(columns, table.schema)
    )


def _rows(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """Rows that are gone, twice, in other order, or three thousand."""
    table = pq.read_table(BytesIO(data))
    count = table.num_rows
    what = pick(rng, ("none", "twice", "reversed", "one", "many"))
    indices = {
        "none": [], "twice": [*range(count), 0], "reversed": list(range(count))[::-1], "one": [0],
        "many": [i % count for i in range(3_000)],
    }[what]  # fmt: skip
    return f"rows {what}", _written(table.take(pa.array(indices, pa.int64())))
