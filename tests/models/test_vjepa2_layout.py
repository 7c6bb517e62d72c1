"""Files in Meta's layout: their names are ours afterwards; what is not of the layout is named."""

from typing import Any

import pytest
import torch

from octshard.errors import UsageError
from octshard.models.vjepa2_layout import read_layout
from tests.support.vjepa2_file import Form, content


@pytest.mark.parametrize("wrapper", ["", "module.", "module.backbone.", "_orig_mod.module.backbone."])
def test_names_behind_any_wrapper_are_ours_afterwards(wrapper: str) -> None:
    file = content(wrapper=wrapper)
    weights = read_layout(file, "x.pt")
    assert len(weights.encoder) == 2 * 12 + 4
    assert len(weights.predictor) == 12 + 6 + 1
    target = file["target_encoder"]
    assert weights.source == "target_encoder"
    for ours, theirs in {
        "embed.weight": "patch_embed.proj.weight",
        "blocks.1.attention.qkv.bias": "blocks.1.attn.qkv.bias",
        "blocks.0.mlp.2.weight": "blocks.0.mlp.fc2.weight",
        "norm.bias": "norm.bias",
    }.items():
        assert torch.equal(weights.encoder[ours], target[wrapper + theirs])
    predictor = file["predictor"]
    assert torch.equal(weights.predictor["proj_out.bias"], predictor[f"{wrapper}predictor_proj.bias"])
    assert torch.equal(weights.predictor["tokens_SF"][1], predictor[f"{wrapper}mask_tokens.1"].flatten())


def test_tables_of_positions_are_left_out_and_named() -> None:
    assert read_layout(content(), "x.pt").left_out == ("pos_embed",)


def test_an_encoder_alone_and_one_of_images_are_read() -> None:
    file = content(Form(kernel=(3, 8, 8)))
    assert read_layout({"encoder": file["encoder"]}, "x.pt").source == "encoder"
    nothing = {**file, "target_encoder": None, "predictor": None}
    assert read_layout(nothing, "x.pt").predictor == {}
    bare = read_layout({**file["encoder"], "module.backbone.cls_token": torch.zeros(1, 1, 24)}, "x.pt")
    assert bare.encoder["embed.weight"].shape == (24, 3, 1, 8, 8)
    assert bare.predictor == {}
    assert set(bare.left_out) == {"pos_embed", "cls_token"}


def test_an_encoder_of_v_jepa_2_1_is_read() -> None:
    """Its output's norm is that of its last level; what it adds to each token is added to the bias."""
    file = content()
    encoder = {key.removeprefix("module.backbone."): value for key, value in file["encoder"].items()}
    norm = {kind: encoder.pop(f"norm.{kind}") for kind in ("weight", "bias")}
    for level in range(11):
        for kind in norm:
            encoder[f"norms_block.{level}.{kind}"] = norm[kind] if level == 10 else torch.zeros(24)
    encoder |= {
        "video_mod_embed": torch.arange(24.0).reshape(1, 1, 24),
        "img_mod_embed": torch.ones(1, 1, 24),
        "patch_embed_img.proj.weight": torch.ones(24, 3, 1, 8, 8),
    }
    predictor = {"predictor_embed.0.weight": torch.ones(24, 96)}
    weights = read_layout({"encoder": {}, "ema_encoder": encoder, "predictor": predictor}, "x.pt")
    assert weights.source == "ema_encoder"
    assert torch.equal(weights.encoder["norm.bias"], norm["bias"])
    bias = encoder["patch_embed.proj.bias"]
    assert torch.equal(weights.encoder["embed.bias"], bias + torch.arange(24.0))
    assert set(weights.encoder) == set(read_layout(content(), "x.pt").encoder)
    assert weights.predictor == {}
    assert {"predictor", "img_mod_embed", "patch_embed_img.proj.weight", "norms_block.9.bias"} <= set(
        weights.left_out
    )


def changed(change: Any) -> dict[str, Any]:
    file = content()
    change(file["target_encoder"], "module.backbone.")
    return file


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ({}, "x.pt: 0 names end in patch_embed.proj.weight, want one .*; it holds nothing"),
        ({"state_dict": {}}, "0 names end in patch_embed.proj.weight, .*it holds state_dict"),
        ({"encoder": [1]}, "x.pt: a list where weights by name are wanted"),
        ({"encoder": torch.ones(3)}, "x.pt: a Tensor where weights by name are wanted"),
        ({**content(), "predictor": torch.ones(3)}, "x.pt: a Tensor where weights by name are wanted"),
        (
            changed(lambda state, at: state.update({f"{at}blocks.0.ls1.gamma": torch.ones(24)})),
            "1 of its names are not V-JEPA 2's, the first is module.backbone.blocks.0.ls1.gamma",
        ),
        (
            changed(lambda state, at: state.update({"student.patch_embed.proj.weight": torch.ones(24)})),
            "2 names end in patch_embed.proj.weight",
        ),
        (
            changed(lambda state, at: state.update({f"{at}norm.bias": [0.0] * 24})),
            "norm.bias is no tensor of real numbers",
        ),
        (
            changed(lambda state, at: state.update({f"{at}norm.bias": torch.ones(24).long()})),
            "norm.bias is no tensor of real numbers",
        ),
        (
            changed(lambda state, at: state.update({f"{at}patch_embed.proj.weight": torch.ones(24, 256)})),
            "patch_embed.proj.weight has 2 axes, want those of a 3-D or a 2-D convolution",
        ),
    ],
)
def test_what_is_not_of_the_layout_is_named(file: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_layout(file, "x.pt")
