"""What is recorded on XLA's CPU device is what runs without, bit for bit; a later call is a few nodes."""

import os
import subprocess
import sys
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn


class Out(NamedTuple):
    loss: Tensor
    features_BF: Tensor


class Model(nn.Module):
    """As many layers as asked for, one of them frozen, one never used, and a table."""

    table_F: Tensor

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(depth))
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.unused = nn.Linear(8, 8)
        self.register_buffer("table_F", torch.linspace(0, 1, 8))

    def forward(self, x_BF: Tensor, pair: tuple[Tensor, dict[str, float]]) -> Out:
        shift_F, more = pair
        for layer in self.layers:
            x_BF = torch.tanh(layer(x_BF))
        features_BF = self.frozen(x_BF + self.table_F) * (2.0 if self.training else 3.0)
        return Out(((features_BF + shift_F) * more["scale"]).square().mean(), features_BF)


def on_xla() -> None:
    """Runs in its own process."""
    import torch_xla

    at = torch_xla.device()
    _function(at)
    for autocast in (False, True):
        _model(at, autocast=autocast)
    _calls_are_few_nodes(at)


def _function(at: torch.device) -> None:
    from octshard.devices.recorded import Recorded

    calls = []

    def mixed(x_N: Tensor, pair: tuple[Tensor, float | None]) -> dict[str, Tensor]:
        calls.append(1)
        mask_N, factor = pair
        return {"sum": torch.where(mask_N, x_N * (factor or 5), x_N).sum(), "same": x_N}

    recorded = Recorded(mixed)
    for size, factor, traces in (
        (4, 2.0, 1),
        (4, 2.0, 1),
        (6, 2.0, 2),
        (6, 3.0, 3),
        (6, None, 4),
        (4, 2.0, 4),
    ):
        x_N, mask_N = torch.arange(float(size)) + len(calls), torch.arange(size) % 2 == 0
        out = recorded(x_N.to(at), (mask_N.to(at), factor))
        assert len(calls) == traces
        assert torch.equal(out["same"].cpu(), x_N)
        assert float(out["sum"]) == float(torch.where(mask_N, x_N * (factor or 5), x_N).sum())
    with pytest.raises(TypeError, match="an argument of type set"):
        recorded(x_N.to(at), (set(), 1.0))


def _model(at: torch.device, *, autocast: bool) -> None:
    """Weights, table and mode that change after the first call are those of the later ones."""
    from octshard.devices.recorded import RecordedModel

    torch.manual_seed(0)
    model = Model(2).to(at)
    wrapped = RecordedModel(model)
    for turn in range(3):
        model.train(turn != 1)
        values = torch.randn(3, 8).to(at), (torch.randn(8).to(at), {"scale": 0.5})
        results = []
        for callee in (wrapped, model):
            model.zero_grad()
            with torch.autocast("xla", torch.bfloat16, enabled=autocast):
                out = callee(*values)
            for _ in range(2):  # the second pass adds to the gradients of the first
                (out.loss / 4).backward(retain_graph=True)
            gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
            results.append([out.loss.detach(), out.features_BF.detach(), *gradients.values()])
            assert len(gradients) == 4, list(gradients)
        assert not wrapped(*values).features_BF.requires_grad
        for first, second in zip(*results, strict=True):
            assert torch.equal(first.cpu(), second.cpu()), (turn, autocast)
        with torch.no_grad():
            assert torch.equal(wrapped(*values).loss.cpu(), model(*values).loss.cpu())
            model.layers[0].weight.mul_(1.5)
            model.frozen.bias.add_(1)
            model.table_F.mul_(2)


def _calls_are_few_nodes(at: torch.device) -> None:
    import torch_xla

    from octshard.devices.recorded import RecordedModel

    counts = []
    for recorded in (False, True):
        for depth in (4, 8):
            model = Model(depth).to(at)
            callee = RecordedModel(model) if recorded else model
            callee(torch.ones(3, 8).to(at), (torch.ones(8).to(at), {"scale": 0.5})).loss.backward()
            live = [p.grad for p in model.parameters() if p.grad is not None]
            text = torch_xla._XLAC._get_xla_tensors_text(live)
            nodes = sum(" = " in line and "xla::device_data" not in line for line in text.splitlines())
            counts.append(nodes)
    plain, more_plain, few, more_few = counts
    assert more_few - few == 2 * 4, counts  # each of two more gradients a layer: scaled, and no more
    assert (more_plain - plain) > 4 * (more_few - few), counts


@pytest.mark.xla
def test_what_is_recorded_is_what_runs_without() -> None:
    pytest.importorskip("torch_xla")
    environment = os.environ | {"PJRT_DEVICE": "CPU"}
    ran = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr[-3000:]


if __name__ == "__main__":
    on_xla()
