"""B-scans through a 2-D encoder: what it is given, that padding is not read, and one line for weights that do
not fit. Weights are drawn here; nothing is downloaded.
"""

import argparse
import dataclasses
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from octshard.config.run import RunConfig
from octshard.devices import select
from octshard.errors import UsageError
from octshard.eval.controls import slice_encoder
from octshard.rng import rng_for
from octshard.stream.batch import Batch
from octshard.stream.sampler import StreamPosition

timm = pytest.importorskip("timm")
safetensors = pytest.importorskip("safetensors.torch")
NAME = "timm:test_vit"  # 160 x 160, the smallest that timm has


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(timm.create_model("test_vit", pretrained=False, num_classes=0).state_dict())


@pytest.fixture
def save(tmp_path):
    def write(content, name="weights.pth") -> str:
        path = str(tmp_path / name)
        if name.endswith("safetensors"):
            safetensors.save_file(content, path)
        else:
            torch.save(content, path)
        return path

    return write


def batch(*shapes: tuple[int, int, int]) -> Batch:
    voxels = torch.zeros((len(shapes), 9, 60, 50), dtype=torch.uint8)
    for i, (d, h, w) in enumerate(shapes):
        data = rng_for("slices", i).integers(1, 255, (d, h, w), dtype=np.uint8)
        voxels[i, :d, :h, :w] = torch.from_numpy(data)
    ones, keys = torch.ones(len(shapes)), tuple("abcde"[: len(shapes)])
    return Batch(
        voxels, ones, ones, torch.tensor(shapes), keys, (0,) * len(keys), len(keys), StreamPosition(0, 0),
        (), keys,
    )  # fmt: skip


def test_features_are_the_mean_over_b_scans_of_the_model_alone(weights, save):
    """Against timm's own way: PIL is not asked, but each B-scan goes by itself, resized and normalised."""
    encoder = slice_encoder.open_encoder(NAME, save(weights))
    backend = select.open_backend(RunConfig(device="cpu", precision="fp32"))
    examples = batch((9, 60, 50), (7, 31, 22))
    source = slice_encoder.slice_source(encoder, 3, backend, "fp32")
    assert encoder.notes(3)[0].startswith(f"{source.info.source} reads one of 3 B-scans by itself")
    values = source.values_of(examples)
    model = timm.create_model("test_vit", pretrained=False, num_classes=0).eval()
    model.load_state_dict(weights)
    cfg = model.pretrained_cfg
    for i, places in enumerate(([1, 4, 7], [0, 3, 6])):
        h, w = examples.valid_B3[i, 1:].tolist()
        rows = []
        for place in places:
            picture = examples.voxels_BDHW[i, place, :h, :w].float()[None, None] / 255
            picture = torch.nn.functional.interpolate(
                picture, cfg["input_size"][1:], mode="bicubic", antialias=True
            )
            picture = picture.clamp(0, 1).expand(1, 3, -1, -1)
            mean, std = (torch.tensor(cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
            with torch.no_grad():
                rows.append(model((picture - mean) / std)[0].numpy())
        np.testing.assert_allclose(values[i], np.mean(rows, axis=0), rtol=1e-4, atol=1e-5)
    assert values.dtype == np.float32
    steps = dataclasses.replace(examples, voxels_BDHW=examples.voxels_BDHW.to(torch.int16) * 128)
    np.testing.assert_array_equal(source.values_of(steps), values)


@pytest.mark.parametrize(
    ("depth", "every", "places"),
    [
        (9, 3, [1, 4, 7]),
        (7, 3, [0, 3, 6]),
        (1, 4, [0]),
        (3, 4, [1]),
        (64, 16, [7, 23, 39, 55]),
        (4, 1, [0, 1, 2, 3]),
    ],
)
def test_every_nth_b_scan_lies_around_the_middle(depth, every, places):
    assert list(range(depth))[slice_encoder.b_scans(depth, every)] == places


def test_the_same_weights_are_read_from_any_usual_file(weights, save):
    as_retfound = {
        "model": {**weights, "mask_token": torch.zeros(1, 1, 8), "decoder_embed.weight": torch.zeros(2, 2)},
        "optimizer": {"state": {}},
        "args": argparse.Namespace(lr=1e-3),
        "epoch": 800,
    }
    wrapped = {f"module.{name}": tensor for name, tensor in weights.items()}
    paths = [
        save(weights, "a.pth"), save(weights, "a.safetensors"), save(as_retfound, "b.pth"),
        save({"state_dict": wrapped}, "c.pth"), save({**weights, "head.weight": torch.zeros(5, 64)}, "d.pth"),
    ]  # fmt: skip
    for path in paths:
        state = slice_encoder.open_encoder(NAME, path).model.state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in weights.items())
    assert slice_encoder.open_encoder(NAME, paths[2]).left_out == ("mask_token", "decoder_embed.weight")
    digests = {slice_encoder.open_encoder(NAME, path).digest for path in paths}
    assert len(digests) == len(paths)


def test_weights_of_averaged_patches_are_read_as_such(save):
    model = timm.create_model("test_vit", pretrained=False, num_classes=0, global_pool="avg")
    encoder = slice_encoder.open_encoder(NAME, save(dict(model.state_dict())))
    x = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        assert torch.equal(encoder.model(x), model.eval()(x))


def test_weights_that_do_not_fit_are_named(weights, save):
    first = next(iter(weights))
    changed = {
        "lacks": {name: tensor for name, tensor in weights.items() if name != first},
        "besides": {**weights, "stem.weight": torch.zeros(1)},
        "shape": {**weights, first: torch.zeros(3, 2)},
        "nan": {**weights, first: weights[first] * torch.nan},
        "text": {**weights, first: "a"},
    }
    shape = " x ".join(map(str, weights[first].shape))
    messages = {
        "lacks": f"does not fit encoder={NAME}: lacks {first}; want its weights",
        "besides": "has besides stem.weight; want its weights",
        "shape": f"{first} is 3 x 2, want {shape}",
        "nan": f"{first} holds nan or inf",
        "text": f"{first} is no tensor",
    }
    for kind, content in changed.items():
        with pytest.raises(UsageError) as caught:
            slice_encoder.open_encoder(NAME, save(content))
        assert messages[kind] in str(caught.value), kind
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=r"holds a list, want weights by name"):
        slice_encoder.open_encoder(NAME, save([1, 2]))


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ("vit_large_patch16_224", "want timm:NAME, for example"),
        ("timm:vit_large_patch16_22", "did you mean timm:vit_"),
        ("timm:hf-hub:somebody/model", "has no such model"),
        ("timm:local-dir:/tmp", "has no such model"),
        ("timm:test_vit.r160_in1", r"has no such model; did you mean timm:test_vit\.r160_in1k\?"),
        ("timm:", "has no such model"),
        (NAME, "encoder_weights not set, want encoder_weights=FILE"),
    ],
)
def test_a_wrong_name_gives_one_line_and_no_download(encoder, message, monkeypatch):
    hub = importlib.import_module("timm.models._hub")
    monkeypatch.setattr(hub, "hf_hub_download", lambda *_, **__: pytest.fail("a download"), raising=False)
    with pytest.raises(UsageError, match=message) as caught:
        slice_encoder.open_encoder(encoder, "")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_files_that_are_none_give_one_line(tmp_path: Path, name):
    path = tmp_path / name
    with pytest.raises(UsageError, match="no such file, want a local"):
        slice_encoder.open_encoder(NAME, str(path))
    for data in (b"", b"hello", b"\x08" + bytes(30), b"PK\x03\x04"):
        path.write_bytes(data)
        with pytest.raises(UsageError, match="want weights by name") as caught:
            slice_encoder.open_encoder(NAME, str(path))
        assert "\n" not in str(caught.value)
    path.unlink()
    path.mkdir()
    with pytest.raises(UsageError, match="want a local"):
        slice_encoder.open_encoder(NAME, str(path))


def test_without_timm_the_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"timm is not here .*pip install.*\[timm\]") as caught:
        slice_encoder.open_encoder(NAME, "x.pth")
    assert "\n" not in str(caught.value)
