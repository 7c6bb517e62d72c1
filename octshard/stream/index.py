"""The samples of one split over all dataset folders of a run, and the errors that keep them from being used.

Order, batches and resume depend on this index alone; its digest goes into every checkpoint.
"""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from octshard.config.train import TrainConfig
from octshard.dataset import row_filter, tables
from octshard.dataset.folders import dataset_folders
from octshard.dataset.preparation import preparations, voxel_limit
from octshard.dataset.row_filter import RowFilter
from octshard.dataset.splits import check_distinct
from octshard.dataset.tables import Dataset, SampleRow
from octshard.errors import OctshardError, UsageError
from octshard.imaging.volume import Shape, product, valid_tokens
from octshard.storage import store
from octshard.stream.cache_folder import ShardFile
from octshard.stream.sampler import Domain, SamplerConfig, single_domain

WIDE = "uint16"  # dtype of a row of more than 8 bits
NO_SHARDS = "data.shards: empty, want at least one dataset folder, for example data.shards=[SHARDS/DEVICE]"


@dataclass(frozen=True)
class SampleRef:
    """One stored sample and its place. folder: which of data.shards it is in, from 0."""

    shard: ShardFile
    folder: int
    row: SampleRow

    @property
    def start(self) -> int:
        """First byte of the slice in the shard."""
        return self._require(self.row.offset, "offset")

    @property
    def stop(self) -> int:
        """The byte behind the slice."""
        return self.start + self._require(self.row.nbytes, "nbytes")

    @property
    def shape(self) -> Shape:
        """(D, H, W) voxels stored."""
        if self.row.shape_out is None:
            raise OctshardError(f"{self.location}: no shape_out in {tables.SAMPLES}; {tables.REBUILD}")
        return self.row.shape_out

    @property
    def location(self) -> str:
        """Shard, offset and key, as errors name them."""
        return f"{self.shard.url} at {self.row.offset} ({self.row.key})"

    def _require(self, value: int | None, name: str) -> int:
        if value is None:
            raise OctshardError(f"{self.location}: no {name} in {tables.SAMPLES}; {tables.REBUILD}")
        return value


@dataclass(frozen=True)
class SampleIndex:
    """The samples, ordered by dataset folder, shard and offset."""

    split: str
    samples: tuple[SampleRef, ...]
    left_out: tuple[str, ...]  # keys of volumes with fewer valid tokens than the masks need
    refused: int  # input files that never became samples (skipped_files), all splits together
    folders: int  # dataset folders of data.shards, also those without a sample of this split
    preparations: tuple[Mapping[str, Any], ...] = ()  # settings of prep behind them; no part of the digest
    filtered_of: Mapping[int, int] = field(default_factory=dict)  # folder -> volumes that a filter leaves out

    @property
    def filtered(self) -> int:
        """Volumes of this split that the filter leaves out."""
        return sum(self.filtered_of.values())

    @property
    def samples_per_shard(self) -> tuple[int, ...]:
        """In the order of the index."""
        return tuple(Counter(sample.shard.url for sample in self.samples).values())

    @property
    def voxel_dtype(self) -> torch.dtype:
        """Of all batches of the index: uint8, or int16 (`Batch`) if one of its volumes has 16 bits."""
        return torch.int16 if any(sample.row.dtype == WIDE for sample in self.samples) else torch.uint8

    @property
    def digest(self) -> str:
        """Changes when the samples or their order do, not when a folder moves. 16 hex digits."""
        text = "\n".join(f"{sample.row.key} {sample.row.sha256}" for sample in self.samples)
        return hashlib.sha256(f"{self.samples_per_shard}\n{text}".encode()).hexdigest()[:16]


def load_index(cfg: TrainConfig, split: str, needed_tokens: int) -> SampleIndex:
    """`build_index` of the datasets in data.shards, without what data.filter and data.drop leave out."""
    fits = filter_of(cfg)
    datasets = open_datasets(cfg)
    check_dropped(datasets, cfg)
    return without_dropped(build_index(datasets, cfg, split, needed_tokens, fits), cfg)


def filter_of(cfg: TrainConfig) -> RowFilter:
    """data.filter: training and validation do without what it leaves out, eval does not."""
    return row_filter.parse(cfg.data.filter, "data.filter")


def open_datasets(cfg: TrainConfig) -> tuple[Dataset, ...]:
    """The tables of every dataset folder in data.shards, in order.

    UsageError if there are no folders, OctshardError if tables are incomplete.
    """
    if not cfg.data.shards:
        raise UsageError(NO_SHARDS)
    return tuple(tables.open_dataset(url) for url in dataset_folders(cfg.data.shards))


def build_index(
    datasets: Sequence[Dataset],
    cfg: TrainConfig,
    split: str,
    needed_tokens: int,
    fits: Callable[[SampleRow], bool] | None = None,
) -> SampleIndex:
    """The samples of `split` in `datasets` for which `fits` is true, without volumes of fewer than
    `needed_tokens` valid tokens.

    Reads nothing. UsageError if a volume is in two datasets, OctshardError if a table lacks a shard.
    """
    samples: list[SampleRef] = []
    left_out: list[str] = []
    filtered = Counter[int]()
    for folder, dataset in enumerate(datasets):
        limit = voxel_limit(dataset.info)
        shards = _shard_files(dataset)
        for row in dataset.samples(split):
            if fits is not None and not fits(row):
                filtered[folder] += 1
                continue
            if row.shard not in shards:
                raise OctshardError(
                    f"{dataset.url}: {row.key} lies in {row.shard}, which {tables.SHARDS} does not list; "
                    f"{tables.REBUILD}"
                )
            sample = SampleRef(shards[row.shard], folder, row)
            _check_size(sample, limit)
            if product(token_grid(sample.shape, cfg)) < needed_tokens:
                left_out.append(row.key)
            else:
                samples.append(sample)
    check_distinct(((datasets[ref.folder].url, ref.row.key) for ref in samples), "data.shards")
    refused = sum(len(dataset.refused) for dataset in datasets)
    return SampleIndex(
        split, tuple(samples), tuple(left_out), refused, len(datasets), preparations(datasets), filtered
    )


def _shard_files(dataset: Dataset) -> dict[str, ShardFile]:
    """By name."""
    return {
        info.name: ShardFile(store.join(dataset.url, info.name), info.bytes, info.sha256)
        for info in dataset.shards
    }


def _check_size(sample: SampleRef, limit: int) -> None:
    """OctshardError if the row claims what prep never stores, before memory is taken for it."""
    if product(sample.shape) > limit or min(sample.shape) < 1:
        raise OctshardError(
            f"{sample.location}: {sample.shape} voxels, want 1 to {limit} of them; run octshard prep verify"
        )
    if not 0 <= sample.start < sample.stop <= sample.shard.bytes:
        raise OctshardError(
            f"{sample.location}: bytes {sample.start} to {sample.stop} of a shard of {sample.shard.bytes}; "
            "run octshard prep verify"
        )


def check_dropped(datasets: Sequence[Dataset], cfg: TrainConfig) -> None:
    """UsageError for a key of data.drop that no dataset holds."""
    if not cfg.data.drop:
        return
    known = {row.key for dataset in datasets for row in dataset.rows if row.status == "ok"}
    for key in cfg.data.drop:
        if key not in known:
            raise UsageError(
                f"data.drop: {key} is the key of no volume in data.shards, want keys of {tables.SAMPLES}"
            )


def without_dropped(index: SampleIndex, cfg: TrainConfig) -> SampleIndex:
    """`index` without the volumes of data.drop: training and validation do without them, eval does not."""
    drop = set(cfg.data.drop)
    samples = tuple(sample for sample in index.samples if sample.row.key not in drop)
    return dataclasses.replace(index, samples=samples) if drop else index


def sampler_config(index: SampleIndex, cfg: TrainConfig) -> SamplerConfig:
    """What decides the order of the samples under `cfg`: data.weights and data.balance make its domains.

    Reads nothing. UsageError for weights that are not one per dataset folder, or both settings at once.
    """
    data = cfg.data
    return SamplerConfig(cfg.run.seed, _domains(index, cfg), data.lanes, data.shuffle_block_size)


def token_grid(stored: Shape, cfg: TrainConfig) -> Shape:
    """Valid tokens of a stored volume along D, H, W at this model's image_size and patch."""
    d, h, w = cfg.model.image_size
    pd, ph, pw = cfg.model.patch
    return valid_tokens(stored, (d, h, w), (pd, ph, pw))


def valid_tokens_of(index: SampleIndex, cfg: TrainConfig) -> np.ndarray:
    """(N,) int64: of each sample of the index."""
    return np.array([product(token_grid(sample.shape, cfg)) for sample in index.samples], np.int64)


def _domains(index: SampleIndex, cfg: TrainConfig) -> tuple[Domain, ...]:
    data = cfg.data
    if not data.weights and data.balance == "none":
        return single_domain(index.samples_per_shard)
    if data.weights and data.balance != "none":
        raise UsageError(
            f"data.weights={list(data.weights)} and data.balance={data.balance}: want one of the two"
        )
    if data.weights and len(data.weights) != index.folders:
        raise UsageError(
            f"data.weights={list(data.weights)}: {len(data.weights)} numbers, want one for each of the "
            f"{index.folders} dataset folders of data.shards"
        )
    # names are part of the order: they must not change when a folder moves
    weights = {f"data.shards[{folder}]": weight for folder, weight in enumerate(data.weights)}
    shards_by_name: dict[str, list[tuple[int, int]]] = {name: [] for name in weights}
    first = 0
    for count in index.samples_per_shard:
        sample = index.samples[first]
        name = f"data.shards[{sample.folder}]" if weights else sample.row.device
        shards_by_name.setdefault(name, []).append((first, count))
        first += count
    _check_weighed(index, cfg, shards_by_name)
    domains = (Domain(name, tuple(shards), weights.get(name, 1.0)) for name, shards in shards_by_name.items())
    return tuple(domains)


def _check_weighed(index: SampleIndex, cfg: TrainConfig, shards_by_name: Mapping[str, Sequence[Any]]) -> None:
    """UsageError for a folder with a weight of which the filter leaves nothing."""
    for folder, count in sorted(index.filtered_of.items()):
        name = f"data.shards[{folder}]"
        if shards_by_name.get(name) == []:
            raise UsageError(
                f"data.filter={cfg.data.filter!r:.999}: true for none of the {count} {index.split} volumes "
                f"of {name}, which has a weight in data.weights; want another filter, or no such folder"
            )
