"""Dataset folders as a map-style PyTorch dataset: every volume by its number, verified on every read.

Nothing stays open between reads and no lock is held, so it may be pickled, forked and spawned.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from octshard.dataset import row_filter, sample, stored_band, stored_scale, tables
from octshard.dataset.folders import dataset_folders
from octshard.dataset.shard import Sample
from octshard.dataset.splits import SPLITS, check_disjoint, check_distinct
from octshard.dataset.tables import SampleRow
from octshard.errors import OctshardError, UsageError
from octshard.extras import install_advice
from octshard.imaging.retina_band import not_found
from octshard.storage import store

ROW_FACTS = (
    "key", "participant", "device", "manufacturer", "model", "protocol", "region", "eye", "split", "source",
    "geometry", "slice_axis", "slice_places", "shard",
)  # fmt: skip


class _StoredRow(NamedTuple):
    folder: str
    row: SampleRow


class ShardDataset(Dataset[dict[str, Any]]):
    """The volumes of one or several dataset folders, in the order in which they lie.

    folder_or_folders: SHARDS/<device>, a folder of such, or a list of either; local, gs:// or s3://. split:
    train, val, test, or None for all. filter: which rows of samples.parquet to take: a function of a row, or
    a text as data.filter, such as "'saturated' not in flags". as_metatensor: images as MONAI MetaTensors
    (extra `monai`). as_grey: images in grey 0 to 255, float32, however many bits are stored. UsageError for a
    volume that stands in two folders, and, where a split is named, for a participant who stands in several.

    An item is a dict:
    image: uint8 (1, D, H, W), as stored; uint16 in all items if one of the volumes is. meta["source_levels"]
    are the levels of such a volume that are grey 0 and 255;
    spacing: float32 (3,), mm along D, H, W; no lengths are all three where meta["assumed_spacing"] is 1, and
    the first where meta["slice_axis"] is not empty;
    meta: what the sample's JSON says, and of its row key, participant, device, eye, split and the like; flags
    are one text with commas between, so that the default collate function takes every value;
    retina_band: int16 (D, Q, 2), first row of the retina and the row behind its last, in B-scan d and columns
    8 q to 8 q + 8; -1 where it was not found, and everywhere in a volume of octshard 0.1, which has none.

    As a MetaTensor, `image.affine` is diag(dz, dy, dx, 1), float64: mm from the first voxel along D
    (B-scans), H (depth), W (A-scans). These are axes of the scan; where it lies in the head is not known.
    """

    def __init__(
        self,
        folder_or_folders: str | Path | Sequence[str | Path],
        split: str | None = None,
        filter: Callable[[SampleRow], bool] | str | None = None,
        *,
        as_metatensor: bool = False,
        as_grey: bool = False,
    ) -> None:
        if split is not None and split not in SPLITS:
            raise UsageError(f"split {split!r}: want one of {', '.join(SPLITS)}, or None for all")
        if as_metatensor:
            _metatensor_class()
        if isinstance(filter, str):
            filter = row_filter.parse(filter, "ShardDataset filter")
        self.split, self.as_metatensor, self.as_grey = split, as_metatensor, as_grey
        stored = [
            _StoredRow(url, row)
            for url in _dataset_urls(folder_or_folders)
            for row in sorted(tables.open_dataset(url).rows, key=lambda row: (row.shard, row.offset or 0))
            if row.status == "ok"
        ]
        if split is not None:
            check_disjoint((entry.row for entry in stored), "ShardDataset")
            stored = [entry for entry in stored if entry.row.split == split]
        check_distinct(((entry.folder, entry.row.key) for entry in stored), "ShardDataset")
        self._samples = [entry for entry in stored if filter is None or filter(entry.row)]
        self._is_wide = any(entry.row.dtype == "uint16" for entry in self._samples)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Reads one volume. BadSample names shard, offset and key if it is not what was written."""
        folder, row = self._samples[index]
        stored = sample.read(folder, row)
        location = f"{store.join(folder, row.shard)} at {row.offset} ({row.key})"
        if row.spacing_out is None:
            raise OctshardError(f"{location}: no spacing_out in {tables.SAMPLES}; {tables.REBUILD}")
        facts = {name: getattr(row, name) for name in ROW_FACTS}
        meta = {**stored.meta, **facts, "flags": ",".join(row.flags)}
        meta.pop(stored_band.NAME, None)
        depth, height, width = stored.voxels_DHW.shape
        band = stored_band.from_json(stored.meta, (depth, height, width), location) or not_found(depth, width)
        image = torch.from_numpy(self._voxels(stored)).unsqueeze(0)
        if self.as_metatensor:
            affine = torch.diag(torch.tensor([*row.spacing_out, 1.0], dtype=torch.float64))
            image = _metatensor_class()(image, affine=affine, meta={"filename_or_obj": location})
        spacing, rows_DQ2 = torch.tensor(row.spacing_out), torch.from_numpy(band.rows_DQ2.copy())
        return {"image": image, "spacing": spacing, "meta": meta, "retina_band": rows_DQ2}

    def _voxels(self, stored: Sample) -> np.ndarray:
        """Of one type in all items, so that they can be collated; a copy, as what was read is read-only."""
        if self.as_grey:
            return stored_scale.grey(stored)
        return stored.voxels_DHW.astype(np.uint16) if self._is_wide else stored.voxels_DHW.copy()

    @property
    def rows(self) -> list[SampleRow]:
        """The row of samples.parquet of each item, in order."""
        return [stored.row for stored in self._samples]


def _dataset_urls(folder_or_folders: str | Path | Sequence[str | Path]) -> list[str]:
    """The dataset folders of one or several folders, in order; UsageError if no folder is named."""
    folders = [folder_or_folders] if isinstance(folder_or_folders, str | Path) else folder_or_folders
    urls = dataset_folders(map(str, folders))
    if not urls:
        raise UsageError("ShardDataset: no folder, want at least one, for example SHARDS/topcon_triton")
    return urls


def _metatensor_class() -> Any:
    try:
        from monai.data import MetaTensor
    except ImportError as error:
        raise UsageError(
            f"as_metatensor=True: MONAI is not here ({error}); {install_advice('monai')}"
        ) from error
    return MetaTensor
