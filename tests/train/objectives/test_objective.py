"""All objectives: nothing hidden leaks, targets get no gradient, and a golden seeded step."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from octshard.config.model import ModelConfig, PredictorConfig
from octshard.config.objective import MaskSet, ObjectiveConfig
from octshard.config.run import RunConfig
from octshard.config.train import TrainConfig
from octshard.devices.backend import map_tensors
from octshard.errors import UsageError
from octshard.models.tokens import Tokens
from octshard.models.vit import patchify
from octshard.train.augment import views
from octshard.train.objectives.build import CLASSES, build, check
from octshard.train.objectives.distance import NORMALISED_MSE, NORMED_L1, Distance
from octshard.train.objectives.places import Places
from tests.support.token_lists import draw_lists, packed_lists

GOLDEN = Path(__file__).parent / "golden" / "jepa_step.json"
SIZE, PATCH = (4, 12, 16), (2, 4, 4)
EXTENTS = [list(SIZE), [4, 8, 16]]
WHOLE = [list(SIZE), list(SIZE)]
OBJECTIVES = tuple(CLASSES)
LEAST_DEPTH = {"vjepa2_1": 4}
FORMS = tuple(f"{objective}{attention}" for objective in OBJECTIVES for attention in ("", " divided"))
EITHER = pytest.mark.parametrize("objective", FORMS)
# With rope the hidden tokens of `byol` are all but equal at the start, and BatchNorm blows up their rounding.
STEADY = {form: "sincos" if form.startswith("byol") else "rope" for form in FORMS}
BOTH_POSITIONS = pytest.mark.parametrize("kind", ["rope", "sincos"])


def config(objective: str, kind: str = "rope", sets: int = 1, depth: int = 2) -> TrainConfig:
    """objective: one of FORMS."""
    name, _, attention = objective.partition(" ")
    mask_sets = [MaskSet(context=3, target=8), MaskSet(kind="cubes", cube=[1, 2, 2], context=5, target=9)]
    return TrainConfig(
        model=ModelConfig(
            image_size=list(SIZE),
            patch=list(PATCH),
            width=24,
            depth=max(depth, LEAST_DEPTH.get(name, 1)),
            heads=2,
            mlp_ratio=2.0,
            position=kind,
            attention=attention or "joint",
        ),
        predictor=PredictorConfig(width=16, depth=1, heads=2),
        objective=ObjectiveConfig(name=name, masks=mask_sets[:sets]),
        run=RunConfig(seed=7),
    )


def inputs(
    cfg: TrainConfig, step: int = 0, extents: list[list[int]] = EXTENTS
) -> tuple[torch.Tensor, torch.Tensor, Tokens, list[Places]]:
    """What the loop hands to an objective for two made-up volumes, the second one with padding."""
    keys = [f"first-{step}", f"second-{step}"]
    voxels = torch.from_numpy(np.random.default_rng(step).integers(0, 256, (2, *SIZE)).astype(np.uint8))
    valid_B3 = torch.tensor(extents)
    params = views.draw(cfg.views, cfg.run.seed, [0, 0], keys)
    context, target = views.apply(
        voxels, torch.tensor([127.0, 120.0]), torch.tensor([70.0, 75.0]), valid_B3, params, SIZE
    )
    return context, target, *draw_lists(cfg, valid_B3, keys)


def numbers(tokens: Tokens, place_BX: torch.Tensor) -> torch.Tensor:
    """Of the tokens at these places, in the grid."""
    return tokens.index_BV.gather(1, place_BX)


def reached(x_BCDHW: torch.Tensor) -> torch.Tensor:
    """(B, N) bool: tokens that hold a voxel with a gradient."""
    assert x_BCDHW.grad is not None
    return patchify(x_BCDHW.grad, PATCH).abs().amax(-1) > 0


def shown(context_BK: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(context_BK), 24, dtype=torch.bool).scatter(1, context_BK, True)


@BOTH_POSITIONS
@EITHER
def test_no_voxel_outside_the_context_reaches_a_prediction(objective: str, kind: str) -> None:
    cfg = config(objective, kind)
    model, (context, _, tokens, (places_of_set, *_)) = build(cfg), inputs(cfg)
    context.requires_grad_()
    predicted = model.predict(context, tokens, places_of_set, 0)
    weight = torch.randn(predicted.shape, generator=torch.Generator().manual_seed(0))
    (predicted * weight).sum().backward()
    assert torch.equal(reached(context), shown(numbers(tokens, places_of_set.context_BK)))


@BOTH_POSITIONS
@EITHER
def test_each_number_of_each_prediction_has_a_gradient_of_zero_outside_the_context(
    objective: str, kind: str
) -> None:
    """Targets, unused tokens, padding; of a sum of them two might cancel. The second volume is padded."""
    cfg = config(objective, kind)
    model, (context, _, tokens, (places_of_set, *_)) = (
        build(cfg),
        inputs(cfg, 0, [list(SIZE), [3, 8, 9]]),
    )
    context.requires_grad_()
    predicted = model.predict(context, tokens, places_of_set, 0).flatten()
    one_each = torch.eye(len(predicted))
    (slope_PBCDHW,) = torch.autograd.grad(predicted, context, one_each, is_grads_batched=True)
    seen_PBN = patchify(slope_PBCDHW.flatten(0, 1), PATCH).abs().amax(-1).unflatten(0, (-1, 2)) > 0
    shown_BN = shown(numbers(tokens, places_of_set.context_BK))
    assert torch.equal(seen_PBN.any(0), shown_BN)
    if not model.batch_statistics:  # the batch norm of `byol` joins volumes, by their context alone
        first, second = seen_PBN.unflatten(0, (2, -1))
        assert not first[:, 1].any()
        assert not second[:, 0].any()


@EITHER
def test_no_voxel_outside_the_context_reaches_the_loss(objective: str) -> None:
    cfg = config(objective, sets=2)
    model, (context, target, tokens, place_sets) = build(cfg), inputs(cfg)
    context.requires_grad_()
    target.requires_grad_()
    model(context, target, tokens, place_sets).loss.backward()
    first, second = (shown(numbers(tokens, places_of_set.context_BK)) for places_of_set in place_sets)
    assert torch.equal(reached(context), first | second)
    assert target.grad is None


@EITHER
def test_valid_tokens_alone_equal_the_masked_full_computation_and_each_volume_by_itself(
    objective: str,
) -> None:
    """In float32: losses and gradients to 1e-6. With `byol` a batch norm joins the volumes."""
    cfg = config(objective, STEADY[objective])
    model, keys, extents = build(cfg), ["first", "second"], torch.tensor([[3, 8, 9], [4, 8, 16]])
    context, target, _, _ = inputs(cfg, 0, extents.tolist())

    def run(size: list[int], length: int, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Losses, and all gradients as one vector; what lies behind a volume in the box is 1000."""
        d, h, w = size
        views_ = [x[rows, :, :d, :h, :w].clone() for x in (context, target)]
        for view in views_:
            for x_CDHW, (depth, height, _) in zip(view, extents[rows].tolist(), strict=True):
                x_CDHW[:, 2 * -(-depth // 2) :] = x_CDHW[:, :, 4 * -(-height // 4) :] = 1e3
        lists = draw_lists(cfg, extents[rows], keys[rows], length)
        model.zero_grad()
        out = model(*views_, *lists)
        out.loss.backward()
        return out.losses_B, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    losses_B, gradient = run([4, 8, 16], 16, slice(0, 2))
    full_losses_B, full_gradient = run(list(SIZE), 24, slice(0, 2))
    torch.testing.assert_close(losses_B, full_losses_B, rtol=1e-6, atol=0)
    assert (gradient - full_gradient).norm() <= 1e-6 * gradient.norm()
    if not model.batch_statistics:
        alone = [run([4, 8, 12], 12, slice(0, 1)), run([4, 8, 16], 16, slice(1, 2))]
        torch.testing.assert_close(losses_B, torch.cat([losses for losses, _ in alone]), rtol=1e-6, atol=0)
        assert (gradient - (alone[0][1] + alone[1][1]) / 2).norm() <= 1e-6 * gradient.norm()


@EITHER
def test_draws_of_a_set_share_its_mask_token_and_count_alike(objective: str) -> None:
    """Two sets, of two draws and of one: three losses, and those of the draws laid out as sets of their own
    whose mask tokens are equal.
    """
    cfg, apart = config(objective, STEADY[objective], sets=2), config(objective, STEADY[objective], sets=2)
    cfg.objective.masks[0].draws = 2
    apart.objective.masks.insert(0, apart.objective.masks[0])
    model, other = build(cfg), build(apart)
    state = model.state_dict()
    for name in [name for name in state if name.endswith(".tokens_SF")]:
        assert len(state[name]) == 2
        state[name] = state[name][[0, 0, 1]]
    other.load_state_dict(state)
    batch = inputs(cfg)
    out, expected = model(*batch), other(*batch)
    assert len(batch[3]) == len(out.losses_S) == 3
    assert torch.equal(out.losses_S, expected.losses_S)
    assert torch.equal(out.loss, expected.loss)


def of_shares(objective: str) -> TrainConfig:
    """Two mask sets by shares: of 24 tokens 6 and 12, 7 and 8; of 16 only 4 and 8, 5 and 6."""
    cfg = config(objective, STEADY[objective], sets=2)
    for mask_set, context, target in zip(cfg.objective.masks, (0.25, 0.3), (0.5, 0.35), strict=True):
        mask_set.context, mask_set.target = context, target
    return cfg


@EITHER
def test_lists_that_repeat_tokens_leak_nothing(objective: str) -> None:
    """Each number of each prediction, and the loss, of a volume with fewer tokens beside a larger one."""
    cfg = of_shares(objective)
    model, (context, target, tokens, place_sets) = build(cfg), inputs(cfg)
    padding = [tuple((~p).sum(1).tolist() for p in places[2:4]) for places in place_sets]
    assert padding == [([6, 4], [12, 8]), ([7, 5], [8, 6])]
    context.requires_grad_()
    target.requires_grad_()
    places_of_set = place_sets[1]
    predicted = model.predict(context, tokens, places_of_set, 1).flatten()
    (slope_PBCDHW,) = torch.autograd.grad(
        predicted, context, torch.eye(len(predicted)), is_grads_batched=True
    )
    seen_PBN = patchify(slope_PBCDHW.flatten(0, 1), PATCH).abs().amax(-1).unflatten(0, (-1, 2)) > 0
    assert torch.equal(seen_PBN.any(0), shown(numbers(tokens, places_of_set.context_BK)))
    model(context, target, tokens, place_sets).loss.backward()
    first, second = (shown(numbers(tokens, places.context_BK)) for places in place_sets)
    assert torch.equal(reached(context), first | second)
    assert target.grad is None


@pytest.mark.parametrize("lengths", [None, (256, 512)], ids=["closely", "in blocks"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_packed_lists_leak_nothing(objective: str, lengths: tuple[int, ...] | None) -> None:
    """Neither a voxel outside the context, nor one of another volume."""
    cfg = of_shares(objective)
    model, (context, target, *lists) = build(cfg), inputs(cfg)
    tokens, place_sets = packed_lists((lists[0], lists[1]), lengths)  # type: ignore[arg-type]
    assert all(places.context_packing and places.joint_packing for places in place_sets)
    context.requires_grad_()
    target.requires_grad_()
    for i, places in enumerate(place_sets):
        shown_BN = shown(numbers(tokens, places.context_BK))
        for b in range(2):
            context.grad = None
            predicted_BTX = model.eval().predict(context, tokens, places, i)
            weight = torch.randn(predicted_BTX[b].shape, generator=torch.Generator().manual_seed(b))
            (predicted_BTX[b] * weight).sum().backward()
            own_B1 = torch.arange(2)[:, None] == b
            assert torch.equal(reached(context), shown_BN & own_B1)
    context.grad = None
    model.train()(context, target, tokens, place_sets).loss.backward()
    first, second = (shown(numbers(tokens, places.context_BK)) for places in place_sets)
    assert torch.equal(reached(context), first | second)
    assert target.grad is None


@EITHER
def test_a_volume_of_fewer_tokens_has_the_loss_that_it_has_alone(objective: str) -> None:
    """In float32 to 1e-6. The batch norm of `byol` joins volumes but in evaluation."""
    cfg, extents = of_shares(objective), torch.tensor(EXTENTS)
    keys, (context, target, _, _) = ["first", "second"], inputs(cfg)
    model = build(cfg)
    model.train(not model.batch_statistics)

    def run(rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        lists = draw_lists(cfg, extents[rows], keys[rows])
        model.zero_grad()
        out = model(context[rows], target[rows], *lists)
        out.loss.backward()
        return out.losses_B, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    losses_B, gradient = run(slice(0, 2))
    (first, first_gradient), (second, second_gradient) = run(slice(0, 1)), run(slice(1, 2))
    torch.testing.assert_close(losses_B, torch.cat([first, second]), rtol=1e-6, atol=0)
    expected = (first_gradient + second_gradient) / 2
    assert (gradient - expected).norm() <= (1e-5 if model.batch_statistics else 1e-6) * expected.norm()


@EITHER
def test_what_is_hidden_may_hold_anything(objective: str) -> None:
    cfg = config(objective)
    model, (context, _, tokens, (places_of_set, *_)) = build(cfg), inputs(cfg)
    hidden = ~shown(numbers(tokens, places_of_set.context_BK))
    spoilt = patchify(context, PATCH).masked_fill(hidden.unsqueeze(-1), 1e6)
    back = spoilt.reshape(2, 1, 2, 3, 4, *PATCH).permute(0, 1, 2, 5, 3, 6, 4, 7).reshape(context.shape)
    assert not torch.equal(back, context)
    assert torch.equal(
        model.predict(back, tokens, places_of_set, 0), model.predict(context, tokens, places_of_set, 0)
    )


@EITHER
def test_everything_trains_but_the_target_encoder(objective: str) -> None:
    cfg = config(objective, sets=2)
    model = build(cfg)
    model(*inputs(cfg)).loss.backward()
    if model.has_target_encoder:
        assert all(p.grad is None and not p.requires_grad for p in model.target_encoder.parameters())
    for part in (model.encoder, model.predictor):
        silent = [name for name, p in part.named_parameters() if p.grad is None or not p.grad.any()]
        assert silent == []


def test_the_target_encoder_starts_as_the_encoder_and_follows_by_the_formula() -> None:
    model = build(config("vjepa2"))
    pairs = list(zip(model.target_encoder.parameters(), model.encoder.parameters(), strict=True))
    assert all(torch.equal(target, source) and target is not source for target, source in pairs)
    with torch.no_grad():
        for _, source in pairs:
            source.add_(torch.randn(source.shape, generator=torch.Generator().manual_seed(0)))
    before = [target.double().numpy().copy() for target, _ in pairs]
    model.update(torch.tensor([0.75]))
    for old, (target, source) in zip(before, pairs, strict=True):
        np.testing.assert_allclose(target, 0.75 * old + 0.25 * source.detach().double().numpy(), atol=1e-6)


def test_momentum_one_changes_no_bit() -> None:
    model = build(config("vjepa2"))
    with torch.no_grad():
        for weight in model.encoder.parameters():
            weight.add_(0.3)
    before = [weight.clone() for weight in model.target_encoder.parameters()]
    model.update(torch.tensor(1.0))
    assert all(torch.equal(a, b) for a, b in zip(before, model.target_encoder.parameters(), strict=True))


def mean_error(distance: Distance, z: np.ndarray, h: np.ndarray) -> float:
    error_BT = distance.error(torch.from_numpy(z), distance.as_compared(torch.from_numpy(h)))
    return float(error_BT.mean())


def test_the_losses_by_hand() -> None:
    rng = np.random.default_rng(0)
    z, h = rng.normal(size=(2, 3, 5)), rng.normal(2.0, 3.0, size=(2, 3, 5))
    normed = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-6)
    expected = np.abs(z - normed).mean()
    assert mean_error(NORMED_L1, z, h) == pytest.approx(expected, rel=1e-5)
    unit_z, unit_h = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (z, h))
    expected = ((unit_z - unit_h) ** 2).sum(-1).mean()
    assert mean_error(NORMALISED_MSE, z, h) == pytest.approx(expected, rel=1e-5)


@EITHER
def test_the_loss_is_the_mean_over_mask_sets_of_prediction_against_all_token_targets(objective: str) -> None:
    cfg = config(objective, sets=2)
    model, (context, target, tokens, place_sets) = build(cfg), inputs(cfg)
    out = model(context, target, tokens, place_sets, torch.zeros(1))  # when nothing is added to it yet
    h_BVX = model.targets(target, tokens)
    for i, places_of_set in enumerate(place_sets):
        expected = torch.stack([h_BVX[b, places_of_set.target_BT[b]] for b in range(2)])
        error_BT = model.distance.error(
            model.predict(context, tokens, places_of_set, i), model.distance.as_compared(expected)
        )
        torch.testing.assert_close(out.losses_S[i], error_BT.mean())
    torch.testing.assert_close(out.loss, out.losses_S.mean())
    tokens_of_first = place_sets[0].target_BT
    if model.has_target_encoder:
        h_BVF = model.target_encoder(target, *tokens)
        torch.testing.assert_close(h_BVX[..., -24:], h_BVF)
        torch.testing.assert_close(out.pooled_BF[1], h_BVF[1, :16].mean(0))
    else:
        tokens_of_first = place_sets[0].context_BK
        z_BKF = model.encoder(context, numbers(tokens, tokens_of_first))
        torch.testing.assert_close(out.pooled_BF, z_BKF.mean(1))
    assert out.tokens_RF.shape == (tokens_of_first.numel(), 24)
    assert not out.pooled_BF.requires_grad
    assert not out.tokens_RF.requires_grad


def test_weights_follow_from_the_seed_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = build(config("vjepa2")).state_dict()
    assert torch.equal(torch.rand(3), expected)
    second = build(config("vjepa2")).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = config("vjepa2")
    other.run.seed = 8
    assert not torch.equal(build(other).encoder.embed.weight, first["encoder.embed.weight"])


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("objective.name", "vjepa3", "objective.name=vjepa3: want vjepa2, vjepa2_1, byol or mae"),
        ("model.position", "learned", "want rope or sincos"),
        ("model.heads", 5, "model.width 24: want a multiple of model.heads 5"),
        ("predictor.heads", 3, "predictor.width 16: want a multiple of predictor.heads 3"),
        ("predictor.heads", 4, "predictor: 4 features a head"),
        ("model.patch", [3, 4, 4], "want a multiple of model.patch [3, 4, 4]"),
        ("model.depth", 0, "model.depth=0: want at least 1"),
        ("objective.masks", [MaskSet(kind="tubes")], "want blocks, cubes or retina"),
    ],
)
def test_what_cannot_be_built_is_said_first(key: str, value: object, says: str) -> None:
    cfg = config("vjepa2")
    group, name = key.split(".")
    setattr(getattr(cfg, group), name, value)
    with pytest.raises(UsageError) as error:
        build(cfg)
    assert says in str(error.value)


def two_steps(objective: str, extents: list[list[int]]) -> list[float]:
    """Losses of two seeded steps of plain gradient descent with a moving average, on the CPU in float32."""
    cfg = config(objective, STEADY[objective], sets=2)
    model, losses = build(cfg), []
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    for step in range(2):
        loss = model(*inputs(cfg, step, extents)).loss
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.sub_(0.5 * gradient)
        model.update(torch.tensor([0.9]))
        losses.append(float(loss.detach()))
    return losses


@EITHER
@pytest.mark.parametrize("extents", [EXTENTS, WHOLE], ids=["padded", "whole"])
def test_the_golden_step(objective: str, extents: list[list[int]]) -> None:
    losses, name = two_steps(objective, extents), objective + (" whole" if extents is WHOLE else "")
    if os.environ.get("OCTSHARD_GOLDEN") == "write":
        golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
        GOLDEN.write_text(
            json.dumps({**golden, name: [round(x, 7) for x in losses]}, indent=1, sort_keys=True) + "\n"
        )
    expected = json.loads(GOLDEN.read_text())[name]
    assert losses == pytest.approx(expected, abs=1e-5), (
        f"{objective}: a seeded step gives {losses}, was {expected}. Weights, masks, views or loss changed "
        "their result. If that was not meant, find the change; if it was, run OCTSHARD_GOLDEN=write pytest "
        "tests/train/objectives/test_objective.py -k golden, commit the file and say in the commit why "
        "results moved."
    )


@EITHER
def test_dynamo_traces_a_forward_as_one_graph(objective: str) -> None:
    cfg = config(objective, sets=2)
    torch._dynamo.reset()
    explained = torch._dynamo.explain(build(cfg))(*inputs(cfg), torch.tensor([0.15]))
    assert (explained.graph_count, explained.graph_break_count) == (1, 0), explained.break_reasons


@EITHER
def test_a_step_lowers_the_loss_on_its_own_batch(objective: str) -> None:
    cfg = config(objective)
    model, batch = build(cfg), inputs(cfg)
    optimizer = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=5e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(*batch).loss
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def on_xla() -> None:
    """Runs in its own process: four steps of each objective on XLA's CPU device, against the CPU itself."""
    import torch_xla
    import torch_xla.debug.metrics as metrics

    for objective in FORMS:
        cfg = config(objective, STEADY[objective], depth=1)
        on_cpu, on_xla_device = build(cfg), build(cfg).to(torch_xla.device())
        compiles = []
        for step in range(4):
            momentum = torch.tensor([0.9, 1.0])[step % 2 :][:1]
            keys, valid_B3 = [f"first-{step}", f"second-{step}"], torch.tensor(EXTENTS)
            voxels = torch.from_numpy(
                np.random.default_rng(step).integers(0, 256, (2, *SIZE)).astype(np.uint8)
            )
            params = views.draw(cfg.views, 0, [0, 0], keys)
            moments = torch.tensor([127.0, 120.0]), torch.tensor([70.0, 75.0])
            losses = []
            for model in (on_cpu, on_xla_device):
                at = model.encoder.embed.weight.device
                mean_B, std_B = (value.to(at) for value in moments)
                context, target = views.apply(
                    voxels.to(at), mean_B, std_B, valid_B3.to(at), params.to(at), SIZE
                )
                lists = map_tensors(draw_lists(cfg, valid_B3, keys), lambda t, at=at: t.to(at))
                out = model(context, target, *lists)
                out.loss.backward()
                model.update(momentum.to(at))
                model.zero_grad()
                torch_xla.sync()
                losses.append(float(out.loss.detach()))
            assert abs(losses[0] - losses[1]) < 1e-5, (objective, losses)
            compiles.append(metrics.counter_value("UncachedCompile"))
        assert compiles[1] == compiles[3], (objective, compiles)
    fallen = {name for name in metrics.counter_names() if name.startswith("aten::")} - {
        "aten::_local_scalar_dense"
    }
    assert not fallen, fallen
    hash_B = torch.tensor([3, 2**32 - 1])
    assert torch.equal(
        views.hash_noise(hash_B.to(torch_xla.device()), SIZE, SIZE).cpu(),
        views.hash_noise(hash_B, SIZE, SIZE),
    )


@pytest.mark.xla
def test_xla_agrees_with_the_cpu_and_compiles_no_more_after_two_steps() -> None:
    pytest.importorskip("torch_xla")
    environment = os.environ | {"PJRT_DEVICE": "CPU"}
    words = [sys.executable, "-m", "tests.train.objectives.test_objective"]
    root = Path(__file__).parents[3]
    ran = subprocess.run(words, env=environment, cwd=root, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-2000:]


if __name__ == "__main__":
    on_xla()


def test_an_mlp_of_no_width_is_refused() -> None:
    cfg = config("vjepa2")
    cfg.model.mlp_ratio = 0.05  # 24 features of the encoder make one, 16 of the predictor none
    with pytest.raises(
        UsageError, match=r"model.mlp_ratio=0.05: predictor.width 16 gives an MLP of no width"
    ):
        check(cfg)
