"""Frozen features: batches of volumes -> one row of numbers per scan, made once, kept on disk with its keys.

All sources (an encoder, the same one at random, raw intensities) share one pass over the shards. A kept file
is used only if its digest, keys and shape are exactly those asked for; anything else is made again.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from octshard.devices.backend import Backend, put
from octshard.errors import OctshardError
from octshard.imaging.resample import matrix, taps
from octshard.models import normalize
from octshard.models.vit import Encoder
from octshard.storage import store
from octshard.stream.batch import Batch

VERSION = 1  # of what is computed here: a change of a feature's meaning makes kept files stale
EN_FACE = (8, 8)  # cells along D, W of the raw en face picture
B_SCAN = (16, 8)  # cells along H, W of the raw mean B-scan
BINS = 32  # of the raw histogram over 0..255
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


@dataclass(frozen=True, eq=False)
class Features:
    """values_NF float32, row n for keys[n]; `digest` names what made them from what."""

    keys: tuple[str, ...]
    values_NF: np.ndarray
    digest: str


@dataclass(frozen=True)
class FeatureSource:
    """What turns a batch into values_BF. `digest` changes when the values would."""

    name: str
    digest: str
    values_of: Callable[[Batch], np.ndarray]


@dataclass(frozen=True)
class FeatureRequest:
    """Which scans: their keys in order, and a digest of the stored voxels behind them."""

    keys: tuple[str, ...]
    digest: str


def encoder_source(name: str, encoder: Encoder, digest: str, backend: Backend) -> FeatureSource:
    """All N tokens of the plain view through the frozen encoder, pooled over the valid ones."""
    encoder = encoder.to(backend.device).eval()

    def values_of(batch: Batch) -> np.ndarray:
        here = put(backend, batch)
        with torch.no_grad(), backend.autocast():
            x_BCDHW = normalize.normalize(here.voxels_BDHW, here.mean_B, here.std_B, here.valid_B3)
            values_BF = encoder.pool(encoder(x_BCDHW), encoder.valid_tokens(here.valid_B3))
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
    """float32 (F,) of uint8 voxels: what brightness alone tells, with no idea of a layer.

    Shares in 32 histogram bins; mean, std, skewness, excess kurtosis; 7 percentiles; the en face mean (over
    H) on 8 x 8 cells; the mean B-scan (over D) on 16 x 8 cells. Unit: grey levels, shares; area-averaged.
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
    wanted: FeatureRequest,
    folder: str,
    batches: Callable[[], Iterable[Batch]],
) -> dict[str, Features]:
    """Source name -> its features of the wanted scans, from `folder` where they are kept.

    `batches` is called, once, only if something is not; what is made is kept.
    """
    if len(set(wanted.keys)) != len(wanted.keys):
        twice = next(key for key in wanted.keys if wanted.keys.count(key) > 1)
        raise OctshardError(f"features: scan {twice} is listed twice, want each dataset folder named once")
    digests = {source.name: digest_of(source, wanted) for source in sources}
    found: dict[str, Features] = {}
    for source in sources:
        kept = read(_place(folder, source.name, digests[source.name]), wanted.keys, digests[source.name])
        if kept is not None:
            found[source.name] = kept
    missing = [source for source in sources if source.name not in found]
    if missing:
        for name, values_NF in _compute(missing, wanted, batches()).items():
            found[name] = Features(wanted.keys, values_NF, digests[name])
            write(_place(folder, name, digests[name]), found[name])
    return found


def digest_of(source: FeatureSource, wanted: FeatureRequest) -> str:
    """16 hex digits that name one source's features of these scans."""
    text = json.dumps([VERSION, source.name, source.digest, wanted.digest])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def weights_digest(encoder: Encoder) -> str:
    """sha256 over the names and values of all weights."""
    digest = hashlib.sha256()
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def write(url: str, features: Features) -> None:
    """Keeps features as one .npz, whole or not at all."""
    with store.open_write(url) as file:
        np.savez(
            file, keys=np.array(features.keys), values_NF=features.values_NF, digest=np.array(features.digest)
        )


def read(url: str, keys: tuple[str, ...], digest: str) -> Features | None:
    """What is kept at `url`; None if that is nothing, damaged, or not exactly these keys and this digest."""
    try:
        with np.load(io.BytesIO(store.read(url)), allow_pickle=False) as kept:
            values_NF, names, made_from = kept["values_NF"], tuple(kept["keys"].tolist()), str(kept["digest"])
    except (FileNotFoundError, zipfile.BadZipFile, ValueError, KeyError, EOFError):
        return None
    right_shape = values_NF.ndim == 2 and len(values_NF) == len(keys) and values_NF.dtype == np.float32
    if made_from != digest or names != keys or not right_shape or not np.isfinite(values_NF).all():
        return None
    return Features(keys, values_NF, digest)


def _compute(
    sources: Sequence[FeatureSource], wanted: FeatureRequest, batches: Iterable[Batch]
) -> Mapping[str, np.ndarray]:
    place = {key: n for n, key in enumerate(wanted.keys)}
    rows: dict[str, list[np.ndarray | None]] = {source.name: [None] * len(place) for source in sources}
    for batch in batches:
        for source in sources:
            values_BF = source.values_of(batch)
            for key, values_F in zip(batch.keys[: batch.count], values_BF, strict=False):
                if not np.isfinite(values_F).all():
                    raise OctshardError(
                        f"features {source.name}: scan {key} gave nan or inf, want finite numbers"
                    )
                rows[source.name][place[key]] = values_F
    for name, values in rows.items():
        absent = [key for key, value in zip(wanted.keys, values, strict=True) if value is None]
        if absent:
            raise OctshardError(f"features {name}: {len(absent)} scans never came, the first is {absent[0]}")
    return {name: np.stack(values).astype(np.float32) for name, values in rows.items()}  # type: ignore[arg-type]


def _place(folder: str, name: str, digest: str) -> str:
    return store.join(folder, f"{name}-{digest}.npz")


def _cells(picture_XY: np.ndarray, cells: tuple[int, int]) -> np.ndarray:
    """The picture on a coarse grid, area-averaged (stretched where it has fewer pixels than cells)."""
    rows, columns = (matrix(taps(n, m), n) for n, m in zip(picture_XY.shape, cells, strict=True))
    return rows @ picture_XY @ columns.T
