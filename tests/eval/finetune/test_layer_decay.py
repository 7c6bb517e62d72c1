"""Learning rates by layer: those of timm, and set for every backend's step."""

import pytest
import torch
from torch import nn

from octshard.config.model import ModelConfig
from octshard.eval.finetune import layer_decay
from octshard.eval.finetune.layer_decay import Rates
from octshard.eval.finetune.model import FinetuneModel, Target
from octshard.models.vit import Encoder

MODEL = ModelConfig([4, 16, 16], [4, 8, 8], width=24, depth=3, heads=2)


def model() -> FinetuneModel:
    return FinetuneModel(Encoder(MODEL), Target("ordinal", 4))


def test_every_parameter_is_in_one_group_with_the_rate_of_its_layer() -> None:
    net = model()
    groups = layer_decay.parameter_groups(net, 3, Rates(0.5, 0.1))
    rows = {id(p): group for group in groups for p in group["params"]}  # type: ignore[attr-defined]
    assert len(rows) == sum(len(group["params"]) for group in groups) == len(list(net.parameters()))  # type: ignore[arg-type]
    scale = {name: rows[id(p)]["scale"] for name, p in net.named_parameters()}
    assert (scale["encoder.embed.weight"], scale["encoder.norm.weight"]) == (0.5**4, 0.5)
    assert [scale[f"encoder.blocks.{i}.mlp.0.bias"] for i in range(3)] == [0.5**3, 0.5**2, 0.5]
    assert {scale[name] for name in ("norm.weight", "head.weight", "first_1", "log_steps")} == {1.0}
    decay = {name: rows[id(p)]["weight_decay"] for name, p in net.named_parameters()}
    names = ("encoder.blocks.0.attention.qkv.weight", "head.bias", "first_1")
    assert [decay[name] for name in names] == [0.1, 0, 0]


def test_the_rates_are_those_of_timm() -> None:
    optim = pytest.importorskip("timm.optim")
    net = model()

    def group_matcher(coarse: bool = False) -> dict[str, object]:
        blocks = [(r"^encoder\.blocks\.(\d+)", None), (r"^encoder\.norm", (99999,))]
        return {"stem": r"^encoder\.embed", "blocks": blocks}

    net.group_matcher = group_matcher  # type: ignore[assignment]
    theirs = optim.param_groups_layer_decay(net, weight_decay=0.1, layer_decay=0.65)
    expected = {id(p): (g["lr_scale"], g["weight_decay"]) for g in theirs for p in g["params"]}
    ours = layer_decay.parameter_groups(net, 3, Rates(0.65, 0.1))
    for group in ours:
        for parameter in group["params"]:  # type: ignore[attr-defined]
            scale, decay = expected[id(parameter)]
            assert group["scale"] == pytest.approx(scale)
            assert group["weight_decay"] == decay


def test_an_optimizer_with_its_rate_as_a_tensor_makes_the_same_step() -> None:
    """As on XLA: `capturable`, with lr a tensor."""
    nets = [nn.Linear(3, 2).double() for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    plain = torch.optim.AdamW(nets[0].parameters(), weight_decay=0.1)
    tensors = torch.optim.AdamW(nets[1].parameters(), weight_decay=0.1, foreach=False)
    for lr in (1e-12, 1e-3, 1e-2):
        for net, optimizer, rate in ((nets[0], plain, lr), (nets[1], tensors, torch.tensor(lr).double())):
            optimizer.param_groups[0]["lr"] = rate
            net(torch.ones(4, 3).double()).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    torch.testing.assert_close(nets[0].weight, nets[1].weight, rtol=1e-6, atol=0)
