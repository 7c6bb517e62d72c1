"""Frozen features: batches of volumes -> one row of numbers per scan, computed once, stored with their keys.

All sources (an encoder, the same one at random, raw intensities) share one pass over the shards. A file is
used only if its digest, keys and shape are exactly those requested; else the features are computed again.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from octshard.devices.backend import Backend, put
from octshard.errors import OctshardError
from octshard.eval import feature_table
from octshard.eval.feature_table import FeatureInfo, Features, Scan
from octshard.models import normalize
from octshard.models.tokens import pool
from octshard.models.vit import Encoder
from octshard.storage import store
from octshard.stream.batch import Batch

VERSION = 3  # of the features: a change of their meaning makes stored files stale


@dataclass(frozen=True)
class FeatureSource:
    """Turns a batch into values_BF. `digest` changes when the values would; info: what is told of them, by
    default the name alone.
    """

    name: str
    digest: str
    values_of: Callable[[Batch], np.ndarray]
    info: FeatureInfo | None = None

    @property
    def origin(self) -> FeatureInfo:
        """What is told of the values."""
        return self.info or FeatureInfo(self.name)


@dataclass(frozen=True)
class FeatureRequest:
    """Which scans, in order."""

    scans: tuple[Scan, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """Of the scans."""
        return tuple(scan.key for scan in self.scans)

    @property
    def digest(self) -> str:
        """Of their keys and stored voxels."""
        return feature_table.scans_digest(self.scans)


def encoder_source(name: str, encoder: Encoder, digest: str, backend: Backend, tokens: int) -> FeatureSource:
    """The valid tokens of the plain view through the frozen encoder, pooled. tokens: the most of any scan."""
    encoder, packed = encoder.to(backend.device).eval(), backend.sequences != "none"

    def values_of(batch: Batch) -> np.ndarray:
        on_device, tokens_BV = put(backend, (batch, encoder.tokens_of(batch.valid_B3, tokens, packed=packed)))
        with torch.no_grad(), backend.autocast():
            x_BCDHW = normalize.normalize(
                on_device.voxels_BDHW, on_device.mean_B, on_device.std_B, on_device.valid_B3
            )
            values_BF = pool(encoder(x_BCDHW, *tokens_BV), tokens_BV.padding_BV)
        backend.mark_step()
        return backend.to_host(values_BF).float().numpy()  # waits for the device

    return FeatureSource(name, digest, values_of)


def extract(
    sources: Sequence[FeatureSource],
    request: FeatureRequest,
    folder: str,
    batches: Callable[[], Iterable[Batch]],
) -> dict[str, Features]:
    """Source name -> its features of the requested scans, read from `folder` where they are stored there.

    `batches` is called, once, only if some are not; what is computed is stored.
    """
    keys = request.keys
    if len(set(keys)) != len(keys):
        repeated = next(key for key, count in Counter(keys).items() if count > 1)
        raise OctshardError(f"features: scan {repeated} is listed twice, want each dataset folder named once")
    feature_table.write_scans(folder, request.scans)
    digests = {source.name: digest_of(source, request) for source in sources}
    urls = {
        source.name: store.join(folder, feature_table.file_name(source.origin, digests[source.name]))
        for source in sources
    }
    features: dict[str, Features] = {}
    for source in sources:
        stored = feature_table.read_features(urls[source.name], keys, digests[source.name])
        if stored is not None:
            features[source.name] = stored
    missing = [source for source in sources if source.name not in features]
    if missing:
        for source, values_NF in zip(missing, _compute(missing, request, batches()), strict=True):
            computed = Features(keys, values_NF, digests[source.name], source.origin)
            feature_table.write_features(urls[source.name], computed, request.digest)
            features[source.name] = computed
    return {source.name: features[source.name] for source in sources}  # whatever was stored already


def digest_of(source: FeatureSource, request: FeatureRequest) -> str:
    """16 hex digits that name one source's features of these scans."""
    text = json.dumps([VERSION, source.name, source.digest, request.digest])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def weights_digest(encoder: Encoder) -> str:
    """sha256 over the names and values of all weights."""
    digest = hashlib.sha256()
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _compute(
    sources: Sequence[FeatureSource], request: FeatureRequest, batches: Iterable[Batch]
) -> list[np.ndarray]:
    row_of = {key: n for n, key in enumerate(request.keys)}
    rows: dict[str, list[np.ndarray | None]] = {source.name: [None] * len(row_of) for source in sources}
    for batch in batches:
        for source in sources:
            values_BF = source.values_of(batch)
            for key, values_F in zip(batch.keys[: batch.count], values_BF, strict=False):
                if not np.isfinite(values_F).all():
                    raise OctshardError(
                        f"features {source.name}: scan {key} gave nan or inf, want finite numbers"
                    )
                rows[source.name][row_of[key]] = values_F
    for name, values in rows.items():
        missing = [key for key, value in zip(request.keys, values, strict=True) if value is None]
        if missing:
            raise OctshardError(
                f"features {name}: {len(missing)} scans never came, the first is {missing[0]}"
            )
    return [np.stack(rows[source.name]).astype(np.float32) for source in sources]  # type: ignore[arg-type]
