"""The tables of a dataset folder, both directions: samples.parquet, shards.parquet, dataset.json (DESIGN §5).

One `SampleRow` per input file, always. The only pyarrow import. Parquet bytes depend on the rows alone.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from octshard.errors import OctshardError, UsageError
from octshard.imaging.volume import Shape, Spacing
from octshard.storage import store

FORMAT_VERSION = 2
AGAIN = "build it again with octshard prep shard"
SAMPLES, SHARDS, INFO, PLAN = "samples.parquet", "shards.parquet", "dataset.json", "plan.json"
RUN = "run.json"  # how fast the last run was; no part of the dataset
SUMS = "sha256"  # in dataset.json: table -> the digest of its bytes


@dataclass(frozen=True)
class SampleRow:
    """What became of one input file. Units: mm, bytes, voxels; None where it never became known."""

    key: str
    participant: str
    device: str
    manufacturer: str
    model: str
    protocol: str
    region: str
    eye: str
    split: str
    source: str
    source_bytes: int | None = None
    source_crc32: int | None = None
    source_xxh3: str = ""
    sop_instance_uid: str = ""
    transfer_syntax: str = ""
    frames: int | None = None
    rows: int | None = None
    cols: int | None = None
    bits: int | None = None
    spacing_in: Spacing | None = None
    spacing_source: str = ""
    assumed_spacing: int = 0
    decoded_level: int | None = None
    fast_psnr_db: float | None = None
    geometry: str = ""
    blank_frames: int | None = None
    no_retina_frames: int | None = None
    flags: tuple[str, ...] = ()
    shape_out: Shape | None = None
    spacing_out: Spacing | None = None
    dtype: str = ""
    mean: float | None = None
    std: float | None = None
    p01: float | None = None
    p99: float | None = None
    shard: str = ""
    offset: int | None = None
    nbytes: int | None = None
    sha256: str = ""
    xxh3: str = ""
    status: str = "ok"
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class ShardInfo:
    """One finished tar; written last, so its presence means done."""

    name: str
    device: str
    split: str
    samples: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """One device folder: its tables, read and checked."""

    url: str
    info: Mapping[str, Any]
    rows: tuple[SampleRow, ...]
    shards: tuple[ShardInfo, ...]

    def samples(self, split: str) -> list[SampleRow]:
        """The stored samples of a split in the order in which they lie: by shard, then offset."""
        found = [row for row in self.rows if row.status == "ok" and row.split == split]
        return sorted(found, key=lambda row: (row.shard, row.offset))

    @property
    def refused(self) -> list[SampleRow]:
        """The input files that are not in any shard."""
        return [row for row in self.rows if row.status != "ok"]


_TYPES: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    int | None: pa.int64(),
    float | None: pa.float64(),
    Spacing | None: pa.list_(pa.float64()),
    Shape | None: pa.list_(pa.int64()),
    tuple[str, ...]: pa.list_(pa.string()),
}


def write_rows(url: str, rows: Sequence[SampleRow]) -> None:
    """samples.parquet or one shard's rows, atomically."""
    _write(url, rows, SampleRow)


def read_rows(url: str, sha256: str = "") -> list[SampleRow]:
    """The rows of such a table; OctshardError if its bytes are damaged, or of another digest."""
    return _read(url, SampleRow, sha256)


def write_shards(url: str, shards: Sequence[ShardInfo]) -> None:
    """shards.parquet, atomically."""
    _write(url, shards, ShardInfo)


def read_shards(url: str, sha256: str = "") -> list[ShardInfo]:
    """The rows of shards.parquet, with the same promise."""
    return _read(url, ShardInfo, sha256)


def write_table(url: str, columns: Mapping[str, Sequence[Any]]) -> None:
    """Any other table (truth.parquet): column name -> values, types as pyarrow infers them."""
    _put(url, pa.table({name: list(values) for name, values in columns.items()}))


def read_table(url: str) -> dict[str, list[Any]]:
    """Column name -> values of any Parquet table."""
    return _get(url)[1]


def write_info(url: str, info: Mapping[str, Any]) -> None:
    """dataset.json: format version, config, config digest, counts, code version.

    It closes the folder: the digests of the tables that stand beside it go in as well.
    """
    folder = url.removesuffix(INFO)
    sums = {name: digest for name in (SAMPLES, SHARDS) if (digest := _digest(store.join(folder, name)))}
    text = json.dumps({"format": FORMAT_VERSION, **info, SUMS: sums}, indent=1, sort_keys=True)
    store.write(url, text.encode() + b"\n")


def read_info(url: str) -> dict[str, Any]:
    """dataset.json of the folder `url`, of our format version; else one line that says why not."""
    try:
        info = json.loads(store.read(store.join(url, INFO)))
    except FileNotFoundError:
        raise UsageError(_why_no_dataset(url)) from None
    except ValueError as error:
        raise OctshardError(f"{store.join(url, INFO)}: not JSON ({error}); {AGAIN}") from error
    found = info.get("format") if isinstance(info, dict) else info
    if found != FORMAT_VERSION:
        raise UsageError(f"{url}: shards of format {found!r}, want {FORMAT_VERSION}; {AGAIN}")
    return cast(dict[str, Any], info)


def sums(info: Mapping[str, Any]) -> dict[str, str]:
    """Table -> its digest by dataset.json; older ones have none."""
    told = info.get(SUMS)
    return {str(name): str(digest) for name, digest in told.items()} if isinstance(told, dict) else {}


def read_tables(url: str) -> Dataset:
    """The tables of the dataset folder `url`, each as it was when dataset.json was written.

    A UsageError says in one line why there are none; OctshardError if one is missing or has changed.
    """
    info = read_info(url)
    told = sums(info)
    rows = read_rows(store.join(url, SAMPLES), told.get(SAMPLES, ""))
    return Dataset(url, info, tuple(rows), tuple(read_shards(store.join(url, SHARDS), told.get(SHARDS, ""))))


def open_dataset(url: str) -> Dataset:
    """The same, held against each other; a UsageError says in one line why the folder cannot be used."""
    found = read_tables(url)
    for shard in found.shards:
        stored = sum(row.shard == shard.name and row.status == "ok" for row in found.rows)
        if stored != shard.samples:
            raise OctshardError(
                f"{url}: {shard.name} holds {shard.samples} samples, but {SAMPLES} lists {stored}"
            )
    return found


def _why_no_dataset(url: str) -> str:
    names = store.list_names(url)
    inner = [name for name in names if store.exists(store.join(url, name, INFO))]
    if inner:
        return f"{url}: no {INFO} here, want one dataset folder, for example {store.join(url, inner[0])}"
    if PLAN in names:
        return f"{url}: its build is not finished; run the same octshard prep shard again"
    found = f"{len(names)} other files" if names else "nothing"
    return f"{url}: found {found}, want a folder made by octshard prep shard (with {INFO})"


def _write(url: str, values: Sequence[Any], kind: type) -> None:
    fields = dataclasses.fields(kind)
    columns = {f.name: [_plain(getattr(value, f.name)) for value in values] for f in fields}
    _put(url, pa.table(columns, schema=pa.schema(_schema(kind))))


def _read(url: str, kind: type, sha256: str) -> list[Any]:
    types, columns = _get(url, sha256)
    wanted = _schema(kind)
    if missing := sorted({*wanted} - {*columns}):
        raise OctshardError(f"{url}: columns {missing} are missing; {AGAIN}")
    if other := [name for name in wanted if types[name] != wanted[name]]:
        found = ", ".join(f"{name} is {types[name]}, want {wanted[name]}" for name in other)
        raise OctshardError(f"{url}: {found}; {AGAIN}")
    frozen = [[_frozen(value) for value in columns[name]] for name in wanted]
    return [kind(*values) for values in zip(*frozen, strict=True)]


def _schema(kind: type) -> dict[str, pa.DataType]:
    return {name: _TYPES[hint] for name, hint in get_type_hints(kind).items()}


def _put(url: str, table: pa.Table) -> None:
    sink = BytesIO()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    store.write(url, sink.getvalue())


def _get(url: str, sha256: str = "") -> tuple[dict[str, pa.DataType], dict[str, list[Any]]]:
    """(types, values) by column name of a table whose bytes, if a digest is given, have that one."""
    try:
        data = store.read(url)
    except FileNotFoundError:
        raise OctshardError(f"{url}: no such table; {AGAIN}") from None
    if sha256 and (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise OctshardError(f"{url}: sha256 {found}, want {sha256} as in {INFO}; {AGAIN}")
    try:
        # in this thread alone: one of Arrow's that lets go of a Python object at the end aborts the process
        with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False, page_checksum_verification=True) as file:
            table = file.read(use_threads=False)
        return {field.name: field.type for field in table.schema}, table.to_pydict()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # what Arrow raises on damaged bytes
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise OctshardError(f"{url}: not a whole Parquet file ({said}); {AGAIN}") from error


def _digest(url: str) -> str:
    """Of an object's bytes; nothing if there is none."""
    try:
        return hashlib.sha256(store.read(url)).hexdigest()
    except FileNotFoundError:
        return ""


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
