"""The stored volumes of dataset folders, chosen by key: where each lies, or what is wrong with a key."""

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from octshard.dataset import sample
from octshard.dataset.shard import Sample
from octshard.dataset.splits import check_distinct
from octshard.dataset.tables import Dataset, SampleRow
from octshard.errors import UsageError


class StoredVolume(NamedTuple):
    """The row of a volume, and the dataset folder that it lies in."""

    folder: str
    row: SampleRow

    def read(self) -> Sample:
        """The sample, verified; an OctshardError names shard, offset and key."""
        return sample.read(self.folder, self.row)


def stored_volumes(datasets: Iterable[Dataset]) -> list[StoredVolume]:
    """All, in the order in which they lie."""
    return [
        StoredVolume(dataset.url, row)
        for dataset in datasets
        for row in sorted(dataset.rows, key=lambda row: (row.shard, row.offset or 0))
        if row.status == "ok"
    ]


def by_keys(datasets: Sequence[Dataset], keys: Sequence[str], source: str) -> list[StoredVolume]:
    """The volumes of these keys, each once, in their order.

    UsageError, beginning with `source`, for a key that no file has, or one that was refused, and for a volume
    that stands in two folders.
    """
    stored = [volume for volume in stored_volumes(datasets) if volume.row.key in set(keys)]
    check_distinct(((volume.folder, volume.row.key) for volume in stored), source)
    volumes = {volume.row.key: volume for volume in stored}
    for key in keys:
        if key not in volumes:
            raise UsageError(f"{source}: {_why_not(datasets, key)}")
    return [volumes[key] for key in dict.fromkeys(keys)]


def _why_not(datasets: Sequence[Dataset], key: str) -> str:
    for row in (row for dataset in datasets for row in dataset.rows):
        if row.key == key:
            detail = f" ({row.detail})" if row.detail else ""
            return f"{key} was refused: {row.reason}{detail}; want a stored volume"
    keys = [volume.row.key for volume in stored_volumes(datasets)]
    if not keys:
        return f"no volume {key!r}, and none is stored there"
    close = [name for name in keys if key and key in name] or difflib.get_close_matches(key, keys, 1)
    advice = f"did you mean {close[0]}?" if close else f"the keys stand in samples.parquet, as {keys[0]}"
    return f"no volume {key!r}; {advice}"
