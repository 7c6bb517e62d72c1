"""Weights under the names, and of the forms, that files on the web have; one line for what is of neither."""

import argparse
import re

import pytest
import torch

from octshard.errors import UsageError
from octshard.eval.controls import slice_encoder

timm = pytest.importorskip("timm")
safetensors = pytest.importorskip("safetensors.torch")
NAME = "timm:test_vit"  # 160 x 160, patches of 16, width 64
CLASSES = {"head.weight": torch.zeros(5, 64), "head.bias": torch.zeros(5)}
DECODER = {
    "mask_token": torch.zeros(1, 1, 8),
    "decoder_pos_embed": torch.zeros(1, 101, 8),
    "decoder_embed.weight": torch.zeros(8, 64),
    "decoder_blocks.0.norm1.weight": torch.zeros(8),
    "decoder_pred.bias": torch.zeros(768),
}
Weights = dict[str, torch.Tensor]


def made(**form: object) -> Weights:
    torch.manual_seed(0)
    return dict(timm.create_model("test_vit", pretrained=False, num_classes=0, **form).state_dict())


@pytest.fixture(scope="module")
def weights() -> Weights:
    return made()


@pytest.fixture
def opened(tmp_path):
    def open_saved(content, encoder: str = NAME) -> slice_encoder.SliceEncoder:
        path = str(tmp_path / "weights.pth")
        torch.save(content, path)
        return slice_encoder.open_encoder(encoder, path)

    return open_saved


def behind(wrapper: str, weights: Weights) -> Weights:
    return {f"{wrapper}{name}": tensor for name, tensor in weights.items()}


def chunked(weights: Weights) -> Weights:
    """As DINOv2 trains: three chunks of two blocks, which keep their numbers."""

    def name_of(name: str) -> str:
        return re.sub(r"^blocks\.(\d+)", lambda m: f"blocks.{int(m[1]) // 2}.{m[1]}", name)

    return {name_of(name): tensor for name, tensor in weights.items()}


LAYOUTS = {
    "RETFound, masked autoencoder": lambda w: {
        "model": {**w, **DECODER}, "optimizer": {"state": {}}, "epoch": 800, "scaler": {"scale": 65536.0},
        "args": argparse.Namespace(lr=1e-3),
    },
    "RETFound, DINOv2": lambda w: {
        "teacher": {
            **behind("backbone.", w), "backbone.mask_token": torch.zeros(1, 64),
            "dino_head.mlp.0.bias": torch.zeros(2), "ibot_head.last_layer.weight_g": torch.zeros(2, 1),
        },
        "student": behind("backbone.", {name: tensor + 1 for name, tensor in w.items()}),
    },
    "DINOv2, in chunks": lambda w: {"teacher": behind("backbone.", chunked(w))},
    "a classifier": lambda w: {**w, **CLASSES},
    "Lightning": lambda w: {"state_dict": behind("model.net.", w), "hyper_parameters": {"lr": 1.0}},
    "compiled": lambda w: {"model_state_dict": behind("module._orig_mod.", {**w, **CLASSES})},
    "half": lambda w: {name: tensor.half().float() for name, tensor in w.items()},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_read(weights, opened, layout):
    state = opened(LAYOUTS[layout](weights)).model.state_dict()
    assert all(torch.allclose(state[name], tensor, atol=1e-3) for name, tensor in weights.items())


def test_what_is_not_used_is_counted(weights, opened):
    assert "5 of heads and decoders in it are not used." in opened({**weights, **DECODER}).notes(1)[0]
    assert "not used" not in opened(weights).notes(1)[0]


def test_averaged_patches_have_another_last_norm(opened):
    """RETFound fine-tuned: fc_norm in place of norm, and a classifier."""
    state = made(global_pool="avg")
    assert "fc_norm.weight" in state
    assert opened({"model": {**state, **CLASSES}}).model.global_pool == "avg"


@pytest.mark.parametrize(
    ("form", "size", "channels"), [({"img_size": 224}, 224, 3), ({"in_chans": 1}, 160, 1)]
)
def test_another_form_is_that_of_the_file(opened, form, size, channels):
    encoder = opened(made(**form))
    assert (encoder.size, len(encoder.mean_C), len(encoder.std_C)) == ((size, size), channels, channels)
    torch.manual_seed(0)
    model = timm.create_model("test_vit", pretrained=False, num_classes=0, **form).eval()
    x_DCHW = encoder.inputs(torch.randint(0, 256, (2, 40, 30), dtype=torch.uint8).numpy())
    assert x_DCHW.shape == (2, channels, size, size)
    with torch.no_grad():
        assert torch.equal(encoder.model(x_DCHW), model(x_DCHW))
    mean, std = (torch.tensor(model.pretrained_cfg[key]) for key in ("mean", "std"))
    torch.testing.assert_close(encoder.mean_C, mean if channels == 3 else mean.mean().view(1))
    torch.testing.assert_close(encoder.std_C, std if channels == 3 else std.mean().view(1))


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_without_patches_is_read(opened, name, channels):
    torch.manual_seed(0)
    state = timm.create_model(name, pretrained=False, in_chans=channels).state_dict()
    encoder = opened({"state_dict": behind("module.", state)}, f"timm:{name}")
    assert len(encoder.mean_C) == channels
    with torch.no_grad():
        values = encoder.model(encoder.inputs(torch.zeros(1, 40, 30, dtype=torch.uint8).numpy()))
    assert values.shape == (1, encoder.model.num_features)


def test_what_fits_no_model_is_said_in_one_line(weights, opened):
    first = next(iter(weights))
    cases = {
        "holds no weights": {},
        f"lacks {first}": behind("vit/", weights),
        "has besides student.cls_token": {**behind("teacher.", weights), **behind("student.", weights)},
        "has besides model.cls_token": {**weights, **behind("model.", weights)},
        "pos_embed is 1 x 100 x 64, want 1 x 101 x 64": {**weights, "pos_embed": torch.zeros(1, 100, 64)},
        "pos_embed is 1 x 10001 x 1, want": {**weights, "pos_embed": torch.zeros(1, 10001, 1)},
        "pos_embed is 64, want": {**weights, "pos_embed": torch.zeros(64)},
        "patch_embed.proj.weight is 64 x 2 x 16 x 16, want 64 x 3": {
            **weights, "patch_embed.proj.weight": torch.zeros(64, 2, 16, 16),
        },
        "cls_token holds nan or inf": {**weights, "cls_token": torch.empty(1, 1, 64, device="meta")},
        "lacks blocks.1.": {name: tensor for name, tensor in weights.items() if "blocks.1." not in name},
    }  # fmt: skip
    for message, content in cases.items():
        with pytest.raises(UsageError) as caught:
            opened(content)
        assert message in str(caught.value), message
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600


def test_weights_of_8_bits_are_read_too(weights, opened):
    narrow = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in weights.items()}
    assert torch.equal(opened(narrow).model.cls_token, narrow["cls_token"].float())
