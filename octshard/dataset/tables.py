"""The tables of a dataset folder, both directions: samples.parquet, shards.parquet, dataset.json (DESIGN §5).

Every input file has one `SampleRow`. Parquet bytes depend on the rows alone.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from octshard.dataset import parquet, row_columns
from octshard.dataset.parquet import UnreadableParquet
from octshard.errors import OctshardError, UsageError
from octshard.imaging.volume import Shape, Spacing
from octshard.storage import json_object, store

FORMAT_VERSION = 2
REBUILD = "build it again with octshard prep shard"
SAMPLES, SHARDS, INFO, PLAN = "samples.parquet", "shards.parquet", "dataset.json", "plan.json"
RUN_INFO = "run.json"  # how fast the last run was; no part of the dataset
DIGESTS = "sha256"  # in dataset.json: table -> the digest of its bytes


@dataclass(frozen=True)
class SampleRow:
    """The result for one input file, stored or refused. Units: mm, bytes, voxels; None: not known."""

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
    split_source: str = ""  # recommended | hash; empty in tables of 0.1.0
    retina_found: float | None = None  # share of blocks with a retinal band; None: nothing was looked for
    format: str = ""  # of the source file, as dicom; empty where it was not recognised, and in older tables
    acquired: str = ""  # YYYY-MM-DD, or days since the first visit; empty: not told
    # of slices that are no stack: degrees, radius_mm or none; and a number for each. Empty: a stack
    slice_axis: str = ""
    slice_places: str = ""  # with a blank between

    @property
    def known_spacing(self) -> Spacing | None:
        """spacing_out; None where one of its axes is not known."""
        return None if any(map(math.isnan, self.lengths(self.spacing_out))) else self.spacing_out

    def lengths(self, spacing: Spacing | None) -> Spacing:
        """A spacing of this row, nan along axes where it is none: all where it was assumed, and D of slices
        that are no stack, which have no step.
        """
        dz, dy, dx = (math.nan,) * 3 if self.assumed_spacing or spacing is None else spacing
        return (math.nan if self.slice_axis else dz, dy, dx)


@dataclass(frozen=True)
class ShardInfo:
    """One finished tar. It is written last, so its presence means that the shard is complete."""

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
        """The stored samples of a split, ordered by shard, then offset."""
        stored = [row for row in self.rows if row.status == "ok" and row.split == split]
        return sorted(stored, key=lambda row: (row.shard, row.offset))

    @property
    def refused(self) -> list[SampleRow]:
        """The rows of input files that are in no shard."""
        return [row for row in self.rows if row.status != "ok"]


def write_rows(url: str, rows: Sequence[SampleRow]) -> None:
    """samples.parquet or one shard's rows, atomically."""
    _write(url, rows, SampleRow)


def read_rows(url: str, sha256: str = "") -> list[SampleRow]:
    """The rows of such a table; OctshardError if it is damaged, or if `sha256` is given and differs."""
    return _read(url, SampleRow, sha256)


def write_shards(url: str, shards: Sequence[ShardInfo]) -> None:
    """shards.parquet, atomically."""
    _write(url, shards, ShardInfo)


def read_shards(url: str, sha256: str = "") -> list[ShardInfo]:
    """The rows of shards.parquet; OctshardError as for `read_rows`."""
    return _read(url, ShardInfo, sha256)


def write_table(url: str, columns: Mapping[str, Sequence[Any]]) -> None:
    """Any other table (truth.parquet): column name -> values, types as pyarrow infers them."""
    store.write(url, parquet.encoded_columns(columns))


def read_table(url: str) -> dict[str, list[Any]]:
    """Column name -> values of any Parquet table."""
    return _get(url)[1]


def write_info(url: str, info: Mapping[str, Any]) -> None:
    """dataset.json: format version, config, config digest, counts, code version.

    Written last: the digests of the two tables beside it are added.
    """
    folder = url.removesuffix(INFO)
    digests = {name: digest for name in (SAMPLES, SHARDS) if (digest := _digest(store.join(folder, name)))}
    text = json.dumps({"format": FORMAT_VERSION, **info, DIGESTS: digests}, indent=1, sort_keys=True)
    store.write(url, text.encode() + b"\n")


def read_info(url: str) -> dict[str, Any]:
    """dataset.json of the folder `url`; an error of one line if there is none or its format differs."""
    try:
        info = json_object.read(store.join(url, INFO))
    except FileNotFoundError:
        raise UsageError(_why_no_dataset(url)) from None
    except json_object.DamagedJson as error:
        raise OctshardError(f"{error}; {REBUILD}") from error
    if (version := info.get("format")) != FORMAT_VERSION:
        raise UsageError(f"{url}: shards of format {version!r}, want {FORMAT_VERSION}; {REBUILD}")
    return info


def table_digests(info: Mapping[str, Any]) -> dict[str, str]:
    """Table -> its sha256 as dataset.json records it; empty for dataset.json of older versions."""
    digests = info.get(DIGESTS)
    return {str(name): str(digest) for name, digest in digests.items()} if isinstance(digests, dict) else {}


def read_tables(url: str) -> Dataset:
    """The tables of the dataset folder `url`, each with the digest that dataset.json records.

    UsageError of one line if the folder is no dataset; OctshardError if a table is missing or has changed.
    """
    info = read_info(url)
    digests = table_digests(info)
    rows = read_rows(store.join(url, SAMPLES), digests.get(SAMPLES, ""))
    return Dataset(
        url, info, tuple(rows), tuple(read_shards(store.join(url, SHARDS), digests.get(SHARDS, "")))
    )


def open_dataset(url: str) -> Dataset:
    """As `read_tables`; also OctshardError if the two tables disagree on the samples of a shard."""
    dataset = read_tables(url)
    for shard in dataset.shards:
        stored = sum(row.shard == shard.name and row.status == "ok" for row in dataset.rows)
        if stored != shard.samples:
            raise OctshardError(
                f"{url}: {shard.name} holds {shard.samples} samples, but {SAMPLES} lists {stored}"
            )
    return dataset


def _why_no_dataset(url: str) -> str:
    names = store.list_names(url)
    datasets = [name for name in names if store.exists(store.join(url, name, INFO))]
    if datasets:
        return f"{url}: no {INFO} here, want one dataset folder, for example {store.join(url, datasets[0])}"
    if PLAN in names:
        return f"{url}: its build is not finished; run the same octshard prep shard again"
    content = f"{len(names)} other files" if names else "nothing"
    return f"{url}: found {content}, want a folder made by octshard prep shard (with {INFO})"


def _write(url: str, values: Sequence[Any], kind: type) -> None:
    store.write(url, parquet.encoded(row_columns.table_of(values, kind)))


def _read(url: str, kind: type, sha256: str) -> list[Any]:
    types, columns = _get(url, sha256)
    try:
        return row_columns.rows_of(types, columns, kind)
    except row_columns.OtherColumns as error:
        raise OctshardError(f"{url}: {error}; {REBUILD}") from None


def _other_digest(data: bytes, sha256: str) -> str:
    """The sha256 of the bytes where another one is given."""
    return "" if not sha256 or (digest := hashlib.sha256(data).hexdigest()) == sha256 else digest


def _get(url: str, sha256: str = "") -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """(types, values) of a table by column name; OctshardError if a digest is given and differs."""
    try:
        data, digest = store.read_checked(url, lambda data: _other_digest(data, sha256))
    except FileNotFoundError:
        raise OctshardError(f"{url}: no such table; {REBUILD}") from None
    if digest:
        raise OctshardError(f"{url}: sha256 {digest}, want {sha256} as in {INFO}; {REBUILD}")
    try:
        return parquet.parsed(data)
    except UnreadableParquet as error:
        raise OctshardError(f"{url}: not a whole Parquet file ({error}); {REBUILD}") from error


def _digest(url: str) -> str:
    """sha256 of an object; empty if there is no such object."""
    try:
        return hashlib.sha256(store.read(url)).hexdigest()
    except FileNotFoundError:
        return ""
