"""The encoder of the front door gives what evaluation gives, whichever way a scan comes in."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import octshard
from octshard import frozen_encoder
from octshard.cli.main import cli
from octshard.config.eval import EmbedConfig
from octshard.config.prep import PrepConfig
from octshard.errors import OctshardError, UsageError
from octshard.eval import embed
from octshard.imaging.intensity import to_uint8
from octshard.imaging.volume import SampleKey, Volume, resampled_shape
from octshard.models import checkpoint
from octshard.models.encoder import read_encoder
from octshard.models.vit import Encoder
from octshard.prep.dicom import writer
from octshard.rng import rng_for
from octshard.train import loop
from octshard.train.objectives.build import CLASSES, build
from tests.support.made_release import scan, sound, unpacked
from tests.support.tiny_run import (
    FORM,
    SETTINGS,
    SHAPE,
    config_for,
    objective_words,
    write_checkpoint,
    write_dataset,
)

KEY = SampleKey("", "", "", "", "x")
TARGET = {"target_spacing": [0.05, 0.02, 0.02], "image_size": [8, 32, 16], "fit": "crop_pad"}
ANISOTROPIC = {**TARGET, "target_spacing": [0.08, 0.02, 0.025]}  # of a scan of 0.04 x 0.01 x 0.02 mm


@pytest.fixture
def encoder(tmp_path: Path) -> frozen_encoder.FrozenEncoder:
    return octshard.load_encoder(write_checkpoint(tmp_path / "run", config_for("none", "none"), ANISOTROPIC))


@pytest.mark.parametrize(
    ("precision", "view", "pooling"),
    [
        ("fp32", "whole", "mean_std"),
        ("fp32", "centre", "mean"),
        ("fp32", "whole", "max"),
        ("bf16", "whole", "mean"),
    ],
)
def test_a_stored_volume_has_the_features_that_evaluation_has(
    tmp_path: Path, precision: str, view: str, pooling: str
) -> None:
    folder = write_dataset(tmp_path / "shards", {"test": 5}, (11, 20, 24))  # 2 x 1 x 2 tiles
    cfg = config_for(folder, tmp_path / "run", f"run.precision={precision}")
    run = write_checkpoint(tmp_path / "run", cfg, TARGET)
    table = embed.embed(
        EmbedConfig(
            checkpoint=[run],
            shards=[folder],
            out=str(tmp_path / "table"),
            view=view,
            pooling=[pooling],
            device="cpu",
        )
    )
    stored = table.find("run-step-00000001", pooling=pooling)
    expected = dict(zip(stored.keys, stored.values_NF, strict=True))

    encoder = octshard.load_encoder(run)
    dataset = octshard.ShardDataset(folder)
    assert len(dataset) == len(expected) == 5
    for item in dataset:
        features_F = encoder.embed(item["image"][0].numpy(), item["spacing"], pooling=pooling, view=view)
        assert features_F.dtype == torch.float32
        tolerance = 1e-5 if precision == "fp32" else 2e-2  # bf16 depends on the size of the batch
        np.testing.assert_allclose(features_F.numpy(), expected[item["meta"]["key"]], atol=tolerance)


@pytest.mark.parametrize("objective", CLASSES)
def test_a_run_of_any_objective_gives_the_features_of_the_encoder_that_it_judges(
    tmp_path: Path, objective: str
) -> None:
    folder = write_dataset(tmp_path / "shards", {"train": 21})
    cfg = config_for(folder, tmp_path / "run", *objective_words(objective), "run.samples_budget=4")
    loop.train(cfg)
    model, encoder = build(cfg), octshard.load_encoder(cfg.run.out, target_spacing=(0.05, 0.02, 0.02))
    encoder.save_pretrained(tmp_path / "export")
    model.load_state_dict(checkpoint.load_newest(cfg.run.out)[1]["model"])
    voxels = rng_for("voxels").integers(0, 256, (6, 20, 24), dtype=np.uint8)
    x_BCDHW, valid_B3 = encoder.preprocess(voxels, (0.05, 0.02, 0.02))
    tokens = model.judged.tokens_of(valid_B3)
    with torch.no_grad():
        expected_BF = model.judged(x_BCDHW, *tokens).mean(1)
        features_BF = encoder.embed_batch(frozen_encoder.EncoderInput(x_BCDHW, valid_B3))
    torch.testing.assert_close(features_BF, expected_BF, rtol=1e-5, atol=1e-6)
    exported = octshard.load_encoder(tmp_path / "export")  # what was asked for is in it: the spacing
    assert torch.equal(exported.embed(voxels, (0.05, 0.02, 0.02)), features_BF[0])
    assert exported._trained.origin.devices == {"device": {"volumes": 21, "people": 21}}
    assert exported._trained.origin.people == 21


def test_a_path_an_array_and_a_volume_of_one_scan_are_the_same(
    encoder: frozen_encoder.FrozenEncoder, tmp_path: Path
) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(writer.write(scan()))
    volume = octshard.open_volume(path)
    by_path, by_volume = encoder.preprocess(path), encoder.preprocess(volume)
    by_array = encoder.preprocess(scan().voxels_DHW, spacing=(0.04, 0.01, 0.02))
    for batch in (by_volume, by_array, encoder.preprocess(str(path))):
        assert torch.equal(batch.x_BCDHW, by_path.x_BCDHW)
        assert torch.equal(batch.valid_B3, by_path.valid_B3)
    # 6 x 20 x 24 voxels of 0.04 x 0.01 x 0.02 mm at 0.08 x 0.02 x 0.025: 3 x 10 x 19, of which W takes 16
    assert by_path.x_BCDHW.shape == (1, 1, 8, 32, 16)
    assert by_path.valid_B3.tolist() == [[3, 10, 16]]
    assert torch.equal(encoder.embed(path), encoder.embed_batch(by_array)[0])


def test_values_are_normalised_by_the_whole_volume_and_padding_is_zero(
    encoder: frozen_encoder.FrozenEncoder,
) -> None:
    voxels = rng_for("voxels").integers(0, 256, (10, 20, 21), dtype=np.uint8)
    x = encoder.preprocess(voxels, ANISOTROPIC["target_spacing"]).x_BCDHW[0, 0].numpy()
    expected = (voxels[1:9, :, 2:18].astype(np.float64) - voxels.mean()) / voxels.std()
    np.testing.assert_allclose(x[:, :20], expected, atol=1e-5)
    assert not x[:, 20:].any()
    assert voxels.flags.writeable  # the caller's array is left alone


def test_wider_voxels_are_mapped_by_the_recorded_rule(encoder: frozen_encoder.FrozenEncoder) -> None:
    spacing = (0.08, 0.02, 0.025)
    wide = rng_for("wide").integers(100, 4000, (4, 20, 16), dtype=np.uint16)
    mapped, _ = to_uint8(Volume(KEY, wide.copy(), spacing))
    assert torch.equal(
        encoder.preprocess(wide, spacing).x_BCDHW, encoder.preprocess(mapped.voxels_DHW, spacing).x_BCDHW
    )


def test_kept_bits_are_not_rounded_and_those_of_eight_are_the_same(tmp_path: Path) -> None:
    spacing = (0.08, 0.02, 0.025)
    preparation = {**ANISOTROPIC, "bits": "keep"}
    kept, eight = (
        octshard.load_encoder(write_checkpoint(tmp_path / name, config_for("none", "none"), prep))
        for name, prep in (("kept", preparation), ("eight", ANISOTROPIC))
    )
    wide = rng_for("wide").integers(100, 4000, (4, 20, 16), dtype=np.uint16)
    low, high = np.percentile(wide, (0.1, 99.9), method="inverted_cdf")
    grey = np.interp(wide, [low, high], [0, 255])
    x = kept.preprocess(wide, spacing).x_BCDHW[0, 0, :4, :20].numpy()
    np.testing.assert_allclose(x, (grey - grey.mean()) / grey.std(), atol=1 / 128 / grey.std() + 1e-5)
    rounded = eight.preprocess(wide, spacing).x_BCDHW[0, 0, :4, :20].numpy()
    assert 0.1 / grey.std() < np.abs(x - rounded).max() < 0.6 / grey.std()
    narrow = (wide >> 4).astype(np.uint8)
    pair = (encoder.preprocess(narrow, spacing).x_BCDHW for encoder in (kept, eight))
    assert torch.equal(*pair)
    kept.save_pretrained(tmp_path / "export")
    assert octshard.load_encoder(tmp_path / "export").prep == kept.prep
    config = (tmp_path / "export" / "config.json").read_text()
    assert '"grey_levels": "0 to 255; more than 8 bits as octshard prep maps them, but not rounded"' in config
    assert "not rounded" in (tmp_path / "export" / "README.md").read_text()


def test_tokens_and_the_mean_over_valid_ones(encoder: frozen_encoder.FrozenEncoder) -> None:
    spacing = ANISOTROPIC["target_spacing"]
    scans = [rng_for("scan", i).integers(0, 256, (3 + i, 9, 16), dtype=np.uint8) for i in range(3)]
    batch = encoder.collate([encoder.preprocess(voxels, spacing) for voxels in scans])
    tokens = encoder(batch)
    assert tokens.shape == (3, 4 * 4 * 2, 24)  # 8 x 32 x 16 voxels in patches of 2 x 8 x 8
    assert torch.equal(encoder.valid_tokens(batch), tokens.abs().amax(-1) > 0)  # those of padding are 0
    for i, voxels in enumerate(scans):
        grid = tokens[i].reshape(4, 4, 2, 24)[: -(-(3 + i) // 2), :2]  # 9 rows reach into the second patch
        expected = grid.reshape(-1, 24).mean(0)
        torch.testing.assert_close(encoder.embed_batch(batch)[i], expected)
        torch.testing.assert_close(encoder.embed(voxels, spacing), expected)


def test_it_is_frozen_also_within_a_model_that_trains(encoder: frozen_encoder.FrozenEncoder) -> None:
    model = torch.nn.Sequential(encoder).train()
    assert model.training
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert encoder.embed(np.zeros((3, 9, 16), np.uint8), (0.08, 0.02, 0.025)).grad_fn is None


def test_it_knows_where_it_comes_from(tmp_path: Path) -> None:
    cfg = config_for("none", "none")
    run = write_checkpoint(tmp_path / "run", cfg, TARGET)
    file = Path(run) / "checkpoints" / "step-00000001.pt"
    for place in (run, Path(run), str(file), file):
        encoder = octshard.load_encoder(place)
        assert encoder.config.model == cfg.model
        assert encoder.digest == checkpoint.list_checkpoints(run)[0].sha256
        assert encoder.prep == dataclasses.replace(PrepConfig(), **TARGET)


@pytest.mark.parametrize("preparations", [(), (TARGET, ANISOTROPIC)])
def test_without_one_known_spacing_it_asks_for_it(
    tmp_path: Path, preparations: tuple[dict[str, Any], ...]
) -> None:
    run = write_checkpoint(tmp_path / "run", config_for("none", "none"), *preparations)
    voxels = np.zeros(SHAPE, np.uint8)
    grids = r"not one thing: target_spacing \[0.05, 0.02, 0.02\] and \[0.08, 0.02, 0.025\]"
    expected = grids if preparations else "not recorded"
    with pytest.raises(UsageError, match=rf"shards were prepared is {expected}; want load_encoder"):
        octshard.load_encoder(run).preprocess(voxels, (0.05, 0.02, 0.02))
    encoder = octshard.load_encoder(run, target_spacing=(0.1, 0.04, 0.04))
    assert encoder.preprocess(voxels, (0.05, 0.02, 0.02)).valid_B3.tolist() == [[3, 10, 12]]
    with pytest.raises(UsageError, match=r"spacing \[0.1, 0.0, 0.04\] mm, want three numbers"):
        octshard.load_encoder(run, target_spacing=(0.1, 0, 0.04))


def test_folders_that_differ_in_no_stored_voxel_are_one_preparation(tmp_path: Path) -> None:
    raster, radial = {"include_geometry": []}, {"include_geometry": ["radial"], "decode": "fast"}
    places = {**TARGET, **raster, "decode": "exact"}, {**TARGET, **radial}
    run = write_checkpoint(tmp_path / "run", config_for("none", "none"), *places)
    want = dataclasses.replace(PrepConfig(), **TARGET, include_geometry=["radial"])
    assert octshard.load_encoder(run).prep == want
    stretched = {**ANISOTROPIC, "fit": "resize"}
    run = write_checkpoint(tmp_path / "mixed", config_for("none", "none"), *places, stretched)
    assert octshard.load_encoder(run).prep is None
    assert octshard.load_encoder(run, target_spacing=TARGET["target_spacing"]).prep == want
    prep = octshard.load_encoder(run, target_spacing=ANISOTROPIC["target_spacing"]).prep
    assert prep is not None
    assert prep.fit == "resize"


def test_shards_that_were_stretched_have_scans_stretched(tmp_path: Path) -> None:
    stretched = {**TARGET, "fit": "resize", "image_size": [4, 16, 8]}
    encoder = octshard.load_encoder(write_checkpoint(tmp_path, config_for("none", "none"), stretched))
    batch = encoder.preprocess(np.zeros(SHAPE, np.uint8), (0.05, 0.02, 0.02))
    assert batch.valid_B3.tolist() == [[4, 16, 8]]


def test_a_file_without_spacing_is_stretched_with_a_warning_or_given_one(
    encoder: frozen_encoder.FrozenEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scan_without_spacing = dataclasses.replace(
        scan(), measures="none", pixel_spacing_mm=None, slice_thickness_mm=None
    )
    path = tmp_path / "a.dcm"
    path.write_bytes(writer.write(scan_without_spacing))
    assert encoder.preprocess(path).valid_B3.tolist() == [[8, 32, 16]]
    assert "a.dcm: no voxel spacing in the file; stretched to [8, 32, 16]" in caplog.text
    caplog.clear()
    assert encoder.preprocess(path, (0.04, 0.01, 0.02)).valid_B3.tolist() == [[3, 10, 16]]
    assert not caplog.text


def test_what_cannot_be_a_scan_is_one_line(encoder: frozen_encoder.FrozenEncoder, tmp_path: Path) -> None:
    voxels = np.zeros(SHAPE, np.uint8)
    with pytest.raises(UsageError, match=r"array \(6, 20, 24\): no spacing, want spacing=\(dz, dy, dx\)"):
        encoder.preprocess(voxels)
    with pytest.raises(UsageError, match="for a Volume, which has its own"):
        encoder.preprocess(Volume(KEY, voxels, (1.0, 1.0, 1.0)), (1, 1, 1))
    with pytest.raises(OctshardError, match=r"float64\(6, 20, 24\), want uint8 or uint16"):
        encoder.preprocess(voxels.astype(float), (1, 1, 1))
    with pytest.raises(UsageError, match=r"spacing \[1.0, 1.0\] mm, want three numbers"):
        encoder.preprocess(voxels, (1, 1))
    with pytest.raises(OctshardError, match=r"nothing.dcm: no such file"):
        encoder.preprocess(tmp_path / "nothing.dcm")


@settings(deadline=None)  # a loaded machine is no failure
@given(
    shape=st.tuples(*[st.integers(1, 40)] * 3),
    spacing=st.tuples(*[st.sampled_from([0.0125, 0.025, 0.05, 0.0351, 0.1, 0.2])] * 3),
)
def test_a_stored_volume_is_not_resampled_again(
    shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> None:
    """Its spacing is extent / n, rounded to float32 by ShardDataset: n must come out again, at halves too."""
    prep = PrepConfig(target_spacing=[0.05, 0.05, 0.05])
    stored = resampled_shape(shape, spacing, (0.05, 0.05, 0.05))
    spacing_out = [n * mm / m for n, mm, m in zip(shape, spacing, stored, strict=True)]
    for values in (spacing_out, torch.tensor(spacing_out).tolist()):
        d, h, w = values
        volume = Volume(KEY, np.zeros(stored, np.uint8), (d, h, w))
        assert frozen_encoder._on_grid(volume, prep) is volume


def test_a_run_records_how_its_shards_were_prepared(tmp_path: Path) -> None:
    """From a release by the commands, so that `load_encoder(run)` alone is enough."""
    root = unpacked(
        tmp_path / "release", [sound(i, str(i)) for i in range(1, 6)], dict.fromkeys("12345", "train")
    )
    config, empty = tmp_path / "prep.yaml", tmp_path / "train.yaml"
    empty.write_text("{}\n")
    config.write_text("target_spacing: [0.05, 0.02, 0.02]\nimage_size: [8, 32, 16]\nworkers: 1\n")
    shards = str(tmp_path / "shards")
    prep = ["prep", "shard", str(root), shards, "--device", "all", "--config", str(config)]
    values = [*SETTINGS, f"data.shards=[{shards}/topcon_triton]", f"run.out={tmp_path / 'run'}"]
    for command in (prep, ["train", "--config", str(empty), *values, "run.samples_budget=4"]):
        assert CliRunner().invoke(cli, command, catch_exceptions=False).exit_code == 0
    encoder = octshard.load_encoder(tmp_path / "run")
    assert encoder.prep == PrepConfig(target_spacing=[0.05, 0.02, 0.02], image_size=[8, 32, 16])
    (source, *_) = (row.source for row in octshard.ShardDataset(shards).rows)
    assert encoder.embed(root / source).shape == (24,)


def blocks_by_hand(encoder: frozen_encoder.FrozenEncoder, x_BCDHW: torch.Tensor) -> list[torch.Tensor]:
    """What stands behind each block of the encoder at its own size, by hooks."""
    outputs: list[torch.Tensor] = []
    hooks = [
        block.register_forward_hook(lambda module, given, out: outputs.append(out))
        for block in encoder.encoder.blocks
    ]
    encoder.encoder(x_BCDHW)
    for hook in hooks:
        hook.remove()
    return outputs


@pytest.mark.parametrize("words", [(), FORM])
def test_features_of_any_block(tmp_path: Path, words: tuple[str, ...]) -> None:
    cfg = config_for("none", "none", "model.depth=4", *words)
    encoder = octshard.load_encoder(write_checkpoint(tmp_path / "run", cfg, TARGET))
    x_BCDHW = torch.randn(2, 1, 8, 32, 16)
    expected = blocks_by_hand(encoder, x_BCDHW)
    last, maps = encoder.forward_intermediates(x_BCDHW)
    assert torch.equal(last, encoder.forward_features(x_BCDHW))
    torch.testing.assert_close(last, encoder.encoder(x_BCDHW))
    assert len(maps) == 4
    for found, level_BNF in zip(maps, expected, strict=True):
        assert found.shape == (2, 24, 4, 4, 2)
        torch.testing.assert_close(found[1, :, 3, 1, 0], level_BNF[1, 3 * 8 + 1 * 2])
        torch.testing.assert_close(found.flatten(2).mT, level_BNF)
    _, (third, first) = encoder.forward_intermediates(x_BCDHW, [-2, 0])
    assert torch.equal(third, maps[2])
    assert torch.equal(first, maps[0])
    _, normed = encoder.forward_intermediates(x_BCDHW, 1, norm=True)
    torch.testing.assert_close(normed[0].flatten(2).mT, last)
    assert encoder.num_features == 24


def test_padding_is_read_by_no_block(encoder: frozen_encoder.FrozenEncoder) -> None:
    voxels = rng_for("voxels").integers(0, 256, (3, 9, 16), dtype=np.uint8)
    batch = encoder.preprocess(voxels, ANISOTROPIC["target_spacing"])
    last, maps = encoder.forward_intermediates(batch)
    assert torch.equal(last, encoder(batch))
    assert not maps[0][0, :, 2:].any()
    assert not maps[0][0, :, :, 2:].any()
    assert maps[0][0, :, :2, :2].abs().amin() > 0


@pytest.mark.parametrize("position", ["rope", "sincos"])
@pytest.mark.parametrize("size", [(4, 16, 16), (8, 32, 16), (10, 40, 32)])
def test_images_of_other_sizes(tmp_path: Path, position: str, size: tuple[int, int, int]) -> None:
    """As an encoder that was made for that size, with the same weights."""
    run = write_checkpoint(tmp_path, config_for("none", "none", f"model.position={position}"), TARGET)
    encoder = octshard.load_encoder(run, image_size=size)
    assert encoder.image_size == size
    made = Encoder(dataclasses.replace(encoder.config.model, image_size=list(size))).eval()
    made.load_state_dict(read_encoder(run).encoder.state_dict())
    x_BCDHW = torch.randn(2, 1, *size)
    with torch.no_grad():
        expected = made(x_BCDHW)
    torch.testing.assert_close(encoder.forward_features(x_BCDHW), expected)
    plain = octshard.load_encoder(run)
    assert torch.equal(plain.forward_features(x_BCDHW), encoder.forward_features(x_BCDHW))
    assert plain.image_size == (8, 32, 16)
    spacing = TARGET["target_spacing"]
    batch = encoder.preprocess(np.ones((20, 50, 50), np.uint8), spacing)
    assert batch.x_BCDHW.shape[2:] == size
    assert batch.valid_B3.tolist() == [list(size)]
    assert encoder(batch).shape == expected[:1].shape
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_a_volume_that_fits_has_the_same_features_at_every_size(tmp_path: Path) -> None:
    run = write_checkpoint(tmp_path, config_for("none", "none"), TARGET)
    voxels = rng_for("voxels").integers(0, 256, (6, 20, 16), dtype=np.uint8)
    small, large = (octshard.load_encoder(run, image_size=size) for size in (None, (20, 64, 40)))
    torch.testing.assert_close(
        small.embed(voxels, TARGET["target_spacing"]), large.embed(voxels, TARGET["target_spacing"])
    )


def test_sizes_that_cannot_be_are_one_line(tmp_path: Path) -> None:
    run = write_checkpoint(tmp_path, config_for("none", "none"), TARGET)
    for size, message in (
        ((8, 30, 16), r"model.image_size \[8, 30, 16\]: want a multiple of model.patch"),
        ((8, 32), r"image_size \[8, 32\]: want three"),
        ((8, 32, 160_000), r"image_size=\[8, 32, 160000\]: want .* no more than 100000"),
    ):
        with pytest.raises(UsageError, match=message):
            octshard.load_encoder(run, image_size=size)
    encoder = octshard.load_encoder(run)
    with pytest.raises(UsageError, match="3 channels, want 1"):
        encoder.forward_features(torch.zeros(1, 3, 8, 32, 16))
    with pytest.raises(UsageError, match="want numbers of blocks from -2 to 1"):
        encoder.forward_intermediates(torch.zeros(1, 1, 8, 32, 16), [2])


def test_what_is_saved_is_what_was_trained(tmp_path: Path) -> None:
    run = write_checkpoint(tmp_path / "run", config_for("none", "none"), TARGET, ANISOTROPIC)
    spacing = ANISOTROPIC["target_spacing"]
    encoder = octshard.load_encoder(run, target_spacing=spacing, image_size=(4, 16, 16))
    encoder.save_pretrained(tmp_path / "export")
    with pytest.raises(UsageError, match="is there already"):
        encoder.save_pretrained(tmp_path / "export")
    encoder.save_pretrained(tmp_path / "export", replace=True)
    again = octshard.FrozenEncoder.from_pretrained(tmp_path / "export")
    assert again.image_size == (8, 32, 16)
    assert again.prep == encoder.prep
    voxels = rng_for("voxels").integers(0, 256, SHAPE, dtype=np.uint8)
    expected = octshard.load_encoder(run, target_spacing=spacing).embed(voxels, spacing)
    assert torch.equal(again.embed(voxels, spacing), expected)


def test_what_cannot_be_pooled_or_viewed_is_said(encoder: frozen_encoder.FrozenEncoder) -> None:
    voxels = rng_for("voxels").integers(0, 256, (10, 20, 21), dtype=np.uint8)
    spacing = ANISOTROPIC["target_spacing"]
    with pytest.raises(UsageError, match="pooling=median: want mean, mean_std, max"):
        encoder.embed(voxels, spacing, pooling="median")
    with pytest.raises(UsageError, match="view=all: want whole or centre"):
        encoder.embed(voxels, spacing, view="all")


def test_tiles_are_the_whole_scan_and_one_tile_is_the_image(encoder: frozen_encoder.FrozenEncoder) -> None:
    voxels, spacing = (
        rng_for("voxels").integers(0, 256, (10, 20, 21), dtype=np.uint8),
        ANISOTROPIC["target_spacing"],
    )
    assert encoder.tiles(voxels, spacing).valid_B3.tolist() == [
        [6, 20, 16],
        [6, 20, 5],
        [4, 20, 16],
        [4, 20, 5],
    ]
    small = voxels[:8, :, :16].copy()
    one, image = encoder.tiles(small, spacing), encoder.preprocess(small, spacing)
    assert all(torch.equal(*pair) for pair in zip(one, image, strict=True))
    by_hand = encoder.embed_batch(image, pooling="mean_std")[0]
    assert torch.equal(encoder.embed(small, spacing, pooling="mean_std", view="whole"), by_hand)
