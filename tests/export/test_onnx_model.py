"""model.onnx by onnxruntime gives what the encoder gives."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import octshard
from octshard.cli import main
from octshard.export import onnx_model
from octshard.models.tokens import pool, to_grid
from octshard.models.vit import Encoder
from tests.support.tiny_run import config_for, write_checkpoint

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

SIZE = (4, 16, 16)
VALID_B3 = torch.tensor([[4, 16, 16], [3, 7, 16], [1, 16, 9]])


def images() -> torch.Tensor:
    """Noise, 0 outside of each volume."""
    x_BCDHW = torch.zeros(3, 1, *SIZE)
    for x_CDHW, (d, h, w) in zip(x_BCDHW, VALID_B3.tolist(), strict=True):
        x_CDHW[:, :d, :h, :w] = torch.randn(1, d, h, w)
    return x_BCDHW


@pytest.mark.parametrize(
    ("position", "attention"),
    [
        ("sincos", "joint"),
        pytest.param("rope", "joint", marks=pytest.mark.slow),
        pytest.param("rope", "divided", marks=pytest.mark.slow),
    ],
)
def test_the_graph_gives_what_the_encoder_gives(position: str, attention: str) -> None:
    words = (f"model.position={position}", f"model.attention={attention}")
    cfg = config_for("none", "none", "model.image_size=[4,16,16]", *words)
    encoder = Encoder(cfg.model).eval().requires_grad_(False)
    session = onnxruntime.InferenceSession(onnx_model.to_onnx(encoder, SIZE))
    assert [put.name for put in session.get_inputs()] == ["x_BCDHW", "valid_B3"]
    x_BCDHW, tokens = images(), encoder.tokens_of(VALID_B3, packed=True)
    z_BVF = encoder(x_BCDHW, *tokens)
    expected = to_grid(z_BVF, tokens, 8).numpy(), pool(z_BVF, tokens.padding_BV).numpy()
    for rows in (slice(0, 3), slice(1, 2)):  # any number of images
        given = {"x_BCDHW": x_BCDHW[rows].numpy(), "valid_B3": VALID_B3[rows].numpy()}
        outputs = session.run(["tokens_BNF", "pooled_BF"], given)
        for found, wanted in zip(outputs, expected, strict=True):
            np.testing.assert_allclose(found, wanted[rows], rtol=1e-5, atol=1e-5)
    assert not outputs[0][0, :, :].reshape(2, 2, 2, 24)[:, 1].any()  # rows 8 to 15 are padding there


@pytest.mark.slow
def test_the_command_adds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx

    run = write_checkpoint(tmp_path / "run", config_for("none", "none"))
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["octshard", "export", run, str(out), "--onnx"])
    main.main()
    model = onnx.load(out / "model.onnx")
    assert [opset.version for opset in model.opset_import if not opset.domain] == [onnx_model.OPSET]
    session = onnxruntime.InferenceSession(str(out / "model.onnx"))
    encoder = octshard.load_encoder(out, target_spacing=(0.05, 0.02, 0.02))
    x_BCDHW = torch.randn(1, 1, 8, 32, 16)
    given = {"x_BCDHW": x_BCDHW.numpy(), "valid_B3": np.array([[8, 32, 16]])}
    (found,) = session.run(["tokens_BNF"], given)
    np.testing.assert_allclose(found, encoder.forward_features(x_BCDHW).numpy(), rtol=1e-5, atol=1e-5)
