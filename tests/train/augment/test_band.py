"""The retinal band in the views: a volume that is bright where the band is, moved by the views themselves."""

import dataclasses

import numpy as np
import pytest
import torch

from octshard.config.model import ModelConfig
from octshard.config.train import TrainConfig, ViewConfig
from octshard.imaging.retina_band import BLOCK, NOT_FOUND
from octshard.stream.batch import Batch
from octshard.stream.sampler import StreamPosition
from octshard.train.augment import band, views
from octshard.train.augment.affine import apply_affine
from octshard.train.augment.views import ViewParams

SIZE = (6, 48, 40)
VALID = [[6, 48, 40], [5, 40, 32]]  # whole blocks: those of a mirror image lie on the grid too


def wavy(extent: list[int], seed: int) -> np.ndarray:
    """(D, Q, 2): a band that changes from B-scan to B-scan and from block to block; one is not found."""
    rng = np.random.default_rng(seed)
    depth, height, width = extent
    rows_DQ2 = np.full((SIZE[0], -(-SIZE[2] // BLOCK), 2), NOT_FOUND, np.int16)
    top_DQ = height // 3 + np.cumsum(rng.integers(-1, 2, (depth, -(-width // BLOCK))), axis=1)
    rows_DQ2[:depth, : top_DQ.shape[1]] = np.stack([top_DQ, top_DQ + 11], axis=-1)
    rows_DQ2[2, 1] = NOT_FOUND
    return rows_DQ2


def batch() -> Batch:
    """Voxels are 255 in the band, 0 elsewhere."""
    bands_BDQ2 = np.stack([wavy(extent, seed) for seed, extent in enumerate(VALID)])
    voxels_BDHW = np.zeros((2, *SIZE), np.uint8)
    for b, d, q in np.ndindex(bands_BDQ2.shape[:3]):
        top, bottom = bands_BDQ2[b, d, q]
        if top >= 0:
            voxels_BDHW[b, d, top:bottom, q * BLOCK : (q + 1) * BLOCK] = 255
    return Batch(
        torch.from_numpy(voxels_BDHW), torch.zeros(2), torch.ones(2), torch.tensor(VALID), ("a", "b"), (0, 0),
        2, StreamPosition(0, 2), (), ("a", "b"), torch.from_numpy(bands_BDQ2),
    )  # fmt: skip


def params(cfg: ViewConfig, seed: int) -> ViewParams:
    return views.draw(cfg, seed, [0, 0], ["a", "b"])


def moved(made: Batch, view: ViewParams) -> np.ndarray:
    """bool (B, D, H, W): what the views show of the bright part."""
    x = apply_affine(made.voxels_BDHW, made.valid_B3, view.flip_d_B, view.flip_w_B, view.affine)
    return (x > 127.5).numpy()


@pytest.mark.parametrize("flips", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_flips_move_the_band_exactly(flips: tuple[int, int]) -> None:
    """Block by block; the second volume is smaller than the box."""
    made = batch()
    view = params(ViewConfig(flip_d=flips[0], flip_w=flips[1], zoom=0, tilt=0), 0)
    rows_BDQ2 = band.move(made.band_BDQ2, made.valid_B3, view).numpy()  # type: ignore[arg-type]
    bright_BDHW = moved(made, view)
    for b, (depth, height, width) in enumerate(VALID):
        for d, q in np.ndindex(depth, -(-width // BLOCK)):
            column = bright_BDHW[b, d, :height, min(q * BLOCK + 3, width - 1)]
            rows = np.flatnonzero(column)
            expected = [rows[0], rows[-1] + 1] if len(rows) else [NOT_FOUND, NOT_FOUND]
            assert rows_BDQ2[b, d, q].tolist() == expected, (b, d, q)
    assert (rows_BDQ2[1, 5:] == NOT_FOUND).all()
    assert (rows_BDQ2[1, :, 4:] == NOT_FOUND).all()


@pytest.mark.parametrize("seed", range(8))
def test_zoom_shift_and_tilt_move_it_to_a_row_where_the_band_is_smooth(seed: int) -> None:
    """A band of the same rows in all B-scans and columns: what is off is the rounding of an edge."""
    made = batch()
    made.band_BDQ2[:] = NOT_FOUND  # type: ignore[index]
    made.voxels_BDHW[:] = 0
    for b, (depth, height, width) in enumerate(VALID):
        top, bottom = height // 3, height // 3 + 13
        made.band_BDQ2[b, :depth, : -(-width // BLOCK)] = torch.tensor([top, bottom], dtype=torch.int16)  # type: ignore[index]
        made.voxels_BDHW[b, :depth, top:bottom, :width] = 255
    view = params(ViewConfig(zoom=0.1, shift=0.1, tilt=0.08), seed)
    rows_BDQ2 = band.move(made.band_BDQ2, made.valid_B3, view).numpy()  # type: ignore[arg-type]
    bright_BDHW = moved(made, view)
    for b, (depth, height, width) in enumerate(VALID):
        for d, q in np.ndindex(depth, width // BLOCK):
            middle = q * BLOCK + 3  # and 4: the middle of the block lies between them
            rows = [np.flatnonzero(bright_BDHW[b, d, :height, column]) for column in (middle, middle + 1)]
            for i, edges in enumerate(([r[0] for r in rows], [r[-1] + 1 for r in rows])):
                assert min(edges) - 1 <= rows_BDQ2[b, d, q, i] <= max(edges) + 1


def config() -> TrainConfig:
    return TrainConfig(model=ModelConfig(image_size=[6, 48, 48], patch=[2, 8, 12], width=24, heads=2))


@pytest.mark.parametrize("seed", range(6))
def test_tokens_in_the_band_are_those_that_show_some_of_it(seed: int) -> None:
    """Of most tokens, and of all but the border of the band where a block is off by half of itself."""
    made, view = batch(), params(ViewConfig(), seed)
    bright_BDHW = moved(made, view)
    for flags_dhw, bright_DHW, extent in zip(
        band.tokens_in_band(config(), made, view), bright_BDHW, VALID, strict=True
    ):
        assert flags_dhw is not None
        d, h, w = flags_dhw.shape
        whole = np.zeros((2 * d, 8 * h, 12 * w), bool)
        part = tuple(slice(n) for n in extent)
        whole[part] = bright_DHW[part]
        share_dhw = whole.reshape(d, 2, h, 8, w, 12).mean((1, 3, 5))
        assert flags_dhw[share_dhw > 0.25].all()
        assert (flags_dhw == (share_dhw > 0)).mean() > 0.85
        assert not flags_dhw[:, -1].any()


def test_without_a_band_there_are_no_tokens_of_it() -> None:
    made = batch()
    assert band.tokens_in_band(config(), made, None)[0] is not None
    made.band_BDQ2[1] = NOT_FOUND  # type: ignore[index]
    assert band.tokens_in_band(config(), made, params(ViewConfig(), 0))[1] is None
    bare = dataclasses.replace(made, band_BDQ2=None)
    assert band.tokens_in_band(config(), bare, None) == [None, None]
