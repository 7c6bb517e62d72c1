"""Frozen features: batches of whole volumes -> one row of numbers per scan, computed once, stored in a table.

All sources (encoders, trained and at random, raw intensities) share one pass over the shards. What is stored
is used only if its digest, rows and checksum are those asked for; else it is computed again.
"""

import hashlib
import json
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from octshard.eval import feature_table
from octshard.eval.feature_table import LAST, TOKENS, FeatureInfo, Scan
from octshard.eval.token_files import ScanTokens
from octshard.imaging.crop import fill_padded
from octshard.imaging.retina_band import NOT_FOUND, RetinaBand, blocks_of
from octshard.imaging.tiles import WHOLE, View, shape_of
from octshard.imaging.volume import triple
from octshard.models import pooling
from octshard.models.vit import Encoder
from octshard.probes.embedding import EncodedTile, TileEncoder
from octshard.stream.batch import Batch

VERSION = 3  # of the features: a change of their meaning makes stored files stale


@dataclass(frozen=True)
class FeatureSource:
    """Turns a batch of whole volumes into values_BF of its real ones, or of all. `digest` changes when the
    values would; info: what is told of them, by default the name alone.
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
class TokenSource:
    """As `FeatureSource`, for the tokens of each real volume of a batch."""

    name: str
    digest: str
    tokens_of: Callable[[Batch], Iterator[ScanTokens]]
    info: FeatureInfo

    @property
    def origin(self) -> FeatureInfo:
        """What is told of the tokens."""
        return self.info


Source = FeatureSource | TokenSource


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


def encoder_sources(
    tiles: TileEncoder, info: FeatureInfo, poolings: Sequence[str], dtype: type = np.float32
) -> list[Source]:
    """One for each depth of `tiles` and each of `poolings`; one pass of the encoder makes them all.

    info: without layer, pooling and view; its checkpoint_digest stands for the weights. dtype: of tokens.
    """
    last, passes, sources = _LastBatch(tiles), tiles.reading, list[Source]()
    for place, depth in enumerate(passes.depths):
        for kind in poolings:
            layer = LAST if depth == tiles.depth else str(depth)
            own = replace(info, layer=layer, pooling=kind, view=str(passes.view))
            digest = " ".join([info.checkpoint_digest, info.precision, layer, kind, own.view])
            if kind == TOKENS:
                tokens_of = _tokens_of(last, place, dtype)
                sources.append(TokenSource(own.name, f"{digest} {np.dtype(dtype)}", tokens_of, own))
            else:
                sources.append(FeatureSource(own.name, digest, _values_of(last, place, kind), own))
    return sources


def in_view(source: FeatureSource, view: View) -> FeatureSource:
    """A source that needs no tiles, of what the view has: whole scans, or their centres."""
    if view.kind == WHOLE:
        return source
    return replace(source, values_of=lambda batch: source.values_of(centres(batch, view)))


def centres(batch: Batch, view: View) -> Batch:
    """The centre of every volume of a batch, and of its retinal band."""
    depth, _, width = view.image_size
    size, band_BDQ2 = len(batch.valid_B3), batch.band_BDQ2
    voxels_BDHW = torch.zeros((size, *view.image_size), dtype=batch.voxels_BDHW.dtype)
    cut_BDQ2 = torch.full((size, depth, blocks_of(width), 2), NOT_FOUND, dtype=torch.int16)
    windows = [view.windows(triple(extent))[0] for extent in batch.valid_B3.tolist()]
    for place, window in enumerate(windows):
        fill_padded(voxels_BDHW[place].numpy(), batch.voxels_BDHW[place].numpy()[window])
        if band_BDQ2 is not None:
            rows_DQ2 = torch.from_numpy(RetinaBand(band_BDQ2[place].numpy()).crop(window).rows_DQ2)
            cut_BDQ2[place, : rows_DQ2.shape[0], : rows_DQ2.shape[1]] = rows_DQ2
    return replace(
        batch,
        voxels_BDHW=voxels_BDHW,
        valid_B3=torch.tensor([shape_of(window) for window in windows]),
        band_BDQ2=None if band_BDQ2 is None else cut_BDQ2,
    )


def digest_of(source: Source, request: FeatureRequest) -> str:
    """16 hex digits that name one source's features of these scans, whatever the source is called."""
    text = json.dumps([VERSION, source.digest, request.digest])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def weights_digest(encoder: Encoder) -> str:
    """sha256 over the names and values of all weights."""
    digest = hashlib.sha256()
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


class _LastBatch:
    """What an encoder made of the last batch, for all sources that ask for it."""

    def __init__(self, tiles: TileEncoder) -> None:
        self._tiles, self._rows = tiles, list[list[EncodedTile]]()
        self._batch: weakref.ref[Batch] | None = None

    def rows(self, batch: Batch) -> list[list[EncodedTile]]:
        """The tiles of each real volume."""
        if self._batch is None or self._batch() is not batch:
            self._rows = [[] for _ in range(batch.count)]
            for tile in self._tiles.tiles(batch):
                self._rows[tile.place].append(tile)
            self._batch = weakref.ref(batch)
        return self._rows


def _values_of(last: _LastBatch, place: int, kind: str) -> Callable[[Batch], np.ndarray]:
    def values_of(batch: Batch) -> np.ndarray:
        rows = last.rows(batch)
        return np.stack([pooling.merge(kind, [tile.levels[place].summary for tile in row]) for row in rows])

    return values_of


def _tokens_of(last: _LastBatch, place: int, dtype: type) -> Callable[[Batch], Iterator[ScanTokens]]:
    def tokens_of(batch: Batch) -> Iterator[ScanTokens]:
        for row in last.rows(batch):
            yield ScanTokens(
                np.concatenate([tile.levels[place].z_VF for tile in row]).astype(dtype),  # type: ignore[arg-type]
                np.concatenate([tile.place_V3 for tile in row]),
            )

    return tokens_of
