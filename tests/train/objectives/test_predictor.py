"""The transformer predictor reads places, not the order of its input; the MLP normalises over the batch."""

import numpy as np
import pytest
import scipy.stats
import torch

from octshard.config.model import ModelConfig, PredictorConfig
from octshard.config.objective import MaskSet, ObjectiveConfig
from octshard.config.train import TrainConfig
from octshard.train.objectives.predictor import MlpPredictor, Predictor

CONTEXT = torch.tensor([[0, 5, 9, 17], [3, 4, 8, 23]])
TARGET = torch.tensor([[1, 2, 20], [0, 10, 11]])


def config(kind: str = "rope", sets: int = 1) -> TrainConfig:
    return TrainConfig(
        model=ModelConfig(image_size=[4, 12, 16], patch=[2, 4, 4], width=24, depth=1, heads=2, position=kind),
        predictor=PredictorConfig(width=12, depth=2, heads=1),
        objective=ObjectiveConfig(masks=[MaskSet() for _ in range(sets)]),
    )


def predictor(kind: str = "rope", sets: int = 1) -> Predictor:
    torch.manual_seed(0)
    model = Predictor(config(kind, sets), 24)
    with torch.no_grad():  # larger than at the start, so that attention is far from uniform
        for weight in model.parameters():
            weight.mul_(10)
    return model


def features() -> torch.Tensor:
    return torch.randn(2, 4, 24, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ["rope", "sincos"])
def test_the_order_of_context_tokens_does_not_matter(kind: str) -> None:
    order = torch.tensor([3, 1, 0, 2])
    model = predictor(kind)
    shuffled = model(features()[:, order], CONTEXT[:, order], TARGET, 0)
    torch.testing.assert_close(shuffled, model(features(), CONTEXT, TARGET, 0), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["rope", "sincos"])
def test_predictions_follow_their_targets(kind: str) -> None:
    order = torch.tensor([2, 0, 1])
    model = predictor(kind)
    predicted = model(features(), CONTEXT, TARGET, 0)
    assert predicted.shape == (2, 3, 24)
    moved = model(features(), CONTEXT, TARGET[:, order], 0)
    torch.testing.assert_close(moved, predicted[:, order], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["rope", "sincos"])
def test_predictions_depend_on_where_context_and_targets_stand(kind: str) -> None:
    model = predictor(kind)
    predicted = model(features(), CONTEXT, TARGET, 0)
    assert not torch.allclose(predicted[:, 0], predicted[:, 1], atol=1e-3)
    elsewhere = model(features(), CONTEXT.flip(0), TARGET, 0)
    assert not torch.allclose(elsewhere, predicted, atol=1e-3)


def test_each_mask_set_has_its_own_token() -> None:
    model = predictor(sets=2)
    predictions = [model(features(), CONTEXT, TARGET, set_index) for set_index in (0, 1)]
    assert not torch.allclose(*predictions, atol=1e-3)


def test_the_mlp_is_linear_batch_norm_gelu_linear() -> None:
    torch.manual_seed(0)
    model = MlpPredictor(config()).double()
    z_BTF = torch.from_numpy(np.random.default_rng(0).normal(3.0, 2.0, size=(2, 5, 24)))
    weights = {name: tensor.detach().numpy() for name, tensor in model.named_parameters()}
    hidden = z_BTF.numpy().reshape(10, 24) @ weights["proj_in.weight"].T + weights["proj_in.bias"]
    normed = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5)
    normed = normed * weights["norm.weight"] + weights["norm.bias"]
    expected = normed * scipy.stats.norm.cdf(normed) @ weights["proj_out.weight"].T + weights["proj_out.bias"]
    predicted = model.float()(z_BTF.float())
    np.testing.assert_allclose(predicted.detach().numpy().reshape(10, 24), expected, atol=1e-4)
    assert predicted.shape == (2, 5, 24)


def test_the_mlp_evaluates_each_volume_as_if_alone_and_holds_no_running_state() -> None:
    torch.manual_seed(0)
    model = MlpPredictor(config())
    z_BTF = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(0))
    each_alone = torch.cat([model.train()(z_BTF[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(model.eval()(z_BTF), each_alone)
    assert not list(model.buffers())
