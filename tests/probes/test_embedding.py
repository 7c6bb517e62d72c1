"""Tiles through an encoder, against the same encoder on each tile alone: no batch, packing or padding."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from octshard.config.model import ModelConfig
from octshard.config.run import RunConfig
from octshard.devices import select
from octshard.imaging.tiles import CENTRE, WHOLE, View
from octshard.imaging.volume import Shape
from octshard.models.pooling import MAX, MEAN, MEAN_STD, POOLINGS, merge
from octshard.models.vit import Encoder
from octshard.probes.embedding import EncodedTile, Reading, TileEncoder, box_of
from octshard.rng import rng_for
from octshard.stream.batch import Batch
from octshard.stream.sampler import StreamPosition

MODEL = ModelConfig([8, 32, 16], [4, 8, 8], width=24, depth=3, heads=2)
PATCH: Shape = (4, 8, 8)
IMAGE: Shape = (8, 32, 16)
BACKEND = select.open_backend(RunConfig(device="cpu", precision="fp32"))
SHAPES: tuple[Shape, ...] = ((8, 32, 16), (13, 20, 30), (3, 50, 17))  # one tile; 2 x 1 x 2; 1 x 2 x 2
DEPTHS = (1, 3)


def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(MODEL).eval()


def volume(i: int) -> np.ndarray:
    return rng_for("volume", i).integers(256, size=SHAPES[i], dtype=np.uint8)


def batch(places: tuple[int, ...], count: int | None = None) -> Batch:
    """Whole volumes, as evaluation streams them."""
    box = np.max([SHAPES[i] for i in places], axis=0)
    voxels_BDHW = torch.zeros((len(places), *box), dtype=torch.uint8)
    for slot, i in enumerate(places):
        d, h, w = SHAPES[i]
        voxels_BDHW[slot, :d, :h, :w] = torch.from_numpy(volume(i))
    mean_B = torch.tensor([100.0 + i for i in places])
    valid_B3, keys = torch.tensor([SHAPES[i] for i in places]), tuple(map(str, places))
    return Batch(
        voxels_BDHW, mean_B, 50 * torch.ones(len(places)), valid_B3, keys, (0,) * len(places),
        count or len(places), StreamPosition(0, 0), (), keys,
    )  # fmt: skip


def reading(kind: str = WHOLE, size: int = 3, *, with_tokens: bool = False) -> Reading:
    view = View(kind, IMAGE, PATCH)
    return Reading(view, size, *box_of(view, SHAPES), DEPTHS, POOLINGS, with_tokens)


def by_hand(i: int, kind: str = WHOLE) -> Iterator[np.ndarray]:
    """(V, F) behind each of DEPTHS: the tokens of all tiles of volume i, one tile after the other."""
    levels: list[list[np.ndarray]] = [[] for _ in DEPTHS]
    for window in View(kind, IMAGE, PATCH).windows(SHAPES[i]):
        part = volume(i)[window]
        padded = [-(-n // p) * p for n, p in zip(part.shape, PATCH, strict=True)]
        x = np.zeros(padded, np.float32)
        d, h, w = part.shape
        x[:d, :h, :w] = (part - (100.0 + i)) / 50
        tokens = encoder().tokens_of(torch.tensor([part.shape]))
        with torch.no_grad():
            tiles = encoder().levels(torch.from_numpy(x)[None, None], tokens, DEPTHS)
        for level, z_BVF in zip(levels, tiles, strict=True):
            level.append(z_BVF[0].numpy())
    for level in levels:
        yield np.concatenate(level)


def rows(tiles: Iterator[EncodedTile]) -> dict[int, list[EncodedTile]]:
    by_place: dict[int, list[EncodedTile]] = {}
    for tile in tiles:
        by_place.setdefault(tile.place, []).append(tile)
    return by_place


@pytest.mark.parametrize("size", [1, 2, 3, 16])
@pytest.mark.parametrize("kind", [WHOLE, CENTRE])
def test_all_valid_tokens_of_all_tiles_are_pooled_alike(kind, size) -> None:
    made = rows(TileEncoder(encoder(), BACKEND, reading(kind, size)).tiles(batch((0, 1, 2))))
    assert [len(made[i]) for i in range(3)] == ([1, 4, 4] if kind == WHOLE else [1, 1, 1])
    for i, tiles in made.items():
        for level, z_VF in enumerate(by_hand(i, kind)):
            parts = [tile.levels[level].summary for tile in tiles]
            mean_F, std_F = z_VF.mean(0), z_VF.std(0)
            np.testing.assert_allclose(merge(MEAN, parts), mean_F, atol=1e-5)
            np.testing.assert_allclose(merge(MEAN_STD, parts), [*mean_F, *std_F], atol=1e-5)
            np.testing.assert_allclose(merge(MAX, parts), z_VF.max(0), atol=1e-5)


def test_tokens_and_their_places() -> None:
    made = rows(TileEncoder(encoder(), BACKEND, reading(with_tokens=True)).tiles(batch((0, 1, 2))))
    for i, tiles in made.items():
        z_VF = np.concatenate([tile.levels[1].z_VF for tile in tiles])
        *_, expected_VF = by_hand(i)
        np.testing.assert_allclose(z_VF, expected_VF, atol=1e-5)
        places = np.concatenate([tile.place_V3 for tile in tiles])
        grid = [-(-n // p) for n, p in zip(SHAPES[i], PATCH, strict=True)]
        assert sorted(map(tuple, places.tolist())) == list(np.ndindex(*grid))


def test_one_tile_is_the_untiled_volume_bit_for_bit() -> None:
    """As the encoder gives it where nothing is cut, merged or copied."""
    tiles = rows(TileEncoder(encoder(), BACKEND, reading(with_tokens=True)).tiles(batch((0,))))[0]
    x = ((torch.from_numpy(volume(0)).float() - 100.0) / 50)[None, None]
    with torch.no_grad():
        z_VF = encoder()(x)[0]
    assert tiles[0].levels[1].z_VF.tobytes() == z_VF.numpy().tobytes()  # type: ignore[union-attr]
    mean_F = z_VF.mean(0)
    variance_F = (z_VF - mean_F).square().mean(0)
    expected = np.concatenate([mean_F, np.sqrt(variance_F.numpy())]).tobytes()
    assert merge(MEAN_STD, [tiles[0].levels[1].summary]).tobytes() == expected


def test_repeats_at_the_end_are_not_read() -> None:
    made = rows(TileEncoder(encoder(), BACKEND, reading()).tiles(batch((1, 0, 0, 0), count=2)))
    assert list(made) == [0, 1]


def test_where_shapes_are_fixed_the_last_tiles_are_filled_up(monkeypatch) -> None:
    """As on XLA: every forward pass has the same shapes, and the same features come out."""

    class Fixed(type(BACKEND)):  # type: ignore[misc]
        sequences = "none"

    fixed = Fixed(**vars(BACKEND))
    shapes = set()
    real = Encoder.levels

    def levels(self, x_BCDHW, tokens, depths):
        shapes.add((tuple(x_BCDHW.shape), tuple(tokens.index_BV.shape)))
        return real(self, x_BCDHW, tokens, depths)

    monkeypatch.setattr(Encoder, "levels", levels)
    made = rows(TileEncoder(encoder(), fixed, reading(size=4)).tiles(batch((0, 1, 2))))
    assert shapes == {((4, 1, 8, 32, 16), (4, 16))}
    monkeypatch.setattr(Encoder, "levels", real)
    plain = rows(TileEncoder(encoder(), BACKEND, reading()).tiles(batch((0, 1, 2))))
    for i in range(3):
        values = [merge(MEAN_STD, [tile.levels[1].summary for tile in each[i]]) for each in (made, plain)]
        np.testing.assert_allclose(*values, atol=1e-5)
