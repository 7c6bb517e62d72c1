"""Volumes -> what an encoder makes of their valid tokens: rows of numbers, or the tokens themselves.

A volume larger than the encoder's image is read in tiles (`imaging.tiles`). What `octshard eval` and the
probes of a run share.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from octshard.config.train import TrainConfig
from octshard.devices.backend import Backend, put
from octshard.errors import OctshardError
from octshard.imaging.crop import Window, fill_padded
from octshard.imaging.tiles import CENTRE, WHOLE, View, shape_of
from octshard.imaging.volume import Shape, product, triple, valid_tokens
from octshard.models import normalize, pooling
from octshard.models.pooling import MEAN_STD, Summary, TileSummary
from octshard.models.tokens import Tokens
from octshard.models.vit import Encoder
from octshard.probes.task import ProbeVolumes
from octshard.stream import loader
from octshard.stream.batch import Batch, BatchTransform, RankSlice

BATCH = 4  # volumes per forward pass: little memory, whatever the run takes


@dataclass(frozen=True)
class Reading:
    """What is read of volumes, and what is made of it: shapes are fixed, as some devices want them.

    batch: tiles of a forward pass; box, tokens: of the largest tile along each axis, and the most of any;
    depths: blocks behind which features are taken, ascending; poolings: that are asked for; with_tokens:
    the tokens too.
    """

    view: View
    batch: int
    box: Shape
    tokens: int
    depths: tuple[int, ...]
    poolings: tuple[str, ...]
    with_tokens: bool = False


class Level(NamedTuple):
    """Of one tile behind one depth. z_VF: its valid tokens, if they are asked for."""

    summary: TileSummary
    z_VF: np.ndarray | None


class EncodedTile(NamedTuple):
    """place: of its volume in the batch; levels: one for each depth; place_V3: where its valid tokens are
    along D, H, W, in tokens of all that is read of the volume.
    """

    place: int
    levels: tuple[Level, ...]
    place_V3: np.ndarray


def box_of(view: View, shapes: Iterable[Shape]) -> tuple[Shape, int]:
    """`box` and `tokens` of a Reading of volumes of these shapes."""
    tiles = {shape_of(window) for shape in set(shapes) for window in view.windows(shape)}
    grids = [valid_tokens(tile, view.image_size, view.patch) for tile in tiles]
    d, h, w = (max(sizes) * p for sizes, p in zip(zip(*grids, strict=True), view.patch, strict=True))
    return (d, h, w), max(map(product, grids))


class TileEncoder:
    """An encoder on a device, that reads volumes as `reading` says."""

    def __init__(self, encoder: Encoder, backend: Backend, reading: Reading) -> None:
        self._encoder, self._backend, self.reading = encoder.to(backend.device).eval(), backend, reading
        self._packed = backend.sequences != "none"
        self.depth = len(encoder.blocks)
        self._depths = sorted({*reading.depths, self.depth})  # `levels` norms what it ends with

    def tiles(self, batch: Batch) -> Iterator[EncodedTile]:
        """Those of every real volume of the batch, in order, tile by tile."""
        extents = batch.valid_B3[: batch.count].tolist()
        windows = [
            (place, window)
            for place, extent in enumerate(extents)
            for window in self.reading.view.windows(triple(extent))
        ]
        for first in range(0, len(windows), self.reading.batch):
            yield from self._encode(batch, windows[first : first + self.reading.batch])

    def _encode(self, batch: Batch, group: Sequence[tuple[int, Window]]) -> Iterator[EncodedTile]:
        count = len(group)
        if not self._packed:  # one shape, one program: the last tile fills up
            group = [*group, *[group[-1]] * (self.reading.batch - count)]
        summaries, levels, tokens = self._forward(*self._cut(batch, group))
        for i, (place, window) in enumerate(group[:count]):
            place_V3 = self._places(window)
            valid = len(place_V3)
            held = slice(valid) if tokens.padding_BV is None else ~tokens.padding_BV[i]
            parts = (
                Level(pooling.of_tile(summary, i, valid), None if z_BVF is None else z_BVF[i][held].numpy())
                for summary, z_BVF in zip(summaries, levels, strict=True)
            )
            yield EncodedTile(place, tuple(parts), place_V3)

    def _places(self, window: Window) -> np.ndarray:
        """`place_V3` of a tile, int32, in the order of its tokens."""
        view = self.reading.view
        grid = valid_tokens(shape_of(window), view.image_size, view.patch)
        place_V3 = np.indices(grid, np.int32).reshape(3, -1).T
        if view.kind == WHOLE:
            place_V3 += np.array([part.start for part in window], np.int32) // np.array(view.patch, np.int32)
        return place_V3

    def _cut(
        self, batch: Batch, group: Sequence[tuple[int, Window]]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """voxels_BDHW, mean_B, std_B and valid_B3 of the tiles."""
        voxels_BDHW = self._backend.empty((len(group), *self.reading.box), batch.voxels_BDHW.dtype)
        for slot_DHW, (place, window) in zip(voxels_BDHW.numpy(), group, strict=True):
            fill_padded(slot_DHW, batch.voxels_BDHW[place].numpy()[window])
        places_B = torch.tensor([place for place, _ in group])
        valid_B3 = torch.tensor([shape_of(window) for _, window in group])
        return voxels_BDHW, batch.mean_B[places_B], batch.std_B[places_B], valid_B3

    def _forward(
        self, voxels_BDHW: Tensor, mean_B: Tensor, std_B: Tensor, valid_B3: Tensor
    ) -> tuple[list[Summary], list[Tensor | None], Tokens]:
        """On the host: of each depth a summary and, if asked for, the tokens; and which tokens these are."""
        backend = self._backend
        tokens = self._encoder.tokens_of(valid_B3, self.reading.tokens, packed=self._packed)
        inputs, tokens_BV = put(backend, ((voxels_BDHW, mean_B, std_B, valid_B3), tokens))
        with torch.no_grad(), backend.autocast():
            levels = self._encoder.levels(normalize.normalize(*inputs), tokens_BV, self._depths)
            asked = [levels[self._depths.index(depth)] for depth in self.reading.depths]
            summaries = [
                pooling.summarize(z_BVF, tokens_BV.padding_BV, self.reading.poolings) for z_BVF in asked
            ]
            kept = [z_BVF.float() if self.reading.with_tokens else None for z_BVF in asked]
        backend.mark_step()
        summaries, kept = backend.to_host((summaries, kept))  # waits for the device
        return summaries, kept, tokens


def view_of(cfg: TrainConfig) -> View:
    """What the probes of a run read of a volume."""
    return View(cfg.run.probe_view, triple(cfg.model.image_size), triple(cfg.model.patch))


def whole_volumes(cfg: TrainConfig, shapes: Iterable[Shape]) -> TrainConfig:
    """The config with which the stream gives volumes of these shapes whole."""
    box = [max(sizes) for sizes in zip(*set(shapes), strict=True)]
    return dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, image_size=box, patch=[1, 1, 1]))


def embed(
    encoder: Encoder,
    volumes: ProbeVolumes,
    cfg: TrainConfig,
    backend: Backend,
    on_batch: Callable[[], None],
) -> np.ndarray:
    """values_NF: mean and std over what `view_of` has of every volume, in order.

    on_batch is called after each batch. OctshardError for a volume whose features are not finite.
    """
    view, shapes = view_of(cfg), [sample.shape for sample in volumes.index.samples]
    reading = Reading(view, BATCH, *box_of(view, shapes), (cfg.model.depth,), (MEAN_STD,))
    tiles, rows = TileEncoder(encoder, backend, reading), []
    transform = BatchTransform(backend.pin, backend.empty)
    size = BATCH if view.kind == CENTRE else 1  # of whole volumes one, for memory
    streamed = cfg if view.kind == CENTRE else whole_volumes(cfg, shapes)
    for batch in loader.eval_batches(volumes.index, streamed, RankSlice(size, 0, 1), 0, transform):
        summaries: list[list[TileSummary]] = [[] for _ in range(batch.count)]
        for tile in tiles.tiles(batch):
            summaries[tile.place].append(tile.levels[0].summary)
        for key, of_tiles in zip(batch.keys, summaries, strict=False):
            values_F = pooling.merge(MEAN_STD, of_tiles)
            if not np.isfinite(values_F).all():
                raise OctshardError(f"volume {key} gave nan or inf, want finite features")
            rows.append(values_F)
        on_batch()
    return np.stack(rows)
