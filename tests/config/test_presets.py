"""A preset is its numbers: what is loaded and saved are these, and what denies them is an error."""

from pathlib import Path

import pytest
import torch
import yaml

from octshard.config import fields
from octshard.config.load import load, load_saved, save
from octshard.config.model import ModelConfig
from octshard.config.train import TrainConfig
from octshard.errors import UsageError
from octshard.models.vit import Encoder
from octshard.train.objectives.build import check

# Millions of weights of the ViTs of these names, by their papers: with a head of 1,000 classes, a class
# token, a table of 197 positions, and patches of 3 x 16 x 16 numbers, where ours have 4 x 16 x 16.
MILLIONS = {"tiny": 5.7, "small": 22.1, "base": 86.6, "large": 304.4}
SIZES = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}


def sizes(cfg: TrainConfig) -> tuple[int, int, int]:
    assert cfg.model.preset is None
    return cfg.model.width, cfg.model.depth, cfg.model.heads


@pytest.mark.parametrize("name", SIZES)
def test_a_preset_is_the_vit_of_its_name(name: str) -> None:
    cfg = load(TrainConfig, [], [f"model.preset={name}"])
    assert sizes(cfg) == SIZES[name]
    with torch.device("meta"):
        weights = sum(p.numel() for p in Encoder(cfg.model).parameters())
    width = cfg.model.width
    papers = MILLIONS[name] * 1e6 - 1000 * (width + 1) - 197 * width - width - 768 * width + 1024 * width
    assert weights == pytest.approx(papers, rel=0.01)


def test_what_is_saved_are_the_numbers() -> None:
    cfg = load(TrainConfig, [], ["model.preset=tiny"])
    saved = yaml.safe_load(save(cfg))["model"]
    assert (saved["preset"], saved["width"], saved["depth"], saved["heads"]) == (None, 192, 12, 3)
    numbers = load(TrainConfig, [], ["model.width=192", "model.depth=12", "model.heads=3"])
    assert fields.digest(load_saved(TrainConfig, save(cfg), "x")) == fields.digest(numbers)


def test_a_preset_replaces_what_an_earlier_file_says(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("model: {preset: tiny}\n")
    assert sizes(load(TrainConfig, ["smoke_test"], ["model.preset=small"])) == SIZES["small"]
    assert sizes(load(TrainConfig, ["smoke_test", mine], [])) == SIZES["tiny"]
    assert sizes(load(TrainConfig, [mine], ["model.preset=large"])) == SIZES["large"]
    assert sizes(load(TrainConfig, [mine], ["model.width=192"])) == SIZES["tiny"]
    assert sizes(load(TrainConfig, [mine], ["model.preset=null", "model.width=96"])) == (96, 12, 3)


@pytest.mark.parametrize(
    ("file", "words", "says"),
    [
        ("", ["model.preset=small", "model.width=512"], "small is model.width=384, and model.width=512"),
        ("", ["model.depth=3", "model.preset=small"], "small is model.depth=12, and model.depth=3"),
        ("", ["model.heads=2", "model={preset: small}"], "small is model.heads=6, and model.heads=2"),
        ("model: {preset: tiny}", ["model.width=64"], "tiny is model.width=192, and model.width=64"),
        ("model: {preset: tiny, depth: 4}", [], "tiny is model.depth=12, and model.depth=4"),
        ("", ["model.preset=base", "model.width=${predictor.width}"], "and model.width=384 is given too"),
        ("", ["model.preset=huge"], "model.preset=huge: want tiny, small, base or large"),
        ("", ["model.preset=${run.name}"], r"model.preset=${run.name} is an interpolation, want"),
    ],
)
def test_what_denies_a_preset_is_named_beside_it(
    file: str, words: list[str], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(file)
    with pytest.raises(UsageError) as error:
        load(TrainConfig, [path] if file else [], words)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_preset_that_was_never_loaded_is_refused() -> None:
    cfg = TrainConfig(model=ModelConfig(preset="tiny"))
    with pytest.raises(UsageError, match=r"model\.preset=tiny"):
        check(cfg)
