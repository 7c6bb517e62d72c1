"""The scans that evaluation reads: all splits of the dataset folders in one list, whole, in a fixed order."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from octshard.config.train import TrainConfig
from octshard.dataset import row_filter
from octshard.dataset.participants import canonical
from octshard.dataset.splits import SPLITS, check_distinct
from octshard.dataset.tables import Dataset, SampleRow
from octshard.devices.backend import Backend
from octshard.errors import OctshardError
from octshard.eval import scan_filter
from octshard.eval.extraction import ScanStream
from octshard.eval.feature_table import scan_of
from octshard.eval.features import FeatureRequest
from octshard.eval.scan_filter import LeftOut
from octshard.imaging.volume import Shape, product
from octshard.probes import embedding
from octshard.progress import OnProgress
from octshard.stream import loader
from octshard.stream.batch import Batch, BatchTransform, RankSlice
from octshard.stream.index import SampleIndex, build_index, open_datasets

STREAM_BYTES = 2**30  # of whole volumes in a batch, at most


@dataclass(frozen=True, eq=False)
class Scans:
    """index: train, then val, then test. cfg: how the shards are read, by the settings of a run."""

    index: SampleIndex
    cfg: TrainConfig
    left_out: LeftOut = LeftOut()

    @property
    def shapes(self) -> list[Shape]:
        """(D, H, W) voxels stored, of each."""
        return [sample.shape for sample in self.index.samples]

    def request(self, site_of: Mapping[str, str] | None = None) -> FeatureRequest:
        """site_of: the site of participants, by canonical id, where it is known."""
        sites = site_of or {}
        return FeatureRequest(
            tuple(scan_of(row, sites.get(canonical(row.participant), "")) for row in self.rows)
        )

    @property
    def box(self) -> Shape:
        """Voxels along D, H, W that hold any of them."""
        d, h, w = (max(sizes) for sizes in zip(*set(self.shapes), strict=True))
        return d, h, w

    def batch_size(self, tiles: int, batch: int) -> int:
        """Whole volumes in a batch: as many as have `batch` of all `tiles`, on average."""
        fitting = STREAM_BYTES // (product(self.box) * self.index.voxel_dtype.itemsize)
        return max(1, min(batch * len(self.shapes) // tiles, fitting))

    @property
    def rows(self) -> list[SampleRow]:
        """Of the sample tables."""
        return [sample.row for sample in self.index.samples]

    def stream(self, size: int, backend: Backend, on_progress: OnProgress) -> ScanStream:
        """All of them, `size` in a batch."""
        transform = BatchTransform(backend.pin, backend.empty)
        return ScanStream(size, lambda row: self._batches(row, size, transform, on_progress))

    def _batches(
        self, row: int, size: int, transform: BatchTransform[Batch], on_progress: OnProgress
    ) -> Iterator[Batch]:
        total, rest = len(self.index.samples), self.index.samples[row:]
        index = dataclasses.replace(self.index, samples=rest)
        on_progress(row, total, "features")
        for batch in loader.eval_batches(index, self.cfg, RankSlice(size, 0, 1), 0, transform):
            yield batch
            row += batch.count
            on_progress(row, total, "features")


class Indexes(NamedTuple):
    """The datasets, and of each split the scans that the filter leaves."""

    datasets: Sequence[Dataset]
    of_split: Mapping[str, SampleIndex]
    left_out: LeftOut


def read_indexes(cfg: TrainConfig, filter: str) -> Indexes:
    """All splits of the folders in data.shards; UsageError for a filter that cannot be, or leaves nothing."""
    fits = row_filter.parse(filter, scan_filter.NAME)
    datasets = open_datasets(cfg)
    of_split = {split: build_index(datasets, cfg, split, 0, fits) for split in SPLITS}
    counts = {split: index.filtered for split, index in of_split.items()}
    scans = sum(len(index.samples) for index in of_split.values())
    left_out = LeftOut(fits.text, counts, scans + sum(counts.values()))
    if scans + sum(counts.values()):
        left_out.check_left(", ".join(cfg.data.shards))
    return Indexes(datasets, of_split, left_out)


def open_scans(shards: Sequence[str], trained: TrainConfig, filter: str = "") -> Scans:
    """Of these dataset folders; of the run's settings no place is used, as they may be somebody else's.

    UsageError if a volume is in two of the folders, whatever its splits, and as `read_indexes`.
    """
    data = dataclasses.replace(trained.data, shards=list(shards), cache_dir="")
    cfg = dataclasses.replace(trained, data=data)
    datasets, of_split, left_out = read_indexes(cfg, filter)
    samples = tuple(sample for index in of_split.values() for sample in index.samples)
    check_distinct(((datasets[sample.folder].url, sample.row.key) for sample in samples), "shards")
    if not samples:
        raise OctshardError(f"shards {', '.join(shards)}: no scan in any split, want at least one")
    index = dataclasses.replace(of_split[SPLITS[0]], split="all", samples=samples)
    return Scans(index, embedding.whole_volumes(cfg, (sample.shape for sample in samples)), left_out)
