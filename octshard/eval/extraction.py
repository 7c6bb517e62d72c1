"""Fills a feature table: what it lacks is computed in one pass over the scans, and stored as it comes.

Killed at any moment, the same call goes on behind what is stored, with the same batches, and so to the same
bytes.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from octshard.errors import OctshardError
from octshard.eval import feature_table, features
from octshard.eval.columns import PARTS, Column, column, remove_parts
from octshard.eval.feature_table import Features
from octshard.eval.features import FeatureRequest, Source, TokenSource
from octshard.storage import lock, store
from octshard.stream.batch import Batch

PART_S = 30.0  # seconds of work that a kill can cost
LOCK = "lock"


@dataclass(frozen=True)
class ScanStream:
    """batches(row): whole volumes of all scans from that row on, in order, `size` in each batch; the row is a
    multiple of `size`.
    """

    size: int
    batches: Callable[[int], Iterable[Batch]]


def extract(
    sources: Sequence[Source], request: FeatureRequest, folder: str, stream: ScanStream
) -> dict[str, Features]:
    """Source name -> its features of the requested scans, which the table in `folder` then has; tokens are
    only stored there.
    """
    fill(sources, request, folder, stream)
    extracted = {}
    for source in sources:
        if isinstance(source, TokenSource):
            continue
        stored = feature_table.find_features(folder, request.keys, features.digest_of(source, request))
        if stored is None:
            raise OctshardError(f"{folder}: {source.name} went while it was read; {feature_table.AGAIN}")
        extracted[source.name] = Features(stored.keys, stored.values_NF, stored.digest, source.origin)
    return extracted


def fill(sources: Sequence[Source], request: FeatureRequest, folder: str, stream: ScanStream) -> None:
    """Makes the table in `folder` hold the features of these sources; what it has is not computed again."""
    keys = request.keys
    if len(set(keys)) != len(keys):
        repeated = next(key for key, count in Counter(keys).items() if count > 1)
        raise OctshardError(f"features: scan {repeated} is listed twice, want each dataset folder named once")
    feature_table.write_scans(folder, request.scans)
    if not _missing(sources, request, folder):
        for source in sources:
            remove_parts(folder, features.digest_of(source, request))  # killed before it did so
        return
    with lock.one_writer(store.join(folder, LOCK), folder):
        for place in (folder, store.join(folder, PARTS)):
            store.remove_partials(place)
        columns = _missing(sources, request, folder)  # another run may have made some meanwhile
        if columns:
            _compute(columns, request, stream)


def _missing(sources: Sequence[Source], request: FeatureRequest, folder: str) -> list[Column]:
    distinct = {features.digest_of(source, request): source for source in sources}
    columns = (column(source, request, folder) for source in distinct.values())
    return [each for each in columns if each is not None]


def _compute(columns: Sequence[Column], request: FeatureRequest, stream: ScanStream) -> None:
    keys = request.keys
    row = min(each.done for each in columns)
    row = len(keys) if row == len(keys) else row // stream.size * stream.size
    for each in columns:
        each.start(row)
    stored_at = time.monotonic()
    for batch in stream.batches(row) if row < len(keys) else ():
        due = keys[row : row + batch.count]
        if batch.keys[: batch.count] != due:
            raise OctshardError(f"features: scan {batch.keys[0]} came, {due[0] if due else 'none'} is due")
        for each in columns:
            each.add(batch)
        row += batch.count
        if time.monotonic() - stored_at >= PART_S:
            for each in columns:
                each.flush()
            stored_at = time.monotonic()
    if row < len(keys):
        raise OctshardError(f"features: {len(keys) - row} scans never came, the first is {keys[row]}")
    for each in columns:
        each.flush()
    for each in columns:
        each.finish()
