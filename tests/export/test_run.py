"""`octshard export`: a whole folder that anybody can load, or one line."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import octshard
from octshard.cli import main
from octshard.dataset.participant_digests import digest_participants
from octshard.models import exported_encoder
from octshard.rng import rng_for
from octshard.storage import store, whole_folder
from tests.support.tiny_run import SHAPE, config_for, write_checkpoint

PREPARATION = {"target_spacing": [0.05, 0.02, 0.02], "image_size": [8, 32, 16], "fit": "crop_pad"}
SPACING = (0.05, 0.02, 0.02)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("export")
    return write_checkpoint(folder / "run", config_for("none", "none"), PREPARATION)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["octshard", "export", *words])
        status = 0
        try:
            main.main()
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        return status, *capsys.readouterr()

    return call


@pytest.mark.parametrize("scheme", ["", "memory://export"])
def test_the_folder_is_read_anywhere(run: str, tmp_path: Path, scheme: str, command) -> None:  # type: ignore[no-untyped-def]
    out = store.join(scheme or str(tmp_path), "out")
    status, said, _ = command(run, out)
    assert (status, said.split(": ")[0]) == (0, out)
    assert store.list_names(out) == ["README.md", "config.json", "model.safetensors"]
    before, after = octshard.load_encoder(run), octshard.load_encoder(out)
    voxels = rng_for("voxels").integers(0, 256, SHAPE, dtype=np.uint8)
    assert torch.equal(before.embed(voxels, SPACING), after.embed(voxels, SPACING))
    assert after.prep == before.prep
    again = store.join(scheme or str(tmp_path), "again")
    assert command(out, again)[0] == 0  # an export of an export is the same
    for name in store.list_names(out):
        assert store.read(store.join(again, name)) == store.read(store.join(out, name))


def test_a_second_one_is_refused_or_replaces(run: str, tmp_path: Path, command) -> None:  # type: ignore[no-untyped-def]
    out = str(tmp_path / "out")
    assert command(run, out, "--licence", "apache-2.0")[0] == 0
    first = store.read(store.join(out, "README.md"))
    status, _, line = command(run, out)
    assert (status, line.count("\n")) == (2, 1)
    assert "out: is there already (README.md, config.json, model.safetensors); want another" in line
    assert store.read(store.join(out, "README.md")) == first
    assert command(run, out, "--replace")[0] == 0
    assert store.read(store.join(out, "README.md")) != first
    assert os.listdir(tmp_path) == ["out"]


def test_people_go_along_where_they_are_asked_for(tmp_path: Path, command) -> None:  # type: ignore[no-untyped-def]
    known = digest_participants(["1001"], "salt").payload()
    run = write_checkpoint(tmp_path / "run", config_for("none", "none"), PREPARATION, participants=known)
    out, again = str(tmp_path / "out"), str(tmp_path / "again")
    assert command(run, out, "--people")[0] == 0
    assert "participants.json" in os.listdir(out)
    assert "`participants.json` holds salted digests" in (tmp_path / "out" / "README.md").read_text()
    assert command(out, again, "--people")[0] == 0
    for name in os.listdir(out):
        assert store.read(store.join(again, name)) == store.read(store.join(out, name))
    assert command(out, again, "--replace")[0] == 0
    assert sorted(os.listdir(again)) == ["README.md", "config.json", "model.safetensors"]
    assert "Who was trained on is not in this folder" in (tmp_path / "again" / "README.md").read_text()
    status, _, line = command(again, out, "--people", "--replace")
    assert (status, line.count("\n")) == (2, 1)
    assert "--people: " in line
    assert "again does not say whom it was trained on" in line
    assert "participants.json" in os.listdir(out)


def test_what_is_no_export_is_never_replaced(run: str, tmp_path: Path, command) -> None:  # type: ignore[no-untyped-def]
    status, _, line = command(run, run, "--replace")
    assert status == 2
    assert "run: holds 'checkpoints', which octshard did not write; want another folder" in line
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    (tmp_path / "model.safetensors").write_bytes(b"theirs")
    status, _, line = command(run, str(tmp_path), "--replace")
    assert (status, (tmp_path / "model.safetensors").read_bytes()) == (2, b"theirs")
    assert "its config.json is not octshard's; want another folder" in line


def test_one_that_was_cut_on_a_store_is_none_and_can_be_replaced(run: str, command) -> None:  # type: ignore[no-untyped-def]
    out = "memory://export_cut/out"
    store.write(f"{out}/model.safetensors", b"half")
    with pytest.raises(octshard.OctshardError, match=r"out: no checkpoint here, want .* octshard export"):
        octshard.load_encoder(out)
    assert command(run, out, "--replace")[0] == 0
    octshard.load_encoder(out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "{tmp}/out"], "nowhere: no checkpoint here"),
        (["{run}", ""], "OUT: empty, want a folder"),
        (["{run}", "{tmp}/file"], "file: a file, want a folder"),
        (["{run}", "{tmp}/out", "--licence", "CC BY 4.0"], "--licence='CC BY 4.0': want an id such as"),
        (["{run}", "{tmp}/out", "--licence", "a\nb"], r"--licence='a\nb': want an id"),
        (["{run}", "{tmp}/out", "--probe", "{tmp}/none.json"], "none.json: no such file, want a probe.json"),
        (["{run}", "{tmp}/out", "--probe", "{tmp}/file"], "file: not JSON"),
        (
            ["{run}", "{tmp}/out", "--probe", "{tmp}/probe.json"],
            "probe.json: of checkpoint 0123, want",
        ),
    ],
)
def test_an_error_is_one_line_and_leaves_nothing(  # type: ignore[no-untyped-def]
    run: str, tmp_path: Path, words: list[str], message: str, command
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "probe.json").write_text('{"checkpoint_digest": "0123"}')
    before = sorted(os.listdir(tmp_path))
    status, _, line = command(*(word.format(run=run, tmp=tmp_path) for word in words))
    assert status in (1, 2)
    assert message in line
    assert line.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == before


def test_a_full_disk_leaves_nothing(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command
) -> None:  # type: ignore[no-untyped-def]
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(whole_folder.os, "rename", refuse)
    status, _, line = command(run, str(tmp_path / "out"))
    assert (status, line.count("\n")) == (1, 1)
    assert "the disk is full" in line
    assert os.listdir(tmp_path) == []


def test_onnx_says_what_is_missing(  # type: ignore[no-untyped-def]
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command
) -> None:
    monkeypatch.setattr("octshard.export.onnx_model.find_spec", lambda name: None)
    status, _, line = command(run, str(tmp_path / "out"), "--onnx")
    assert status == 2
    assert "--onnx: onnx is not installed; " in line
    assert "onnx]" in line
    assert os.listdir(tmp_path) == []


def test_names_of_the_format_stay() -> None:
    """Folders are read for years: a new name is a new format."""
    assert exported_encoder.FORMAT == 1
    names = {"model.safetensors", "config.json", "README.md", "model.onnx", "participants.json"}
    assert names == exported_encoder.FILES
