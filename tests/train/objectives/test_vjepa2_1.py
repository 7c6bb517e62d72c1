"""V-JEPA 2.1: levels, distances, weights, ramp and loss against plain loops over NumPy arrays in float64."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from octshard.config.objective import MaskSet
from octshard.config.train import TrainConfig
from octshard.errors import UsageError
from octshard.train.augment import cross_resolution
from octshard.train.objectives.build import build, check
from octshard.train.objectives.objective import Objective
from octshard.train.objectives.places import Places
from octshard.train.objectives.position_only import ValTokens, losses
from octshard.train.objectives.vjepa2_1 import VJepa21, level_depths, nearness
from tests.train.objectives.test_objective import EXTENTS, config, inputs

GRID = (2, 3, 4)
WIDTH = 24


def model_of(cfg: TrainConfig) -> VJepa21:
    model = build(cfg)
    assert isinstance(model, VJepa21)
    return model


@pytest.mark.parametrize(
    ("depth", "depths"),
    [
        (4, [1, 2, 3, 4]),
        (5, [1, 2, 3, 5]),
        (6, [1, 3, 4, 6]),
        (7, [1, 3, 5, 7]),
        (12, [3, 6, 9, 12]),
        (24, [6, 12, 18, 24]),
    ],
)
def test_levels_are_quarters_of_the_depth_rounded_down(depth: int, depths: list[int]) -> None:
    assert level_depths(depth) == depths


@pytest.mark.parametrize(
    ("group", "key", "value", "says"),
    [
        ("model", "depth", 3, "=3: objective.name=vjepa2_1 predicts 4 levels of blocks, want at least 4"),
        ("objective", "context_ramp", [0.3, 0.2], "=[0.3, 0.2]: want [from, to]"),
        ("objective", "context_ramp", [0.3, 1.2], "=[0.3, 1.2]: want two numbers, each 0 to 1"),
        ("objective", "context_weight", -0.1, "=-0.1: want 0 to 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_said_first(group: str, key: str, value: object, says: str) -> None:
    cfg = config("vjepa2_1")
    setattr(getattr(cfg, group), key, value)
    with pytest.raises(UsageError) as error:
        check(cfg)
    assert str(error.value) == f"{group}.{key}{says}"


def test_the_encoder_is_that_of_any_objective() -> None:
    """Its names and shapes, and with one seed its numbers."""
    cfgs = [config(name, depth=4) for name in ("vjepa2_1", "vjepa2")]
    ours, theirs = (build(cfg).encoder.state_dict() for cfg in cfgs)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def place(token: int) -> tuple[int, int, int]:
    """In a grid of 2 x 3 x 4, counted by hand: 12 tokens a B-scan, 4 a row."""
    return token // 12, token % 12 // 4, token % 4


def test_nearness_is_one_over_the_root_of_the_distance_to_the_nearest_target() -> None:
    context_BK = torch.tensor([[0, 5, 23], [3, 12, 0]])
    target_BT = torch.tensor([[1, 10, 18], [15, 23, 0]])
    padding_BT = torch.tensor([[False, False, False], [False, False, True]])  # token 0 only pads the second
    expected = [
        [min(math.dist(place(k), place(t)) for t in targets) ** -0.5 for k in contexts]
        for contexts, targets in (([0, 5, 23], [1, 10, 18]), ([3, 12, 0], [15, 23]))
    ]
    assert expected[0][0] == 1  # neighbours
    assert expected[1] == pytest.approx([1, 3**-0.5, 10**-0.25])
    np.testing.assert_allclose(nearness(context_BK, target_BT, GRID, padding_BT), expected, rtol=1e-6)
    unpadded = nearness(context_BK[:1], target_BT[:1], GRID, None)
    np.testing.assert_allclose(unpadded, expected[:1], rtol=1e-6)


def test_distances_are_exact_in_a_large_grid() -> None:
    """At the end of axes of a thousand tokens; a product in bfloat16 would lose them."""
    last = torch.tensor([[63_999_999]])
    others = torch.tensor([[63_999_998, 63_999_000, 62_999_999, 0]])
    with torch.autocast("cpu", torch.bfloat16):
        near_BK = nearness(others, last, (64, 1000, 1000), None)
    farthest = math.dist((0, 0, 0), (63, 999, 999))
    np.testing.assert_allclose(near_BK, [[1, 999**-0.5, 1, farthest**-0.5]], rtol=1e-6)


def shown_levels(encoder: nn.Module, x: torch.Tensor, ids: list[int], depth: int) -> list[np.ndarray]:
    """Of one volume: what leaves the last block of each quarter, caught by hooks; the last one normed."""
    caught: list[torch.Tensor] = []
    hooks = [
        block.register_forward_hook(lambda _m, _i, out: caught.append(out))
        for block in encoder.blocks  # type: ignore[union-attr]
    ]
    last = encoder(x, torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    assert len(caught) == depth
    quarters = [caught[depth * i // 4 - 1] for i in (1, 2, 3)]
    return [level[0].detach().double().numpy() for level in (*quarters, last)]


def normed(x: np.ndarray) -> np.ndarray:
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-6)  # type: ignore[no-any-return]


def covered_by(token: int) -> list[int]:
    """Of the 8 tokens of a context of 1 x 2 x 2: what it covers of the image, which has no row 3."""
    d, h, w = token // 4, token % 4 // 2, token % 2
    return [
        12 * d + 4 * row + column for row in (2 * h, 2 * h + 1) for column in (2 * w, 2 * w + 1) if row < 3
    ]


def middle_of(token: int) -> tuple[float, float, float]:
    """Of the same, in tokens of the image."""
    return token // 4, 2 * (token % 4 // 2) + 0.5, 2 * (token % 2) + 0.5


def plain_losses(
    model: VJepa21, batch: tuple[Any, ...], depth: int, *, coarse: bool = False
) -> tuple[list[float], list[list[float]]]:
    """Of every mask set: the context's error, and that of the targets for each volume."""
    context, target, tokens, place_sets = batch
    contexts, targets = [], []
    for s, places in enumerate(place_sets):
        of_context, of_targets = [], []
        for b in range(len(context)):
            real = [not bool(p) for p in tokens.padding_BV[b]]
            ids_V = [int(i) for i, is_real in zip(tokens.index_BV[b], real, strict=True) if is_real]
            T = [int(tokens.index_BV[b, p]) for p in places.target_BT[b]]
            K = [int(p) if coarse else int(tokens.index_BV[b, p]) for p in places.context_BK[b]]
            levels = shown_levels(model.target_encoder, target[b : b + 1], ids_V, depth)
            h = {i: np.concatenate([normed(level[n]) for level in levels]) for n, i in enumerate(ids_V)}
            own = {i: h[i] for i in K if not coarse}
            for i in K if coarse else ():
                rows = [ids_V.index(j) for j in covered_by(i) if j in ids_V]
                own[i] = np.concatenate([normed(level[rows].mean(0)) for level in levels])
            read = [
                torch.from_numpy(z).float()[None]
                for z in shown_levels(model.encoder, context[b : b + 1], K, depth)
            ]
            z_K, z_T = (
                z[0].detach().double().numpy()
                for z in model.predictor(read, *(torch.tensor([i]) for i in (K, T)), s)
            )
            of_targets.append(float(np.mean([np.abs(z - h[i]).mean() for z, i in zip(z_T, T, strict=True)])))
            where = middle_of if coarse else place
            near = [min(math.dist(where(k), place(t)) for t in T) ** -0.5 for k in K]
            errors = [np.abs(z - own[i]).mean() for z, i in zip(z_K, K, strict=True)]
            of_context.append(float(np.mean([n * e for n, e in zip(near, errors, strict=True)])))
        contexts.append(float(np.mean(of_context)))
        targets.append(of_targets)
    return contexts, targets


@pytest.mark.parametrize("depth", [4, 6])
@pytest.mark.parametrize("kind", ["rope", "sincos"])
def test_the_loss_is_that_of_plain_loops(kind: str, depth: int) -> None:
    cfg = config("vjepa2_1", kind, sets=2, depth=depth)
    model, batch = model_of(cfg), inputs(cfg)
    with torch.no_grad():  # norms and biases that say something
        for name, weight in model.named_parameters():
            shift = torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name)))
            weight.add_(0.1 * shift)
    contexts, targets = plain_losses(model, batch, depth)
    ramp = {None: 0.5, 0.0: 0, 0.1: 0, 0.125: 0.125, 0.15: 0.25, 0.2: 0.5, 0.7: 0.5, 1.0: 0.5}
    for progress, weight in ramp.items():
        out = model(*batch, None if progress is None else torch.tensor([progress]))
        expected = np.mean(targets) + weight * np.mean(contexts)
        assert float(out.loss.detach()) == pytest.approx(expected, rel=1e-5, abs=1e-7), progress
        assert float(out.context_loss) == pytest.approx(np.mean(contexts), rel=1e-5)
        np.testing.assert_allclose(out.losses_S.detach(), np.mean(targets, axis=1), rtol=1e-5)
        np.testing.assert_allclose(out.losses_B, np.mean(targets, axis=0), rtol=1e-5)


@pytest.mark.parametrize("kind", ["rope", "sincos"])
def test_the_loss_of_a_coarser_context_is_that_of_plain_loops(kind: str) -> None:
    """1 x 2 x 2 tokens of the image in one of the context; the second volume has 2 x 2 x 4, the last row of
    cells of the first one is cut.
    """
    cfg = config("vjepa2_1", kind, depth=4)
    cfg.objective.context_scale = [1, 2, 2]
    cube = MaskSet(kind="cubes", cube=[1, 1, 1], context=2, target=7)
    cfg.objective.masks = [MaskSet(context=2, target=6), cube]
    model, (context, target, tokens, place_sets) = model_of(cfg), inputs(cfg)
    context = cross_resolution.of_context(context, torch.tensor(EXTENTS), cfg)
    batch = (context, target, tokens, place_sets)
    contexts, targets = plain_losses(model, batch, 4, coarse=True)
    out = model(*batch)
    expected = np.mean(targets) + 0.5 * np.mean(contexts)
    assert float(out.loss.detach()) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(out.losses_B, np.mean(targets, axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    ("ramp", "progress", "share"),
    [
        ([0.0, 0.0], 1e-3, 1), ([0.0, 0.0], 0.0, 1), ([0.5, 0.5], 0.49, 0), ([0.5, 0.5], 0.5, 1),
        ([1.0, 1.0], 0.99, 0), ([1.0, 1.0], 1.0, 1), ([0.0, 1.0], 0.25, 0.25), ([0.0, 1.0], 1.5, 1),
    ],
)  # fmt: skip
def test_a_ramp_may_be_a_step_or_the_whole_run(ramp: list[float], progress: float, share: float) -> None:
    cfg = config("vjepa2_1")
    cfg.objective.context_ramp, cfg.objective.context_weight = ramp, 0.25
    model, batch = model_of(cfg), inputs(cfg)
    full, none = (float(model(*batch, p).loss.detach()) for p in (None, torch.zeros(1) - 1))
    out = model(*batch, torch.tensor([progress]))
    assert float(out.loss.detach()) == pytest.approx(none + share * (full - none), rel=1e-6)


def test_without_a_weight_the_context_has_no_gradient_of_its_own() -> None:
    cfg = config("vjepa2_1")
    cfg.objective.context_weight = 0
    model, batch = model_of(cfg), inputs(cfg)
    out = model(*batch)
    assert torch.equal(out.loss, out.losses_S.mean())
    out.loss.backward()
    assert not any(weight.grad.any() for weight in model.predictor.proj_context.parameters())  # type: ignore[union-attr]


def with_padding(places: Places, extra: int) -> Places:
    """Lists that are longer by repeats, which are padding."""
    context_BK, target_BT, *_ = places

    def longer(place_BX: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        longer_BX = torch.cat([place_BX, place_BX[:, -1:].expand(-1, extra)], dim=1)
        return longer_BX, (torch.arange(longer_BX.shape[1]) >= place_BX.shape[1]).expand(len(place_BX), -1)

    (context_BK, context_padding_BK), (target_BT, target_padding_BT) = longer(context_BK), longer(target_BT)
    return Places(context_BK, target_BT, context_padding_BK, target_padding_BT)


def loss_and_gradient(model: Objective, batch: tuple[Any, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    model.zero_grad()
    out = model(*batch)
    out.loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return torch.stack([out.loss.detach(), *out.losses_B, *out.losses_S.detach()]), gradient


def test_padding_of_places_changes_nothing() -> None:
    cfg = config("vjepa2_1", sets=2)
    model, (context, target, tokens, place_sets) = model_of(cfg), inputs(cfg)
    losses_, gradient = loss_and_gradient(model, (context, target, tokens, place_sets))
    padded = [with_padding(places, extra) for places, extra in zip(place_sets, (2, 3), strict=True)]
    padded_losses, padded_gradient = loss_and_gradient(model, (context, target, tokens, padded))
    torch.testing.assert_close(padded_losses, losses_, rtol=1e-6, atol=0)
    assert (padded_gradient - gradient).norm() <= 1e-6 * gradient.norm()


def test_each_level_of_the_targets_is_normed_by_itself() -> None:
    """A level of another size weighs as much as the rest."""
    cfg = config("vjepa2_1")
    model, rng = model_of(cfg), np.random.default_rng(0)
    target = rng.normal(size=(2, 3, 4 * WIDTH)) * np.repeat([1, 1e3, 1e-1, 5], WIDTH)
    compared = model.distance.as_compared(torch.from_numpy(target)).double().numpy()
    expected = np.concatenate([normed(part) for part in np.split(target, 4, axis=-1)], axis=-1)
    np.testing.assert_allclose(compared, expected, rtol=1e-5, atol=1e-6)


def test_collapse_is_watched_in_the_encoders_output() -> None:
    cfg = config("vjepa2_1")
    model, (context, target, tokens, place_sets) = model_of(cfg), inputs(cfg)
    out, z_BVF = model(context, target, tokens, place_sets), model.target_encoder(target, *tokens)
    assert model.targets(target, tokens).shape[-1] == model.target_width(cfg) == 4 * WIDTH
    assert torch.equal(model.encoded(model.targets(target, tokens)), z_BVF)
    torch.testing.assert_close(out.pooled_BF[0], z_BVF[0].mean(0))
    assert out.tokens_RF.shape[-1] == WIDTH


def test_features_that_say_only_the_place_have_no_skill() -> None:
    """The position-only predictor errs by nothing where each level is a function of the position."""
    distance, rng = VJepa21.distance, np.random.default_rng(0)
    at_P = distance.as_compared(torch.from_numpy(rng.normal(size=(1, 5, 4 * WIDTH)))).numpy()
    features_VPX = np.repeat(at_P, 8, axis=0)
    ones_VP = np.ones((8, 5))
    tokens = ValTokens(features_VPX, ones_VP > 0, ones_VP, ones_VP)
    result = losses(tokens, np.arange(8) % 2 == 1, distance)
    assert result is not None
    assert result.position_only == pytest.approx(0, abs=1e-6)
    assert result.constant > 0.3
