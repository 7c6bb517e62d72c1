"""What is said of masks before a run begins: whether K and T fit, and how much of the retina is target."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from octshard.config.train import TrainConfig
from octshard.dataset import shard, stored_band
from octshard.imaging.crop import crop_window
from octshard.imaging.retina_band import token_flags
from octshard.imaging.volume import Shape, product
from octshard.models import position
from octshard.stream import loader, read
from octshard.stream.batch_shape import batch_shape
from octshard.stream.index import SampleIndex, SampleRef, token_grid
from octshard.stream.read import Scratch
from octshard.train.objectives import curriculum, footprints, mask_fit, masks, retina, token_counts
from octshard.train.objectives.retina import Coverage

SCORED = 16  # volumes of a coverage


def misfits(cfg: TrainConfig, index: SampleIndex) -> Iterator[str]:
    """A line for each mask set that does not fit most of its draws, in volumes of the commonest size."""
    grids = Counter(token_grid(sample.shape, cfg) for sample in index.samples)
    for grid, _ in grids.most_common(1):
        yield from mask_fit.lines(cfg, grid)


def coverage_text(coverages: Sequence[Coverage]) -> str:
    """What is added to the description of a volume; empty without a band."""
    if not coverages:
        return ""
    purity, covered = (
        " + ".join(f"{100 * value:.0f}" for value in column) for column in zip(*coverages, strict=True)
    )
    return f"; {purity} % of the targets in the retinal band, {covered} % of it target"


def coverage_lines(cfg: TrainConfig, index: SampleIndex) -> Iterator[str]:
    """The coverage of each mask set in up to SCORED volumes with a band, centre crops as in validation. Reads
    them; nothing if none has one.
    """
    samples = [sample for sample in index.samples if sample.row.retina_found]
    if not samples or footprints.is_coarse(cfg):
        return
    stage, shape = curriculum.stages(cfg)[0], batch_shape(index, cfg, cfg.objective.max_tokens)
    coverages: list[list[Coverage]] = []
    for number in loader.evenly_spread(len(samples), SCORED):
        sample = samples[number]
        extent, band_dhw = _band(sample, cfg, shape.box)
        if band_dhw is None:
            continue
        lengths = token_counts.list_lengths(stage, shape)
        valid_B3 = torch.tensor([extent])
        drawn = masks.draw(stage, lengths, valid_B3, cfg.run.seed, [0], [sample.row.key], [band_dhw])
        coverages.append([retina.coverage_of(_flags(cfg, each, band_dhw), band_dhw) for each in drawn])
    for i, of_set in enumerate(zip(*coverages, strict=True)):
        purity, covered = np.mean(of_set, axis=0)
        yield (
            f"masks ({i + 1}): {purity:.0%} of the targets lie in the retinal band, {covered:.0%} of it is "
            f"target (inner-retina coverage), over {len(coverages)} volumes"
        )


def _band(sample: SampleRef, cfg: TrainConfig, box: Shape) -> tuple[Shape, np.ndarray | None]:
    """The extent of a centre crop, and which of its valid tokens lie in the band; None if none does."""
    packed = shard.open_slice(
        read.read_now(sample, Scratch()), sample.row.key, sample.row.xxh3, sample.location
    )
    window = crop_window(packed.shape, box, None)
    d, h, w = (part.stop - part.start for part in window)
    band = stored_band.from_json(packed.meta, packed.shape, sample.location)
    if band is None:
        return (d, h, w), None
    flags_dhw = token_flags(
        band.crop(window).rows_DQ2, token_grid((d, h, w), cfg), position.shape_of(cfg.model)[1]
    )
    return (d, h, w), flags_dhw if flags_dhw.any() else None


def _flags(cfg: TrainConfig, drawn: masks.Masks, like_dhw: np.ndarray) -> np.ndarray:
    """(d, h, w) bool: the targets of one volume among its valid tokens."""
    grid = position.grid_of(cfg.model)
    flags_N = np.zeros(product(grid), bool)
    flags_N[drawn.target_BT[0].numpy()] = True
    d, h, w = like_dhw.shape
    return flags_N.reshape(grid)[:d, :h, :w]
