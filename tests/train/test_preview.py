"""What is drawn is what the encoders read; the same command gives the same pixels."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from octshard.config.train import TrainConfig
from octshard.dataset import tables
from octshard.errors import UsageError
from octshard.models.encoder import read_encoder
from octshard.pictures.model_view import ModelView
from octshard.pictures.panels import panels
from octshard.progress import no_progress
from octshard.train import loop, preview
from octshard.train.preview import Preview, PreviewFiles, PreviewRequest
from tests.support.tiny_run import config_for, odd_wide, voxels_of, write_dataset

FIRST = PreviewRequest((), 1, "")
VAL_KEY = "val003-device-proto-l-0000000003"


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(
        tmp_path_factory.mktemp("data") / "device", {"train": 21, "val": 6}, is_wide=odd_wide
    )


@pytest.fixture(scope="module")
def run(shards: str, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """A run of two steps, for its checkpoint."""
    cfg = config(shards, "run.samples_budget=8", out=str(tmp_path_factory.mktemp("run")))
    loop.train(cfg)
    return cfg


def config(shards: str, *more: str, out: str = "unused") -> TrainConfig:
    return config_for(shards, out, "run.samples_budget=32", *more)


def first(cfg: TrainConfig, request: PreviewRequest = FIRST) -> Preview:
    return next(iter(preview.previews(cfg, request)))


def grid_of(view: ModelView) -> tuple[int, int, int]:
    return view.mask_sets[0].context_dhw.shape  # type: ignore[return-value]


def test_the_crop_lies_where_the_picture_says(shards: str) -> None:
    """The volumes are wider than image_size: the blue frame marks what the stream took."""
    for key, _, view, _ in preview.previews(config(shards), PreviewRequest((), 5, "")):
        stored_DHW = voxels_of(key, (6, 20, 24)).astype(float)
        np.testing.assert_allclose(view.en_face.picture_DW, stored_DHW.mean(axis=1), rtol=1e-5)
        normed_DHW = (stored_DHW - stored_DHW.mean()) / stored_DHW.std()
        left = view.en_face.first_W
        assert view.shape == (6, 20, 16)
        np.testing.assert_allclose(view.crop_DHW, normed_DHW[:, :, left : left + 16], atol=1e-3)


def test_each_b_scan_is_shown_beside_the_one_it_comes_from(shards: str) -> None:
    """With flips alone a view is the crop, mirrored or not."""
    still = [f"views.{name}=0" for name in ("zoom", "tilt", "gamma", "speckle", "noise")]
    seen = set()
    for _, _, view, _ in preview.previews(
        config(shards, *still, "views.flip_w=0"), PreviewRequest((), 8, "")
    ):
        np.testing.assert_allclose(view.target_DHW, view.crop_DHW[view.source_D], atol=1e-5)
        np.testing.assert_allclose(view.context_DHW, view.target_DHW, atol=1e-4)
        seen.add(tuple(view.source_D))
    assert seen == {(0, 1, 2, 3, 4, 5), (5, 4, 3, 2, 1, 0)}


def test_tokens_are_as_many_as_the_config_says_and_never_both(shards: str) -> None:
    view = first(config(shards)).view
    (tokens,) = view.mask_sets
    assert grid_of(view) == (3, 3, 2)  # 6 x 20 x 16 voxels of 2 x 8 x 8
    assert (tokens.context_dhw.sum(), tokens.target_dhw.sum()) == (6, 5)
    assert not (tokens.context_dhw & tokens.target_dhw).any()


COARSE = ("objective.context_scale=[2,1,2]", "objective.masks=[{kind: cubes, context: 2, target: 5}]")


@pytest.mark.parametrize("key", ["", VAL_KEY])
def test_a_coarser_context_is_shown_as_the_means_that_the_encoder_reads(shards: str, key: str) -> None:
    """By hand, from the fine view of the same config without a scale: planes 2 and 3 of 6 are one, columns 4
    and 5 of 16; of its tokens, 2 x 3 x 1 of 4 x 8 x 16 voxels, two are seen.
    """
    request = PreviewRequest((key,) if key else (), 1, "")
    fine = first(config(shards), request).view
    _, _, view, tokens = first(config(shards, *COARSE), request)
    mean_HW = fine.context_DHW.reshape(3, 2, 20, 8, 2).mean((1, 4))
    for plane in range(6):
        np.testing.assert_allclose(view.context_DHW[plane, :, 5], mean_HW[plane // 2, :, 2], atol=1e-5)
    np.testing.assert_array_equal(view.target_DHW, fine.target_DHW)
    assert not view.is_plain
    flags = view.mask_sets[0]
    assert not (flags.context_dhw & flags.target_dhw).any()
    assert flags.target_dhw.sum() == 5
    cells = flags.context_dhw[[0, 2], :, 0]  # of 2 x 1 x 2 tokens; of the last plane there is one
    np.testing.assert_array_equal(flags.context_dhw, cells[[0, 0, 1]][:, :, None].repeat(2, axis=2))
    assert cells.sum() == 2
    assert view.detail.endswith("2 context (of 4 x 8 x 16) and 5 target of 18")
    assert tokens == (
        "tokens: one of the targets covers 0.1 x 0.16 x 0.16 mm (D x H x W), one of the context 0.2 x 0.16 x "
        "0.32 mm (D x H x W)"
    )
    titles = [panel.title for panel in panels(view)]
    assert "Context: all that the encoder sees, means of 2 x 1 x 2 voxels" in titles


def test_a_volume_of_val_is_shown_as_validation_reads_it(shards: str) -> None:
    key, split, view, _ = first(config(shards), PreviewRequest((VAL_KEY,), 1, ""))
    assert (key, split) == (VAL_KEY, "val")
    assert view.is_plain
    assert view.en_face.first_W == 4  # the centre of 24 columns


def test_no_participant_stands_in_a_picture(shards: str) -> None:
    """Keys begin with the participant; the tables' own name of the eye and the protocol are no secret."""
    view = first(config(shards), PreviewRequest((VAL_KEY,), 1, "")).view
    row = next(row for row in tables.open_dataset(shards).rows if row.key == VAL_KEY)
    assert row.participant not in view.title + view.detail
    assert view.title == "device, proto, left eye"
    assert view.detail == (
        "6 x 20 x 16 voxels of 0.05 x 0.02 x 0.02 mm (D x H x W); tokens of 2 x 8 x 8 voxels: 6 context and "
        "5 target of 18"
    )


def test_the_same_command_gives_the_same_pixels(shards: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        files = PreviewFiles(f"{tmp_path}/{name}.png", f"{tmp_path}/{name}.gif", 2)
        lines = list(preview.write(config(shards), FIRST, files, no_progress))
        assert re.fullmatch(
            rf"{tmp_path}/{name}\.png: train\S+ of train, \d\.\d MB; tokens: one covers 0.1 x 0.16 x 0.16 mm "
            r"\(D x H x W\)",
            lines[0],
        )
        assert len(lines) == 2
    for suffix in ("png", "gif"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    other = config(shards, "run.seed=1")
    list(preview.write(other, FIRST, PreviewFiles(f"{tmp_path}/c.png", "", 2), no_progress))
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "c.png").read_bytes()


def test_several_volumes_are_numbered(shards: str, tmp_path: Path) -> None:
    files = PreviewFiles(f"{tmp_path}/p.svg", "", 1)
    keys = (VAL_KEY, "train004-device-proto-l-0000000004")
    lines = list(preview.write(config(shards), PreviewRequest(keys, 1, ""), files, no_progress))
    assert [line.split(" ")[1] for line in lines] == list(keys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p-1.svg", "p-2.svg"]


def test_colours_are_those_of_the_runs_target_encoder(run: TrainConfig) -> None:
    """By hand: the checkpoint's encoder on the target view, voxel by voxel of the colours' place."""
    request = PreviewRequest((), 1, run.run.out)
    view = first(run, request).view
    encoder = read_encoder(run.run.out).encoder
    image = torch.zeros(1, 1, 8, 32, 16)
    d, h, w = view.shape
    image[0, 0, :d, :h, :w] = torch.from_numpy(view.target_DHW)
    with torch.no_grad():
        z_dhwF = encoder(image)[0].reshape(4, 4, 2, -1)[:3, :3, :2].numpy()
    assert view.colours_dhw3 is not None
    assert view.colours_dhw3.shape == (3, 3, 2, 3)
    # a linear map of the features, where nothing is cut off
    design = np.c_[z_dhwF.reshape(18, -1), np.ones(18)]
    inside = ((view.colours_dhw3 > 0) & (view.colours_dhw3 < 1)).reshape(18, 3)
    for component in range(3):
        rows = inside[:, component]
        colours = view.colours_dhw3.reshape(18, 3)[rows, component]
        fitted, *_ = np.linalg.lstsq(design[rows], colours, rcond=None)
        np.testing.assert_allclose(design[rows] @ fitted, colours, atol=1e-4)
    again = first(run, request).view
    assert again.colours_dhw3 is not None
    assert (again.colours_dhw3 == view.colours_dhw3).all()


def test_a_checkpoint_of_another_model_is_a_usage_error(shards: str, run: TrainConfig) -> None:
    other = config(shards, "model.depth=1")
    with pytest.raises(UsageError, match=r"model\.depth=1: .*\.pt has 2; take the config of its run"):
        first(other, PreviewRequest((), 1, run.run.out))


def test_wrong_names_are_errors_before_anything_is_read(tmp_path: Path) -> None:
    nowhere = config(str(tmp_path / "absent"))
    for files in (PreviewFiles("x.jpg", "", 1), PreviewFiles("x.png", "x.webp", 1)):
        with pytest.raises(UsageError, match="want a name that ends in"):
            list(preview.write(nowhere, FIRST, files, no_progress))


def test_variables_of_torchrun_are_none_of_its_business(shards: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the second of two processes it would wait for the first."""
    here = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"}
    for name, value in here.items():
        monkeypatch.setenv(name, value)
    assert first(config(shards)).split == "train"


def test_png_is_rgb(shards: str, tmp_path: Path) -> None:
    list(preview.write(config(shards), FIRST, PreviewFiles(f"{tmp_path}/p.png", "", 3), no_progress))
    with Image.open(io.BytesIO((tmp_path / "p.png").read_bytes())) as image:
        assert image.width == 2160
