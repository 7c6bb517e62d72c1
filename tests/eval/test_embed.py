"""`octshard eval embed` on shards: whole scans, several checkpoints in one pass, kills, and its errors."""

import dataclasses
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from octshard.cli.main import cli
from octshard.config.eval import EmbedConfig
from octshard.config.load import save
from octshard.errors import OctshardError, UsageError
from octshard.eval import embed, extraction, feature_table, scans
from octshard.imaging.tiles import WHOLE, View
from octshard.models import checkpoint
from octshard.models.encoder import random_encoder, read_encoder
from tests.support.tiny_run import config_for, none_wide, odd_wide, voxels_of, write_dataset

SHAPE = (19, 20, 24)  # of image_size (8, 32, 16) at patches of (2, 8, 8): 3 x 1 x 2 tiles


def write_checkpoint(out: Path, seed: int, *words: str) -> str:
    cfg = config_for("none", out, *words)
    weights = random_encoder(cfg, seed).state_dict()
    payload = {
        "format": checkpoint.FORMAT,
        "config": save(cfg),
        "step": seed,
        "samples_seen": 4,
        "model": {checkpoint.TARGET_ENCODER + name: tensor for name, tensor in weights.items()},
    }
    checkpoint.write(str(out), payload, None, milestone=False)
    return str(out)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> EmbedConfig:
    """Two dataset folders, of which one has scans of one tile, and two runs of different encoders."""
    root = tmp_path_factory.mktemp("embed")
    folders = [
        write_dataset(root / "a", {"train": 4, "test": 2}, SHAPE, "a"),
        write_dataset(root / "b", {"train": 3, "val": 2}, (6, 20, 16), "b"),
    ]
    runs = [
        write_checkpoint(root / "one", 3),
        write_checkpoint(root / "two", 4, "model.image_size=[16,32,32]"),
    ]
    return EmbedConfig(
        checkpoint=runs, shards=folders, out=str(root / "table"), layers=["last", "1"], device="cpu", batch=4,
        pooling=["mean", "mean_std", "max", "tokens"], token_type="fp32", random_draws=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def table(made) -> feature_table.FeatureTable:
    return embed.embed(made)


def files(folder: str) -> dict[str, bytes]:
    root = Path(folder)
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != extraction.LOCK
    }


def test_everything_is_there_with_its_origin(table, made):
    assert [scan.split for scan in table.scans] == ["train"] * 7 + ["val"] * 2 + ["test"] * 2
    assert [scan.device for scan in table.scans] == ["a"] * 4 + ["b"] * 5 + ["a"] * 2
    assert {info.name for info in table.infos.values()} == {
        f"{source}-{layer}-{pooling}"
        for source in ("one-step-00000003", "two-step-00000004", "random-init", "random-init-2")
        for layer in ("last", "1")
        for pooling in made.pooling
    }
    info = table.find("one-step-00000003").info
    path = f"{made.checkpoint[0]}/checkpoints/step-00000003.pt"
    assert info == feature_table.FeatureInfo(
        "one-step-00000003", "last", "mean_std", "whole, tiles of at most 8x32x16", "fp32", path,
        read_encoder(path).digest, 3,
    )  # fmt: skip


def test_the_whole_field_of_view_is_read(table, made):
    """Against the encoder on tiles cut by hand."""
    trained = read_encoder(made.checkpoint[0])
    features, tokens = table.find("one-step-00000003"), table.find_tokens("one-step-00000003")
    view = View(WHOLE, (8, 32, 16), (2, 8, 8))
    for row, scan in enumerate(table.scans):
        stored, parts = voxels_of(scan.key, scan.shape), []
        for window in view.windows(scan.shape):
            tile = torch.from_numpy(stored[window].astype(np.float32))
            x = torch.zeros([-(-n // p) * p for n, p in zip(tile.shape, (2, 8, 8), strict=True)])
            x[: tile.shape[0], : tile.shape[1], : tile.shape[2]] = (tile - stored.mean()) / stored.std()
            ids = trained.encoder.tokens_of(torch.tensor([tile.shape]))
            with torch.no_grad():
                parts.append(trained.encoder(x[None, None], *ids)[0].numpy())
        z_VF = np.concatenate(parts)
        assert len(z_VF) == (10 * 3 * 3 if scan.device == "a" else 3 * 3 * 2)
        expected_F = [*z_VF.mean(0), *z_VF.std(0)]
        np.testing.assert_allclose(features.values_NF[row], expected_F, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(tokens.read(row).z_VF, z_VF, rtol=1e-3, atol=1e-4)


def test_several_checkpoints_in_one_pass_are_as_one_by_one(table, made, tmp_path, monkeypatch):
    passes, real = [], scans.loader.eval_batches
    monkeypatch.setattr(scans.loader, "eval_batches", lambda *words: (passes.append(words), real(*words))[1])
    out = str(tmp_path / "one by one")
    for path in made.checkpoint:
        embed.embed(dataclasses.replace(made, checkpoint=[path], random_draws=0, out=out))
    assert len(passes) == 2
    alone, together = files(out), files(made.out)
    assert {*alone} < {*together}
    assert all(together[name] == data for name, data in alone.items())
    embed.embed(dataclasses.replace(made, out=out))  # what is there stays; the rest comes in one pass
    assert len(passes) == 3
    assert files(out) == together


def test_nothing_is_read_where_nothing_is_missing(table, made, monkeypatch):
    monkeypatch.setattr(scans.loader, "eval_batches", lambda *_: pytest.fail("shards were read again"))
    again = embed.embed(dataclasses.replace(made, layers=["2", "last"], pooling=["max"]))  # 2 is the last
    assert again.infos == table.infos


def test_a_batch_of_another_size_gives_the_same(table, made, tmp_path):
    other = embed.embed(dataclasses.replace(made, batch=1, pooling=["mean_std"], out=str(tmp_path)))
    for source in ("one-step-00000003", "two-step-00000004"):
        np.testing.assert_allclose(
            other.find(source).values_NF, table.find(source).values_NF, rtol=1e-4, atol=1e-5
        )


def test_the_only_checkpoint_needs_no_name(table, made, tmp_path):
    with pytest.raises(UsageError, match="2 features pretrained-last-max, want one"):
        table.find("pretrained", pooling="max")
    cfg = dataclasses.replace(made, checkpoint=made.checkpoint[:1], pooling=["max"], out=str(tmp_path))
    assert embed.embed(cfg).find("pretrained", pooling="max").info.source == "one-step-00000003"


def test_the_centre_alone_on_request(made, tmp_path):
    centre = embed.embed(dataclasses.replace(made, view="centre", pooling=["tokens"], out=str(tmp_path)))
    tokens = centre.find_tokens("one-step-00000003")
    assert tokens.read(0).place_V3.max(0).tolist() == [3, 2, 1]
    assert next(info.view for info in centre.infos.values()).startswith("centre crop, at most")


@pytest.mark.parametrize("view", ["whole", "centre"])
def test_scans_of_both_widths_have_the_features_of_eight_bits(made, tmp_path, view):
    """The same pictures, half of them in 12 bits: the same numbers, bit for bit."""
    counts, values = {"train": 3, "test": 2}, []
    for name, is_wide in (("eight", none_wide), ("mixed", odd_wide)):
        shards = write_dataset(tmp_path / name, counts, SHAPE, "a", is_wide=is_wide)
        cfg = dataclasses.replace(
            made, checkpoint=made.checkpoint[:1], shards=[shards], out=str(tmp_path / f"{name} out"),
            pooling=["mean_std"], random_draws=0, view=view, batch=2,
        )  # fmt: skip
        values.append(embed.embed(cfg).find("one-step-00000003").values_NF)
    np.testing.assert_array_equal(*values)


def test_the_site_comes_from_the_participants(made, table, tmp_path):
    lines = [f"{scan.participant}\tsite{n % 2}\n" for n, scan in enumerate(table.scans[:-1])]
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tclinical_site\n" + "".join(dict.fromkeys(lines))
    )
    cfg = dataclasses.replace(
        made, participants=str(tmp_path / "participants.tsv"), pooling=["mean"], out=str(tmp_path / "table")
    )
    assert {scan.site for scan in embed.embed(cfg).scans} == {"site0", "site1", ""}


def test_a_process_that_is_killed_goes_on_to_the_same_bytes(table, made, tmp_path):
    """SIGKILL from within, in the middle of the pass, with parts of every batch."""
    words = [
        f"checkpoint=[{','.join(made.checkpoint)}]", f"shards=[{','.join(made.shards)}]",
        f"out={tmp_path}/table", "layers=[last,1]", "pooling=[mean,mean_std,max,tokens]", "token_type=fp32",
        "random_draws=2", "batch=4", "device=cpu",
    ]  # fmt: skip
    code = (
        "import os, signal, sys\n"
        "from octshard.cli.main import cli\n"
        "from octshard.eval import extraction, token_files\n"
        "extraction.PART_S, left, real = 0, iter(range(11)), token_files.write\n"
        "def write(*words):\n"
        "    real(*words)\n"
        "    next(left, None) is not None or os.kill(os.getpid(), signal.SIGKILL)\n"
        "token_files.write = write\n"
        "cli(sys.argv[1:])\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, "eval", "embed", *words], capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert list((tmp_path / "table").rglob("*.tokens/*"))
    result = CliRunner().invoke(cli, ["eval", "embed", *words])
    assert result.exit_code == 0, result.output
    assert "11 scans, 32 sets of features" in result.output
    assert files(f"{tmp_path}/table") == files(made.out)


def test_a_scan_in_two_folders_is_the_users_fault(made, tmp_path):
    """Whatever its splits are there."""
    copy = write_dataset(tmp_path / "copy", {"train": 1}, device="a")
    with pytest.raises(UsageError, match=r"1 volumes stand in more than one folder.*train000-a"):
        embed.embed(dataclasses.replace(made, shards=[made.shards[0], copy], out=str(tmp_path / "table")))
    assert not (tmp_path / "table").exists()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"checkpoint": []}, "checkpoint: not set"),
        ({"checkpoint": [""]}, "checkpoint: not set"),
        ({"shards": []}, "shards: not set"),
        ({"out": ""}, "out: not set"),
        ({"layers": ["3"]}, "layers=3: one-step-00000003 has 2 blocks, want last or 1 to 2"),
        ({"layers": ["-1"]}, "layers=-1: one-step-00000003 has 2 blocks"),
        ({"layers": ["first"]}, "layers=first: one-step-00000003 has 2 blocks"),
        ({"pooling": ["median"]}, "pooling="),
    ],
)
def test_settings_that_cannot_be_are_one_line_before_anything_is_made(made, tmp_path, changes, line):
    cfg = dataclasses.replace(made, **{"out": str(tmp_path / "table"), **changes})
    with pytest.raises(UsageError) as error:
        embed.embed(cfg)
    assert line in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "table").exists()


def test_one_checkpoint_twice_is_the_users_fault(made, tmp_path):
    path = f"{made.checkpoint[0]}/checkpoints/step-00000003.pt"
    cfg = dataclasses.replace(made, checkpoint=[made.checkpoint[0], path], out=str(tmp_path / "table"))
    with pytest.raises(UsageError, match=r"is the same as .*want each once"):
        embed.embed(cfg)


def test_checkpoints_of_one_name_are_told_apart(made, tmp_path):
    other = write_checkpoint(tmp_path / "one", 3, "model.depth=1")
    cfg = dataclasses.replace(
        made, checkpoint=[made.checkpoint[0], other], pooling=["mean"], layers=["1"], random_draws=0,
        out=str(tmp_path / "table"),
    )  # fmt: skip
    names = sorted(info.name for info in embed.embed(cfg).infos.values())
    assert names == ["one-step-00000003-1-1-mean", "one-step-00000003-2-last-mean"]


def test_two_sources_of_one_name_are_the_users_fault(made, tmp_path):
    """Places in the list make names that a file may have already."""
    paths = [tmp_path / "a/run.pt", tmp_path / "b/a/run.pt", tmp_path / "a/run-2.pt"]
    for seed, path in enumerate(paths, 11):
        run = Path(write_checkpoint(tmp_path / f"run-{seed}", seed), "checkpoints", f"step-{seed:08d}.pt")
        path.parent.mkdir(parents=True, exist_ok=True)
        for form in (".pt", ".json"):
            path.with_suffix(form).write_bytes(run.with_suffix(form).read_bytes())
    cfg = dataclasses.replace(made, checkpoint=list(map(str, paths)), out=str(tmp_path / "table"))
    with pytest.raises(UsageError, match=r"b/a/run.pt and .*a/run-2.pt are both called a-run-2, want"):
        embed.embed(cfg)


def test_what_is_there_is_found_whatever_the_list_of_checkpoints(made, tmp_path, monkeypatch):
    """Tokens too; and the text says which checkpoint a name stands for."""
    other = write_checkpoint(tmp_path / "one", 3, "model.depth=1")
    cfg = dataclasses.replace(
        made, checkpoint=[made.checkpoint[0], other], pooling=["mean", "tokens"], layers=["1"],
        random_draws=0, out=str(tmp_path / "table"),
    )  # fmt: skip
    text = embed.embed(cfg).text()
    assert f"one-step-00000003-1-1-mean ({made.checkpoint[0]}/checkpoints/step-00000003.pt)" in text
    assert f"one-step-00000003-2-last-mean ({other}/checkpoints/step-00000003.pt)" in text
    before = files(cfg.out)
    monkeypatch.setattr(extraction, "_compute", lambda *_: pytest.fail("everything is there already"))
    turned = dataclasses.replace(cfg, checkpoint=cfg.checkpoint[::-1])
    assert embed.embed(turned).text() == text
    here = embed.fill(embed.open_embedding(turned), lambda *_: None)
    assert other in here.find("one-step-00000003-1", pooling="mean").info.checkpoint
    there = embed.embed(cfg)
    np.testing.assert_array_equal(
        here.find("one-step-00000003-1", pooling="mean").values_NF,
        there.find("one-step-00000003-2", pooling="mean").values_NF,
    )
    np.testing.assert_array_equal(
        here.find_tokens("one-step-00000003-1").read(0).z_VF,
        there.find_tokens("one-step-00000003-2").read(0).z_VF,
    )
    assert files(cfg.out) == before


def test_other_scans_want_another_folder(table, made):
    with pytest.raises(UsageError, match="holds the features of 11 other scans, want a folder for these 6"):
        embed.embed(dataclasses.replace(made, shards=made.shards[:1]))


def test_a_folder_that_takes_no_files_is_found_first(made, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OctshardError, match="file") as error:
        embed.embed(dataclasses.replace(made, out=str(tmp_path / "file")))
    assert "\n" not in str(error.value)
