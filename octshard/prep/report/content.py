"""What a page is made from: the tables of finished datasets, and what lies beside them."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from octshard.dataset import folders, tables
from octshard.dataset.tables import Dataset, SampleRow
from octshard.prep.build import source_versions
from octshard.prep.build.source_versions import Origin
from octshard.storage import json_object, store


@dataclass(frozen=True)
class Shards:
    """The content of a page: finished datasets, and the folders beside them whose build is not finished."""

    datasets: tuple[Dataset, ...]
    runs: tuple[Mapping[str, Any], ...]  # run.json of each dataset; empty if it has none
    unfinished: tuple[str, ...]
    url: str = ""  # as the command named it
    origins: tuple[Origin | None, ...] = ()  # where the files of each dataset were read

    @property
    def rows(self) -> list[SampleRow]:
        """Of all datasets."""
        return [row for dataset in self.datasets for row in dataset.rows]

    @property
    def devices(self) -> list[str]:
        """Of the datasets, in their order."""
        return [device_of(dataset) for dataset in self.datasets]


def open_shards(url: str) -> Shards:
    """The tables of the dataset folder `url`, or of every one directly below it."""
    listing = folders.find(url)
    return Shards(
        tuple(map(tables.open_dataset, listing.whole)),
        tuple(map(_run, listing.whole)),
        listing.unfinished,
        url,
        tuple(source_versions.read_origin(*place_of(folder)) for folder in listing.whole),
    )


def place_of(folder: str) -> tuple[str, str]:
    """(the DST that a dataset folder lies in, its name there)."""
    if not store.is_remote(folder) and os.path.basename(folder.rstrip("/")) in ("", ".", ".."):
        folder = os.path.abspath(folder)
    parent, _, name = folder.rstrip("/").rpartition("/")
    return parent or ("/" if folder.startswith("/") else "."), name


def device_of(dataset: Dataset) -> str:
    """The device that a dataset says it is of."""
    return str(dataset.info.get("device") or (dataset.rows[0].device if dataset.rows else "no device"))


def people(rows: Iterable[SampleRow]) -> int:
    """Those with a stored volume."""
    return len({row.participant for row in rows if row.status == "ok"})


def _run(folder: str) -> Mapping[str, Any]:
    """run.json of the last run; empty where there is none, or where it is damaged."""
    try:
        return json_object.read(store.join(folder, tables.RUN_INFO))
    except (FileNotFoundError, store.NotAFile, json_object.DamagedJson):
        return {}
