"""The step in float64 is right by itself: gradients are slopes of its loss, padding changes nothing."""

import numpy as np
import pytest

from octshard.config.model import ModelConfig, PredictorConfig
from octshard.config.objective import MaskSet, ObjectiveConfig
from octshard.config.train import TrainConfig
from octshard.rng import rng_for
from octshard.train.objectives.build import CLASSES, build
from tests.support.numpy_step.objective import Sample, backpropagate, image_tokens, stack_of
from tests.support.numpy_step.transformer import Mask, encoder
from tests.support.numpy_step.views import Scan, View
from tests.support.numpy_step.weights import Weights
from tests.support.one_step import drawn, valid_ids

EXTENTS = ([4, 12, 16], [3, 8, 9], [4, 5, 16])  # of 24 tokens 24, 12 and 16 hold a voxel
OBJECTIVE = pytest.mark.parametrize("objective", CLASSES)
POSITION = pytest.mark.parametrize("position", ["rope", "sincos"])
STEP = 1e-5  # of a difference: its error is about STEP ** 2, and the loss's rounding 1e-16 / STEP


def config(objective: str, position: str) -> TrainConfig:
    return TrainConfig(
        model=ModelConfig(
            image_size=[4, 12, 16],
            patch=[2, 4, 4],
            width=14,
            depth=5 if objective == "vjepa2_1" else 2,
            heads=1,
            mlp_ratio=1.5,
            position=position,
        ),
        predictor=PredictorConfig(width=16, depth=1, heads=2),
        objective=ObjectiveConfig(name=objective, masks=[MaskSet(), MaskSet()]),
    )


def samples(cfg: TrainConfig) -> list[Sample]:
    made = []
    for number, extent in enumerate(EXTENTS):
        rng = rng_for("sample", number)
        scan = Scan(
            rng.integers(0, 256, extent), 120.0, 70.0, View(number == 0, True, 1.1, 0.05, 0.05, 2**32 - 9)
        )
        ids = valid_ids(extent, cfg)
        masks = []
        for context, target in ((3, 5), (6, 4)):
            order = rng.permutation(ids)
            masks.append((np.sort(order[:context]), np.sort(order[context : context + target])))
        made.append(Sample(scan, ids, tuple(masks)))
    return made


def values(cfg: TrainConfig) -> dict[str, np.ndarray]:
    return {
        name: drawn("weight", name, tuple(weight.shape)).astype(np.float64)
        for name, weight in build(cfg).named_parameters()
    }


@OBJECTIVE
@POSITION
def test_every_gradient_is_the_slope_of_the_loss(objective: str, position: str) -> None:
    """Along a random direction of each weight, by central differences."""
    cfg = config(objective, position)
    start, batch = values(cfg), samples(cfg)

    def loss(weights: dict[str, np.ndarray]) -> float:
        return backpropagate(batch, cfg, Weights(weights), 1.0).whole

    weights = Weights(start)
    backpropagate(batch, cfg, weights, 1.0)
    assert set(weights.gradients) == {name for name in start if not name.startswith("target_encoder.")}
    for name, gradient in weights.gradients.items():
        direction = rng_for("direction", name).standard_normal(gradient.shape)
        ahead, behind = (loss({**start, name: start[name] + sign * STEP * direction}) for sign in (1, -1))
        slope = (ahead - behind) / (2 * STEP)
        assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-6, abs=1e-9), name


@POSITION
def test_padding_that_is_masked_changes_nothing_and_gets_no_gradient(position: str) -> None:
    cfg = config("byol", position)
    weights, rng = Weights(values(cfg)), rng_for("padding")
    stack, ids = stack_of(cfg, "encoder"), valid_ids([3, 8, 9], cfg)
    patches = rng.standard_normal((len(ids), 32))
    hidden = rng.random(len(ids)) < 0.5
    z, into = encoder(patches, image_tokens(ids, cfg), stack, weights, Mask(hidden, "predictor.token_F"))
    padded_tokens = image_tokens(np.append(ids, [23, 0, 7]), cfg)._replace(
        real_N=np.arange(len(ids) + 3) < len(ids)
    )
    padded_z, padded_into = encoder(
        np.concatenate([patches, 1e6 * rng.standard_normal((3, 32))]), padded_tokens, stack, weights,
        Mask(np.append(hidden, [False, True, False]), "predictor.token_F"),
    )  # fmt: skip
    np.testing.assert_allclose(padded_z[: len(ids)], z, rtol=0, atol=1e-13)
    derivative = rng.standard_normal(z.shape)
    reached = padded_into(np.concatenate([derivative, np.zeros((3, z.shape[1]))]))
    np.testing.assert_allclose(reached[: len(ids)], into(derivative), rtol=0, atol=1e-13)
    assert not reached[len(ids) :].any()
