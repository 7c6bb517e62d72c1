"""What one source has made so far: rows that are stored, and rows that wait to be stored.

A run that is killed loses what waits. Parts are stored beside the table, and become one file at the end.
"""

from typing import Protocol

import numpy as np

from octshard.errors import OctshardError
from octshard.eval import feature_table, features, token_files
from octshard.eval.feature_table import VALUES, Features
from octshard.eval.features import FeatureRequest, FeatureSource, Source, TokenSource
from octshard.storage import store, tensors
from octshard.stream.batch import Batch

PARTS = "parts"  # folder in that of the table


class Column(Protocol):
    """Of one source. done: rows that it has, from the first on."""

    done: int

    def start(self, row: int) -> None:
        """The next batch begins with this row, at or before `done`."""
        ...

    def add(self, batch: Batch) -> None:
        """The next rows: OctshardError if a number is not finite."""
        ...

    def flush(self) -> None:
        """Stores what waits."""
        ...

    def finish(self) -> None:
        """All rows are there: makes the files of the table."""
        ...


def column(source: Source, request: FeatureRequest, folder: str) -> Column | None:
    """That of a source whose features the table in `folder` does not have; None if it does."""
    if isinstance(source, TokenSource):
        tokens = _TokenColumn(source, request, folder)
        return None if tokens.done == len(request.scans) else tokens
    digest = features.digest_of(source, request)
    stored = feature_table.find_features(folder, request.keys, digest) is not None
    return None if stored else _ValueColumn(source, request, folder)


def part_names(folder: str, digest: str) -> list[str]:
    """Files of the parts of one source."""
    return [name for name in store.list_names(store.join(folder, PARTS)) if name.startswith(digest)]


def remove_parts(folder: str, digest: str) -> None:
    """Of a source whose features the table has."""
    for name in part_names(folder, digest):
        store.remove(store.join(folder, PARTS, name))


class _ValueColumn:
    def __init__(self, source: FeatureSource, request: FeatureRequest, folder: str) -> None:
        self._source, self._request, self._folder = source, request, folder
        self._digest = features.digest_of(source, request)
        self._waiting: list[np.ndarray] = []
        self._parts = store.join(folder, PARTS)
        self.done = sum(map(len, self._stored()))
        self._first = self._row = self.done  # the first row that is not stored, and the next one to come

    def start(self, row: int) -> None:
        self._row = row

    def add(self, batch: Batch) -> None:
        values_BF = self._source.values_of(batch)[: batch.count]
        for key, values_F in zip(batch.keys, values_BF, strict=False):
            _check_finite(values_F, self._source.name, key)
        self._waiting.append(values_BF[max(0, self.done - self._row) :].astype(np.float32))
        self._row += len(values_BF)
        self.done = max(self.done, self._row)

    def flush(self) -> None:
        if self._first < self.done:
            values_NF = np.concatenate(self._waiting)
            texts = feature_table.texts_of(self._source.origin, self._digest, self._request.digest)
            tensors.write(self._part(self._first), {VALUES: values_NF}, texts)
            self._first, self._waiting = self.done, []

    def finish(self) -> None:
        values_NF = np.concatenate(self._stored())
        if len(values_NF) != len(self._request.scans):
            raise OctshardError(
                f"{self._parts}: {len(values_NF)} rows of {self._source.name} are there, want "
                f"{len(self._request.scans)}; {feature_table.AGAIN}"
            )
        made = Features(self._request.keys, values_NF, self._digest, self._source.origin)
        url = store.join(self._folder, feature_table.file_name(made.info, self._digest))
        feature_table.write_features(url, made, self._request.digest)
        remove_parts(self._folder, self._digest)

    def _part(self, first: int) -> str:
        return store.join(self._parts, f"{self._digest}-{first:08d}{tensors.SUFFIX}")

    def _stored(self) -> list[np.ndarray]:
        """The parts that follow each other from the first row on, up to one that is missing or damaged."""
        names, parts, rows = set(part_names(self._folder, self._digest)), list[np.ndarray](), 0
        while (url := self._part(rows)).rsplit("/", 1)[-1] in names:
            try:
                arrays, texts = tensors.read(url)
            except tensors.DamagedTensors:
                break
            if texts.get("digest") != self._digest or not len(arrays.get(VALUES, ())):
                break
            parts.append(arrays[VALUES])
            rows += len(parts[-1])
        return parts


class _TokenColumn:
    def __init__(self, source: TokenSource, request: FeatureRequest, folder: str) -> None:
        self._source, self._request = source, request
        self._digest = features.digest_of(source, request)
        self._folder = token_files.folder_url(folder, source.origin.name, self._digest)
        self.done = self._stored()
        self._row = self.done

    def start(self, row: int) -> None:
        self._row = row

    def add(self, batch: Batch) -> None:
        texts = feature_table.texts_of(self._source.origin, self._digest, self._request.digest)
        for key, tokens in zip(batch.keys, self._source.tokens_of(batch), strict=False):
            _check_finite(tokens.z_VF, self._source.name, key)
            if self._row >= self.done:
                url = token_files.file_url(self._folder, self._row)
                token_files.write(url, tokens, {**texts, "key": key})
            self._row += 1

    def flush(self) -> None:
        """Nothing waits."""

    def finish(self) -> None:
        """Each scan has its file."""

    def _stored(self) -> int:
        names = set(store.list_names(self._folder))
        for row in range(len(self._request.scans)):
            url = token_files.file_url(self._folder, row)
            if url.rsplit("/", 1)[-1] not in names or token_files.read(url, self._digest) is None:
                return row
        return len(self._request.scans)


def _check_finite(values: np.ndarray, name: str, key: str) -> None:
    if np.isfinite(values).all():
        return
    advice = "; token_type=fp32 holds larger ones" if values.dtype == np.float16 else ""
    raise OctshardError(f"features {name}: scan {key} gave nan or inf, want finite numbers{advice}")
