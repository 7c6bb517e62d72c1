"""The pictures of docs show what octshard does now: the shipped config's masks, also the committed ones."""

import importlib.util
import io
import json
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from octshard.config.load import load, shipped_configs
from octshard.config.train import TrainConfig
from octshard.pictures import sweep
from octshard.train.objectives.token_counts import counts_of

FOLDER = Path(__file__).parents[2] / "docs" / "figures"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_figure", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return _load("tokens")


@pytest.fixture(scope="module")
def picture(script: ModuleType) -> Any:
    return script.tokens()


@pytest.mark.slow
def test_context_and_targets_are_those_of_the_config(picture: Any) -> None:
    (counts,) = counts_of(load(TrainConfig, [shipped_configs()["pretrain_vjepa_single_domain"]]), 2736)
    assert picture.context_dhw.sum() == counts.K
    assert picture.target_dhw.sum() == counts.T
    assert not (picture.context_dhw & picture.target_dhw).any()
    # 120 slices of 0.05 mm are cropped to 64, 6 mm / 0.02 mm = 300 of 384 columns, 2.5792 / 0.02 = 129 rows
    assert picture.valid == (64 // 4, -(-129 // 16), -(-300 // 16))
    d, h, w = picture.valid
    for flags in (picture.context_dhw, picture.target_dhw):
        assert flags.shape == (16, 24, 24)
        assert flags[:d, :h, :w].sum() == flags.sum()  # none in the padding


@pytest.mark.slow
def test_the_scan_and_the_volume_show_one_frame_with_fluid(picture: Any) -> None:
    assert picture.scan_HW.shape == (992, 320)
    assert picture.scan_mm == (2.5792, 6.0)
    assert not picture.volume_DHW[:, 129:].any()
    assert not picture.volume_DHW[:, :, 300:].any()
    mean_HW = picture.scan_HW[: 992 // 31 * 31].reshape(32, 31, 32, 10).mean(axis=(1, 3))
    # the same blocks of the resampled frame, about 4 x 9.4 voxels each
    rows, cols = np.linspace(0, 129, 33).round().astype(int), np.linspace(0, 300, 33).round().astype(int)
    frame_HW = picture.volume_DHW[picture.frame]
    blocks = [[frame_HW[a:b, c:d].mean() for c, d in pairwise(cols)] for a, b in pairwise(rows)]
    assert np.corrcoef(mean_HW.ravel(), np.ravel(blocks))[0, 1] > 0.99


@pytest.mark.slow
def test_context_is_clear_and_the_rest_is_dimmed(script: ModuleType, picture: Any) -> None:
    """Black shows the colour itself; white is white in the context and 35 % of the way elsewhere."""
    grey = np.zeros_like(picture.volume_DHW)
    grey[:, 8:16] = 255  # the lower half of the first row of tokens
    split = script.TokenPicture(**(vars(picture) | {"volume_DHW": grey}))
    shown = script.masked(split, picture.frame)
    assert shown.shape == (9 * 16, 19 * 16, 3)
    slice_ = picture.frame // 4
    for flags, colour, white in (
        (picture.context_dhw, (0x00, 0x51, 0x7F), 1.0),
        (picture.target_dhw, (0xE6, 0x9F, 0x00), 0.35),
    ):
        x = 16 * int(np.flatnonzero(flags[slice_, 0, :19])[0]) + 5
        black = np.array(colour) / 255
        np.testing.assert_allclose(shown[3, x], black, atol=1e-9)
        np.testing.assert_allclose(shown[12, x], black + white * (1 - black), atol=1e-9)


@pytest.mark.slow
def test_the_committed_picture_is_that_of_the_script(script: ModuleType, picture: Any) -> None:
    """Its size, and the mean colour of every token on the right; fonts may differ."""
    assert (FOLDER / "tokens.png").stat().st_size < 300_000
    with Image.open(FOLDER / "tokens.png") as image:
        pixels = np.asarray(image.convert("RGB")) / 255
    assert pixels.shape == (script.HEIGHT_PX, script.WIDTH_PX, 3)
    shown = script.masked(picture, picture.frame)
    tall, wide = (mm * px for mm, px in zip(picture.token_mm, (script.Y_PX, script.X_PX), strict=True))
    left = script.LEFT_PX + (6.0 + picture.extent_mm[2]) * script.X_PX + 2 * script.GAP_PX
    for y in range(9):
        for x in range(19):
            top, side = script.TOP_PX + y * tall, left + x * wide
            drawn = pixels[int(top) + 4 : int(top + tall) - 3, int(side) + 4 : int(side + wide) - 3]
            expected = shown[16 * y + 2 : 16 * y + 14, 16 * x + 2 : 16 * x + 14]
            np.testing.assert_allclose(drawn.mean(axis=(0, 1)), expected.mean(axis=(0, 1)), atol=0.06)


@pytest.mark.slow
def test_the_same_bytes_come_twice(script: ModuleType, picture: Any) -> None:
    png = script.draw(picture)
    assert png == script.draw(picture)
    assert Image.open(io.BytesIO(png)).size == (script.WIDTH_PX, script.HEIGHT_PX)


@pytest.fixture(scope="module")
def preview_script() -> ModuleType:
    return _load("preview")


@pytest.fixture(scope="module")
def model_view(preview_script: ModuleType) -> Any:
    return preview_script.model_view()


@pytest.mark.slow
def test_the_preview_is_of_the_shipped_config(model_view: Any) -> None:
    (counts,) = counts_of(load(TrainConfig, [shipped_configs()["pretrain_vjepa_single_domain"]]), 2736)
    (tokens,) = model_view.mask_sets
    assert model_view.shape == (64, 129, 300)
    assert (tokens.context_dhw.sum(), tokens.target_dhw.sum()) == (counts.K, counts.T)


@pytest.mark.slow
def test_the_committed_preview_is_that_of_the_script(preview_script: ModuleType, model_view: Any) -> None:
    """Its size and its pixels on average; fonts may differ by a version."""
    png = preview_script.png(model_view)
    assert png == preview_script.png(model_view)
    assert (FOLDER / "preview.png").stat().st_size < 600_000
    pictures = [Image.open(file).convert("RGB") for file in (io.BytesIO(png), FOLDER / "preview.png")]
    ours, theirs = (np.asarray(picture).astype(float) for picture in pictures)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).mean() < 1.0


@pytest.mark.slow
def test_the_committed_animation_is_small_and_sweeps() -> None:
    assert (FOLDER / "preview.gif").stat().st_size <= sweep.LIMIT_BYTES
    with Image.open(FOLDER / "preview.gif") as image:
        assert image.n_frames >= 16


@pytest.fixture(scope="module")
def learning_script() -> ModuleType:
    return _load("learning")


def test_what_a_run_learned_is_drawn_from_its_metrics(
    learning_script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run's lines go in, those that are drawn stay; the same ones give the same bytes."""
    run = tmp_path / "run"
    run.mkdir()
    lines = [
        {"step": 1, "samples_seen": 16, "loss": 0.81234567, "rank": 30.0},
        {"step": 2, "samples_seen": 32, "val_loss": 0.5, "skill": -0.1, "val_loss_position_only": 0.4},
        {"step": 2, "samples_seen": 32, "probe": "age, R2", "probe_linear": 0.3, "probe_knn": None},
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setattr(learning_script, "FOLDER", tmp_path)
    learning_script.main([str(run)])
    drawn = learning_script.read_lines()
    assert drawn[0] == {"step": 1, "samples_seen": 16, "loss": 0.8123}
    assert drawn[2] == {"step": 2, "samples_seen": 32, "probe": "age, R2", "probe_linear": 0.3}
    png = (tmp_path / "learning.png").read_bytes()
    assert png == learning_script.draw(drawn)
    assert png != learning_script.draw(drawn[:2])


def test_the_committed_figure_is_that_of_its_numbers(learning_script: ModuleType) -> None:
    """Its size and its pixels on average; fonts may differ by a version. Loss, skill and probes are there."""
    lines = learning_script.read_lines()
    for name in ("loss", "val_loss", "val_loss_other_context", "skill", "probe_linear"):
        assert any(name in line for line in lines), name
    png = learning_script.draw(lines)
    pictures = [Image.open(file).convert("RGB") for file in (io.BytesIO(png), FOLDER / "learning.png")]
    ours, theirs = (np.asarray(picture).astype(float) for picture in pictures)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).mean() < 2.0
