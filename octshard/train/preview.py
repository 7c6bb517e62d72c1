"""Volumes as steps get them, made ready for octshard.pictures: for `octshard preview` and a run's log."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from octshard.config.model import ModelConfig
from octshard.config.train import TrainConfig
from octshard.dataset import sample, stored_scale
from octshard.dataset.folders import dataset_folders
from octshard.dataset.tables import SampleRow
from octshard.devices.cpu import Cpu
from octshard.errors import UsageError
from octshard.imaging.crop import crop_window
from octshard.imaging.volume import Shape, product, triple
from octshard.models import normalize, position
from octshard.models.encoder import TrainedEncoder, read_encoder
from octshard.models.vit import Encoder
from octshard.pictures import figure, sweep, token_colours
from octshard.pictures.model_view import EnFace, ModelView, TokenFlags, on_grid, token_grid
from octshard.pictures.token_colours import TokenColours
from octshard.printable import printable
from octshard.progress import OnProgress
from octshard.rng import rng_for
from octshard.storage import store
from octshard.train import mask_report, step_volume, token_extent
from octshard.train.augment.affine import apply_affine
from octshard.train.augment.band import tokens_in_band
from octshard.train.objectives import build, footprints, retina
from octshard.train.objectives.masks import Masks
from octshard.train.step_volume import StepVolume, VolumeSource

logger = logging.getLogger(__name__)

FITTED = 4  # volumes that the colours of features are fitted to
EYES = {"L": "left eye", "R": "right eye"}


@dataclass(frozen=True)
class PreviewRequest:
    """Which volumes: `keys`, or the first `count` of the run's stream. checkpoint: a run, or a file of one,
    whose target encoder gives the tokens their colours; "" for none.
    """

    keys: tuple[str, ...]
    count: int
    checkpoint: str


class PreviewFiles(NamedTuple):
    """Where pictures go; numbers are put before the suffix if there are several. gif: "" for none."""

    figure: str
    gif: str
    columns: int


class Preview(NamedTuple):
    """A volume of a run, and what is drawn of it. tokens: what they cover, in words."""

    key: str
    split: str
    view: ModelView
    tokens: str


def write(
    cfg: TrainConfig, request: PreviewRequest, files: PreviewFiles, on_progress: OnProgress
) -> Iterator[str]:
    """Draws the volumes; one line for each file."""
    form = figure.format_of(files.figure)
    if files.gif:
        sweep.check(files.gif)
    total = len(request.keys) or request.count
    for number, (key, split, view, tokens) in enumerate(previews(cfg, request), start=1):
        pictures = [(files.figure, lambda view: figure.render(view, form, files.columns))]
        if files.gif:
            pictures.append((files.gif, sweep.render))
        for url, render in pictures:
            name = _numbered(url, number) if total > 1 else url
            data = render(view)
            store.write(name, data)
            yield f"{name}: {key} of {split}, {len(data) / 1e6:.1f} MB; {tokens}"
        on_progress(number, total, "")


def previews(cfg: TrainConfig, request: PreviewRequest) -> Iterator[Preview]:
    """Volumes as training gets them in their first pass, or as validation does."""
    build.check(cfg)
    encoder = _encoder(cfg.model, read_encoder(request.checkpoint)) if request.checkpoint else None
    alone = step_volume.one_by_one(cfg)
    # no select.open_backend: under variables of torchrun it would wait for other processes
    with closing(Cpu(dtype=None)) as backend:
        source = step_volume.open_source(alone, backend)
        for line in mask_report.misfits(cfg, source.inputs.index):
            logger.warning("%s", line)
        colours = _fit_colours(encoder, source) if encoder else None
        for step in step_volume.volumes(source, request.keys, request.count):
            ref = source.ref(step)
            stored = sample.read(dataset_folders(cfg.data.shards)[ref.folder], ref.row)
            stored_DHW = stored_scale.grey_uint8(stored)
            colours_V3 = colours.of(features(encoder, step)) if encoder and colours else None
            view = view_of(alone, step, ref.row, _en_face(alone, step, stored_DHW), colours_V3)
            yield Preview(ref.row.key, ref.row.split, view, token_extent.start_line(cfg, [ref.row]))


def _fit_colours(encoder: Encoder, source: VolumeSource) -> TokenColours:
    """To the first volumes of the run, whichever are drawn: so pictures can be compared."""
    count = min(FITTED, len(source.inputs.index.samples))
    return token_colours.fit([features(encoder, step) for step in step_volume.train_volumes(source, count)])


def _numbered(url: str, number: int) -> str:
    stem, _, suffix = url.rpartition(".")
    return f"{stem}-{number}.{suffix}"


def features(encoder: Encoder, step: StepVolume) -> np.ndarray:
    """(V, F) float32: the features of the target view's valid tokens, in the order of the grid."""
    with torch.no_grad():
        z_BVF = encoder(step.target_BCDHW, *encoder.tokens_of(step.batch.valid_B3))
    z_VF: np.ndarray = z_BVF[0].numpy()
    return z_VF


def view_of(
    cfg: TrainConfig, step: StepVolume, row: SampleRow, en_face: EnFace | None, colours_V3: np.ndarray | None
) -> ModelView:
    """What is to be drawn of a step's volume. en_face None: that of the crop."""
    batch, valid, grid = step.batch, step.valid, position.grid_of(cfg.model)
    _, patch = position.shape_of(cfg.model)
    d, h, w = valid
    crop = normalize.normalize(batch.voxels_BDHW, batch.mean_B, batch.std_B, batch.valid_B3)
    crop_DHW = crop[0, 0, :d, :h, :w].numpy()
    tokens = token_grid(valid, patch)
    mask_sets = tuple(
        TokenFlags(_seen(cfg, mask_set, tokens), on_grid(mask_set.target_BT[0].numpy(), grid, tokens))
        for mask_set in step.masks
    )
    (band_dhw,) = tokens_in_band(cfg, batch, step.params)
    coverages = []
    if band_dhw is not None:
        coverages = [retina.coverage_of(flags.target_dhw, band_dhw) for flags in mask_sets]
    return ModelView(
        title=printable(", ".join((row.device, row.protocol, EYES.get(row.eye.upper(), row.eye)))),
        detail=_detail(cfg, step, row) + mask_report.coverage_text(coverages),
        spacing_mm=row.known_spacing,
        patch=patch,
        en_face=en_face or EnFace(crop_DHW.mean(axis=1), 0, 0),
        crop_DHW=crop_DHW,
        target_DHW=step.target_BCDHW[0, 0, :d, :h, :w].numpy() if step.params else crop_DHW,
        context_DHW=_context(cfg, step) if step.params or footprints.is_coarse(cfg) else crop_DHW,
        source_D=_source_planes(step),
        mask_sets=mask_sets,
        context_scale=triple(cfg.objective.context_scale),
        colours_dhw3=None if colours_V3 is None else colours_V3.reshape(*tokens, 3),
        band_dhw=band_dhw,
    )


def _context(cfg: TrainConfig, step: StepVolume) -> np.ndarray:
    """(D, H, W): the view of the context; where its voxels are larger, each over all that it covers."""
    return footprints.spread(
        step.context_BCDHW[0, 0].numpy(), triple(cfg.objective.context_scale), step.valid
    )


def _seen(cfg: TrainConfig, mask_set: Masks, tokens: Shape) -> np.ndarray:
    """(d, h, w) bool: the tokens of the image that those of the context cover."""
    scale, grid = triple(cfg.objective.context_scale), position.grid_of(cfg.model)
    coarse_grid, coarse = (position.coarser(shape, scale) for shape in (grid, tokens))
    return footprints.spread(on_grid(mask_set.context_BK[0].numpy(), coarse_grid, coarse), scale, tokens)


def _detail(cfg: TrainConfig, step: StepVolume, row: SampleRow) -> str:
    """Size and counts in one line."""
    _, patch = position.shape_of(cfg.model)
    spacing, scale = row.known_spacing, cfg.objective.context_scale
    mm = f" of {' x '.join(f'{mm:.3g}' for mm in spacing)} mm" if spacing else ", spacing not known"
    context, target = (
        " + ".join(f"{len(ids_BX[0].unique()):,}" for ids_BX in column)
        for column in zip(*((masks.context_BK, masks.target_BT) for masks in step.masks), strict=True)
    )
    side = _times(n * s for n, s in zip(patch, scale, strict=True))
    of_side = f" (of {side})" if footprints.is_coarse(cfg) else ""
    return (
        f"{_times(step.valid)} voxels{mm} (D x H x W); tokens of {_times(patch)} voxels: {context} context"
        f"{of_side} and {target} target of {product(token_grid(step.valid, patch)):,}"
    )


def _times(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))


def _encoder(model: ModelConfig, trained: TrainedEncoder) -> Encoder:
    """UsageError if the checkpoint's model is another one than the config's."""
    if trained.config.model != model:
        ours, theirs = vars(model), vars(trained.config.model)
        name = next(name for name in ours if ours[name] != theirs[name])
        raise UsageError(
            f"model.{name}={ours[name]}: {trained.path} has {theirs[name]}; take the config of its run "
            f"(--config RUN/config.yaml)"
        )
    return trained.encoder


def _en_face(cfg: TrainConfig, step: StepVolume, stored_DHW: np.ndarray) -> EnFace:
    """The stored volume from the front; the crop's place is drawn again, as the stream drew it."""
    (image_size, _), batch = position.shape_of(cfg.model), step.batch
    rng = rng_for(cfg.run.seed, batch.epoch_B[0], batch.seeds[0], "crop") if step.params else None
    d, h, w = stored_DHW.shape
    crop_d, _, crop_w = crop_window((d, h, w), image_size, rng)
    return EnFace(stored_DHW.mean(axis=1, dtype=np.float32), crop_d.start, crop_w.start)


def _source_planes(step: StepVolume) -> np.ndarray:
    """(D,) int: the B-scan of the crop that each one of the views shows, the nearer of two that it mixes."""
    depth = step.valid[0]
    if step.params is None:
        return np.arange(depth)
    numbers_BDHW = torch.arange(depth, dtype=torch.float32).reshape(1, depth, 1, 1)
    params = step.params
    moved = apply_affine(
        numbers_BDHW, torch.tensor([[depth, 1, 1]]), params.flip_d_B, params.flip_w_B, params.affine
    )
    planes_D: np.ndarray = moved.flatten().round().long().clamp(0, depth - 1).numpy()
    return planes_D
