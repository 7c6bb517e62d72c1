"""Frozen features: batches of volumes -> one row of numbers per scan, computed once, stored with their keys.

All sources (an encoder, the same one at random, raw intensities) share one pass over the shards. A file is
used only if its digest, keys and shape are exactly those requested; else the features are computed again.
"""

import hashlib
import io
import json
import logging
import tokenize
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from octshard.devices.backend import Backend, put
from octshard.errors import OctshardError
from octshard.imaging.resample import matrix, taps
from octshard.models import normalize
from octshard.models.tokens import pool
from octshard.models.vit import Encoder
from octshard.storage import store
from octshard.stream.batch import Batch

VERSION = 2  # of the features: a change of their meaning makes stored files stale
EN_FACE = (8, 8)  # cells along D, W of the raw en face picture
B_SCAN = (16, 8)  # cells along H, W of the raw mean B-scan
BINS = 32  # of the raw histogram over 0..255
DAMAGE = (  # what zipfile and NumPy's header raise on damaged bytes
    zipfile.BadZipFile, tokenize.TokenError, SyntaxError, LookupError, ValueError,
    TypeError, ArithmeticError, EOFError, MemoryError, RuntimeError, OSError,
)  # fmt: skip
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Features:
    """values_NF float32, row n for keys[n]; `digest` names their source and scans."""

    keys: tuple[str, ...]
    values_NF: np.ndarray
    digest: str


@dataclass(frozen=True)
class FeatureSource:
    """Turns a batch into values_BF. `digest` changes when the values would."""

    name: str
    digest: str
    values_of: Callable[[Batch], np.ndarray]


@dataclass(frozen=True)
class FeatureRequest:
    """Which scans: their keys in order, and a digest of their stored voxels."""

    keys: tuple[str, ...]
    digest: str


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


def intensity_source(name: str) -> FeatureSource:
    """The baseline without any network: `intensity_features` of what the encoder is given."""

    def values_of(batch: Batch) -> np.ndarray:
        pairs = zip(batch.voxels_BDHW.numpy(), batch.valid_B3.tolist(), strict=True)
        return np.stack([intensity_features(voxels[:d, :h, :w]) for voxels, (d, h, w) in pairs])

    return FeatureSource(name, "intensity", values_of)


def intensity_features(voxels_DHW: np.ndarray) -> np.ndarray:
    """float32 (F,) of uint8 voxels: intensities alone, without any notion of a layer.

    Fractions in 32 histogram bins; mean, std, skewness, excess kurtosis; 7 percentiles; the en face mean
    (over H) on 8 x 8 cells; the mean B-scan (over D) on 16 x 8 cells. Units: grey levels, fractions.
    Cells are area-averaged.
    """
    counts = np.bincount(voxels_DHW.ravel(), minlength=256) / voxels_DHW.size
    levels = np.arange(256.0)
    mean = float(counts @ levels)
    std = float(np.sqrt(counts @ (levels - mean) ** 2))
    z = (levels - mean) / max(std, 1e-6)
    shape = [mean, std, float(counts @ z**3), float(counts @ z**4) - 3 if std > 0 else 0.0]
    percentiles = np.searchsorted(np.cumsum(counts), np.array(PERCENTILES) / 100 - 1e-12)
    en_face = _cells(voxels_DHW.mean(axis=1), EN_FACE)
    b_scan = _cells(voxels_DHW.mean(axis=0), B_SCAN)
    parts = [counts.reshape(BINS, -1).sum(axis=1), shape, percentiles, en_face.ravel(), b_scan.ravel()]
    return np.concatenate(parts).astype(np.float32)


def extract(
    sources: Sequence[FeatureSource],
    request: FeatureRequest,
    folder: str,
    batches: Callable[[], Iterable[Batch]],
) -> dict[str, Features]:
    """Source name -> its features of the requested scans, read from `folder` where they are stored there.

    `batches` is called, once, only if some are not; what is computed is stored.
    """
    if len(set(request.keys)) != len(request.keys):
        repeated = next(key for key in request.keys if request.keys.count(key) > 1)
        raise OctshardError(f"features: scan {repeated} is listed twice, want each dataset folder named once")
    digests = {source.name: digest_of(source, request) for source in sources}
    features: dict[str, Features] = {}
    for source in sources:
        digest = digests[source.name]
        stored = read(_url(folder, source.name, digest), request.keys, digest)
        if stored is not None:
            features[source.name] = stored
    missing = [source for source in sources if source.name not in features]
    if missing:
        for name, values_NF in _compute(missing, request, batches()).items():
            features[name] = Features(request.keys, values_NF, digests[name])
            write(_url(folder, name, digests[name]), features[name])
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


def write(url: str, features: Features) -> None:
    """Stores features as one .npz, atomically."""
    with store.open_write(url) as file:
        np.savez(
            file, keys=np.array(features.keys), values_NF=features.values_NF, digest=np.array(features.digest)
        )


def read(url: str, keys: tuple[str, ...], digest: str) -> Features | None:
    """The features at `url`; None if there are none, or, with a warning, if they are not those of keys and
    digest: the file is damaged.
    """
    try:
        data = store.read(url)
    except FileNotFoundError:
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as members:
            stored = {name: _array(members, name) for name in ("keys", "values_NF", "digest")}
        values_NF, stored_keys = stored["values_NF"], tuple(stored["keys"].tolist())
        right_shape = values_NF.ndim == 2 and len(values_NF) == len(keys) and values_NF.dtype == np.float32
        same = str(stored["digest"]) == digest and stored_keys == keys and right_shape
        if same and np.isfinite(values_NF).all():
            return Features(keys, values_NF, digest)
    except DAMAGE:
        pass
    logger.warning("%s: damaged, its features are computed again", url)
    return None


def _array(members: zipfile.ZipFile, name: str) -> np.ndarray:
    """One array of an .npz as `write` stores it: not pickled, not compressed."""
    if members.getinfo(name + ".npy").compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    array: np.ndarray = np.lib.format.read_array(io.BytesIO(members.read(name + ".npy")), allow_pickle=False)
    return array


def _compute(
    sources: Sequence[FeatureSource], request: FeatureRequest, batches: Iterable[Batch]
) -> Mapping[str, np.ndarray]:
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
    return {name: np.stack(values).astype(np.float32) for name, values in rows.items()}  # type: ignore[arg-type]


def _url(folder: str, name: str, digest: str) -> str:
    return store.join(folder, f"{name}-{digest}.npz")


def _cells(picture_XY: np.ndarray, cells: tuple[int, int]) -> np.ndarray:
    """The picture on a coarse grid, area-averaged (stretched where it has fewer pixels than cells)."""
    rows, columns = (matrix(taps(n, m), n) for n, m in zip(picture_XY.shape, cells, strict=True))
    return rows @ picture_XY @ columns.T
