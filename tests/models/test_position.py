"""Rotary angles and sin-cos vectors against a per-token float64 computation; the checks on sizes."""

import math

import numpy as np
import pytest
import torch

from octshard.config.model import ModelConfig
from octshard.errors import UsageError
from octshard.models import position

GRID = (3, 4, 5)
PLACES = position.coordinates(GRID)


def coordinates_of(token: int) -> tuple[int, int, int]:
    return token // 20, token // 5 % 4, token % 5


def rotated_by_hand(x: np.ndarray, token: int) -> np.ndarray:
    """One head of one token, feature by feature in Python floats: D | D | D, the rest stays."""
    size = 2 * (len(x) // 6)
    out = x.copy()
    for axis, coordinate in enumerate(coordinates_of(token)):
        for k in range(size // 2):
            angle = coordinate * 10000.0 ** (-k / (size / 2))
            i = axis * size + 2 * k
            out[i] = x[i] * math.cos(angle) - x[i + 1] * math.sin(angle)
            out[i + 1] = x[i + 1] * math.cos(angle) + x[i] * math.sin(angle)
    return out


@pytest.mark.parametrize("head_dim", [6, 8, 18, 32, 64])
def test_rope_turns_each_token_as_the_formula_says(head_dim: int) -> None:
    index_BK = torch.tensor([[0, 7, 59], [58, 31, 12]])
    x_BHKF = torch.from_numpy(np.random.default_rng(head_dim).normal(size=(2, 3, 3, head_dim)))
    rotary = position.Position("rope", PLACES, 3 * head_dim, 3).rotary(index_BK)
    assert rotary is not None
    rotated = position.apply_rotary(x_BHKF, rotary).numpy()
    for b in range(2):
        for head in range(3):
            for k in range(3):
                expected = rotated_by_hand(x_BHKF[b, head, k].numpy(), int(index_BK[b, k]))
                np.testing.assert_allclose(rotated[b, head, k], expected, atol=1e-6)


def test_rope_turns_20_20_20_of_64_features_and_leaves_4() -> None:
    angle_NP = position.rope_angles(PLACES, 64)
    assert angle_NP.shape == (60, 32)
    assert (angle_NP[:, 30:] == 0).all()
    assert angle_NP[59, [0, 10, 20]].tolist() == [2, 3, 4]


def test_rope_products_depend_on_the_offset_alone() -> None:
    table = position.Position("rope", position.coordinates((6, 6, 6)), 64, 1)
    query, key = torch.randn(2, 1, 1, 1, 64, generator=torch.Generator().manual_seed(0)).unbind(0)

    def product(at: int, other: int) -> float:
        turns = [table.rotary(torch.tensor([[token]])) for token in (at, other)]
        a, b = (position.apply_rotary(x, turn) for x, turn in zip((query, key), turns, strict=True) if turn)
        return float((a * b).sum())

    step = 36 + 2 * 6 - 3  # one B-scan on, two rows down, three columns back
    assert product(3, 3 + step) == pytest.approx(product(82, 82 + step), abs=1e-4)
    assert product(3, 3 + step) != pytest.approx(product(82, 83 + step), abs=1e-2)


def test_rope_keeps_the_dtype_it_is_given() -> None:
    turn = position.Position("rope", PLACES, 8, 1).rotary(None)
    assert turn is not None
    assert turn[0].dtype == torch.float32
    assert position.apply_rotary(torch.ones(1, 1, 60, 8, dtype=torch.bfloat16), turn).dtype == torch.bfloat16


@pytest.mark.parametrize("width", [6, 26, 48])
def test_sincos_is_the_formula_and_zero_in_what_is_left(width: int) -> None:
    table = position.sincos(PLACES, width).double().numpy()
    pairs = width // 6
    for token in (0, 13, 59):
        expected: list[float] = []
        for coordinate in coordinates_of(token):
            angles = [coordinate * 10000.0 ** (-k / pairs) for k in range(pairs)]
            expected += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        np.testing.assert_allclose(table[token], expected + [0.0] * (width - 6 * pairs), atol=1e-6)
    assert len(np.unique(table, axis=0)) == 60


def test_picked_tokens_carry_the_position_of_their_index() -> None:
    table = position.Position("sincos", PLACES, 12, 2)
    index_BK = torch.tensor([[5, 2], [59, 0]])
    everywhere = table.add_sincos(torch.zeros(2, 60, 12), None)
    assert torch.equal(
        table.add_sincos(torch.zeros(2, 2, 12), index_BK), position.gather_tokens(everywhere, index_BK)
    )


def test_take_is_row_by_row_indexing() -> None:
    z_BNF = torch.arange(2 * 5 * 3.0).reshape(2, 5, 3)
    index_BK = torch.tensor([[4, 0], [1, 3]])
    assert torch.equal(
        position.gather_tokens(z_BNF, index_BK), torch.stack([z_BNF[0, [4, 0]], z_BNF[1, [1, 3]]])
    )


def test_tables_are_no_part_of_a_checkpoint() -> None:
    assert not position.Position("rope", PLACES, 24, 2).state_dict()


@pytest.mark.parametrize(
    ("image_size", "patch", "says"),
    [
        (
            [64, 384, 380],
            [4, 16, 16],
            "image_size [64, 384, 380]: want a multiple of model.patch [4, 16, 16]",
        ),
        ([64, 384], [4, 16, 16], "want three voxel counts"),
        ([64, 384, 384], [4, 0, 16], "model.patch"),
    ],
)
def test_a_size_that_does_not_divide_is_refused(image_size: list[int], patch: list[int], says: str) -> None:
    with pytest.raises(UsageError) as error:
        position.grid_of(ModelConfig(image_size=image_size, patch=patch))
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("kind", "width", "heads", "says"),
    [
        ("rope", 10, 3, "predictor.width 10: want a multiple of predictor.heads 3"),
        ("rope", 14, 2, "7 features a head"),
        ("rope", 8, 2, "4 features a head"),
        ("sincos", 4, 1, "at least 6"),
    ],
)
def test_heads_without_room_are_refused(kind: str, width: int, heads: int, says: str) -> None:
    with pytest.raises(UsageError) as error:
        position.check("predictor", kind, width, heads)
    assert says in str(error.value)


def test_a_coarse_token_lies_in_the_middle_of_those_it_covers() -> None:
    """Of 3 x 4 x 5 tokens, 1 x 2 x 3 in each coarse one; the last ones along W reach beyond the image."""
    assert position.coarser(GRID, (1, 2, 3)) == (3, 2, 2)
    place_M3 = position.coordinates((3, 2, 2), (1, 2, 3))
    assert place_M3[:4].tolist() == [[0, 0.5, 1], [0, 0.5, 4], [0, 2.5, 1], [0, 2.5, 4]]
    assert place_M3[-1].tolist() == [2, 2.5, 4]
    fine_N3 = PLACES.reshape(3, 4, 5, 3)
    assert fine_N3[2, 2:4, 0:3].reshape(-1, 3).mean(0).tolist() == place_M3[-2].tolist()
    angle_M4 = position.rope_angles(place_M3, 8)
    assert angle_M4[-1].tolist() == [2, 2.5, 4, 0]
    table = position.sincos(place_M3, 6)
    expected = [f(x) for x in (2, 2.5, 4) for f in (math.sin, math.cos)]
    np.testing.assert_allclose(table[-1], expected, rtol=1e-6)
