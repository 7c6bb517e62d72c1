"""Encoders as sources of features: named, on their device, each with its own view of the same scans."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from octshard.config import fields
from octshard.config.run import RunConfig
from octshard.config.train import TrainConfig
from octshard.devices import select
from octshard.devices.backend import Backend
from octshard.errors import UsageError
from octshard.eval import features, setup
from octshard.eval.controls import random_init
from octshard.eval.feature_table import LAST, TOKENS, FeatureInfo
from octshard.eval.features import Source
from octshard.eval.scans import Scans
from octshard.imaging.tiles import View
from octshard.imaging.volume import product, triple
from octshard.models.encoder import TrainedEncoder
from octshard.models.vit import Encoder
from octshard.probes.embedding import Reading, TileEncoder, box_of

DTYPES: Mapping[str, type] = {"fp16": np.float16, "fp32": np.float32}  # of stored tokens


class NamedEncoder(NamedTuple):
    """info: source, precision and checkpoint; config: of the run that it has the form of."""

    info: FeatureInfo
    encoder: Encoder
    config: TrainConfig

    def called(self, name: str) -> "NamedEncoder":
        """The same by another name."""
        return self._replace(info=dataclasses.replace(self.info, source=name))


@dataclass(frozen=True)
class Asked:
    """Which features of every encoder. batch: tiles per forward pass; token_type: a key of DTYPES."""

    view: str
    layers: tuple[str, ...]
    poolings: tuple[str, ...]
    batch: int
    token_type: str = "fp16"


@dataclass(frozen=True)
class EncoderSources:
    """sources: of all encoders; batch_size: whole scans in a batch of the stream; backend: of the first."""

    sources: tuple[Source, ...]
    batch_size: int
    backend: Backend


def trained_encoder(name: str, checkpoint: TrainedEncoder) -> NamedEncoder:
    """Of a checkpoint."""
    precision = checkpoint.config.run.precision
    info = FeatureInfo(
        name, precision=precision, checkpoint=checkpoint.path, checkpoint_digest=checkpoint.digest,
        step=checkpoint.step,
    )  # fmt: skip
    return NamedEncoder(info, checkpoint.encoder, checkpoint.config)


def random_encoders(cfg: TrainConfig, seed: int, draws: int) -> Iterator[NamedEncoder]:
    """So many of the form of that run that have learned nothing."""
    for name, encoder in random_init.encoders(cfg, seed, draws):
        digest = features.weights_digest(encoder)
        info = FeatureInfo(name, precision=cfg.run.precision, checkpoint_digest=digest)
        yield NamedEncoder(info, encoder, cfg)


def check_layers(encoders: Sequence[NamedEncoder], layers: Sequence[str], key: str) -> None:
    """UsageError for a layer that one of the encoders does not have. key: the setting that names them."""
    for each in encoders:
        depth = each.config.model.depth
        for layer in layers:
            if layer != LAST and not (re.fullmatch("[0-9]{1,6}", layer) and 1 <= int(layer) <= depth):
                raise UsageError(
                    f"{key}={layer}: {each.info.source} has {depth} blocks, want {LAST} or 1 to {depth}"
                )


def depths_of(layers: Sequence[str], depth: int) -> tuple[int, ...]:
    """Numbers of blocks, ascending, each once; the last one is `last` too."""
    return tuple(sorted({depth if layer == LAST else int(layer) for layer in layers}))


class Devices:
    """The device of an evaluation: a backend for each precision that its encoders were trained in."""

    def __init__(self, device: str) -> None:
        self._device, self._backends = device, dict[str, Backend]()

    def of(self, run: RunConfig) -> Backend:
        """Opened once for all runs of a precision."""
        if run.precision not in self._backends:
            own = dataclasses.replace(run, device=self._device, compile=False, cpu_threads=0)
            self._backends[run.precision] = select.open_backend(own)
        return self._backends[run.precision]


def sources_of(
    encoders: Sequence[NamedEncoder], scans: Scans, asked: Asked, devices: Devices
) -> EncoderSources:
    """All sources of all encoders, in order; those of an encoder share its passes.

    UsageError if a batch cannot be: nothing is allocated before that is known.
    """
    views = [view_of(each.config, asked.view) for each in encoders]
    boxes = [box_of(view, scans.shapes) for view in views]
    tiles = max(sum(len(view.windows(shape)) for shape in scans.shapes) for view in views)
    voxels, backend = max(product(box) for box, _ in boxes), devices.of(encoders[0].config.run)
    batch = setup.batch_size(asked.batch, voxels, tiles, backend)
    pooled, with_tokens = tuple(name for name in asked.poolings if name != TOKENS), TOKENS in asked.poolings
    sources = list[Source]()
    for each, view, (box, tokens) in zip(encoders, views, boxes, strict=True):
        depths = depths_of(asked.layers, each.config.model.depth)
        reading = Reading(view, batch, box, tokens, depths, pooled, with_tokens)
        reader = TileEncoder(each.encoder, devices.of(each.config.run), reading)
        sources += features.encoder_sources(reader, each.info, asked.poolings, DTYPES[asked.token_type])
    return EncoderSources(tuple(sources), scans.batch_size(tiles, batch), backend)


def view_of(cfg: TrainConfig, kind: str) -> View:
    """What an encoder of that run reads of a scan."""
    return View(kind, triple(cfg.model.image_size), triple(cfg.model.patch))


def form_of(cfg: TrainConfig) -> str:
    """Of an encoder: its architecture, and the precision in which it computes."""
    return f"{fields.digest(dataclasses.replace(cfg.model, drop_path=0.0))} {cfg.run.precision}"
