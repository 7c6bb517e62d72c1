"""A new run from given weights: a V-JEPA 2 file, a checkpoint, a run; what does not fit is named."""

import dataclasses
import io
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import octshard
from octshard.config.train import TrainConfig
from octshard.dataset import participant_digests
from octshard.errors import OctshardError, UsageError
from octshard.models import checkpoint
from octshard.models.encoder import read_encoder
from octshard.storage import store
from octshard.train import init_from, loop, setup
from octshard.train.objectives.build import CLASSES
from tests.support.log_lines import log_lines
from tests.support.tiny_run import config_for, write_dataset
from tests.support.vjepa2_file import Form, content, features

SHORT = ("run.samples_budget=8", "run.log_every_steps=1", "run.val_samples=0")  # 2 steps
STILL = ("optim.base_lr=0", "optim.final_lr=0")
ONE_SET = Form(mask_tokens=1)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("data") / "device", {"train": 21, "val": 9})


@pytest.fixture(scope="module")
def first(shards: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    out = tmp_path_factory.mktemp("first") / "run"
    loop.train(config_for(shards, out, *SHORT))
    return out


def payload_of(out: Path) -> dict[str, Any]:
    return checkpoint.load_newest(str(out))[1]


def file_at(path: Path, values: Any) -> Path:
    torch.save(values, path)
    return path


def test_a_v_jepa_2_file_gives_the_features_of_the_same_weights_computed_plainly(
    shards: str, tmp_path: Path
) -> None:
    """A step of lr 0 later, from the run's checkpoint; encoder and target encoder are the file's target."""
    file = content(ONE_SET)
    path = file_at(tmp_path / "vitl.pt", file)
    with log_lines() as lines:
        loop.train(config_for(shards, tmp_path / "run", *SHORT, *STILL, f"run.init_from={path}"))
    trained = read_encoder(str(tmp_path / "run"))
    volume = np.random.default_rng(0).standard_normal((8, 32, 16)).astype(np.float32)
    with torch.no_grad():
        ours = trained.encoder(torch.from_numpy(volume)[None, None])[0].numpy()
    theirs = features(file["target_encoder"], 2, volume)
    assert np.abs(theirs).max() > 1
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    model = payload_of(tmp_path / "run")["model"]
    for name in (name for name in model if name.startswith("encoder.")):
        assert torch.equal(model[name], model[f"target_{name}"])
    assert torch.equal(
        model["predictor.tokens_SF"], file["predictor"]["module.backbone.mask_tokens.0"].flatten(0, 1)
    )
    assert torch.equal(
        model["predictor.blocks.0.mlp.0.weight"],
        file["predictor"]["module.backbone.predictor_blocks.0.mlp.fc1.weight"],
    )
    told = "\n".join(lines)
    assert f"begins with the target_encoder of {path}; optimizer, step and order begin anew" in told
    assert "patch embedding of 3 channels, summed, and 2 x 8 x 8 voxels, taken to 2 x 8 x 8" in told
    assert "not taken, as nothing here is like it: pos_embed" in told
    assert "is new" not in told


def test_a_longer_tubelet_sees_a_volume_of_doubled_slices_as_the_file_saw_its_own(
    shards: str, tmp_path: Path
) -> None:
    path = file_at(tmp_path / "vitl.pt", file := content(ONE_SET))
    longer = ("model.patch=[4,8,8]", "model.image_size=[16,32,16]", f"run.init_from={path}")
    loop.train(config_for(shards, tmp_path / "run", *SHORT, *STILL, *longer))
    volume = np.random.default_rng(0).standard_normal((8, 32, 16)).astype(np.float32)
    doubled = torch.from_numpy(volume.repeat(2, 0))[None, None]
    with torch.no_grad():
        ours = read_encoder(str(tmp_path / "run")).encoder(doubled)[0].numpy()
    np.testing.assert_allclose(ours, features(file["target_encoder"], 2, volume), rtol=1e-4, atol=1e-4)


def test_a_run_begins_with_the_target_encoder_and_predictor_of_another(
    shards: str, first: Path, tmp_path: Path
) -> None:
    cfg = config_for(shards, tmp_path, *SHORT, *STILL, f"run.init_from={first}", "run.seed=5")
    loop.train(cfg)
    ours, theirs = payload_of(tmp_path), payload_of(first)
    for name, tensor in ours["model"].items():
        source = name if name.startswith("predictor.") else f"target_encoder.{name.split('.', 1)[1]}"
        assert torch.equal(tensor, theirs["model"][source]), name
    assert (ours["step"], ours["samples_seen"], ours["position"][1]) == (2, 8, 8)
    origin = ours["init_from"]
    file = first / "checkpoints" / "step-00000002.pt"
    assert origin["path"] == str(file)
    assert origin["sha256"] == checkpoint.read_info(str(file.with_suffix(".json"))).sha256
    assert (origin["step"], origin["samples_seen"], origin["new"]) == (2, 8, [])
    config = json.loads((tmp_path / "run.json").read_text())["config"]
    assert config["init_from"] == origin
    assert config["run.init_from"] == str(first)
    assert f"init_from: {first}" in (tmp_path / "config.yaml").read_text()
    third = config_for(shards, tmp_path / "third", *SHORT, f"run.init_from={tmp_path}")
    loop.train(third)
    assert payload_of(tmp_path / "third")["init_from"]["init_from"] == origin


def test_a_run_begins_with_an_export(shards: str, first: Path, tmp_path: Path) -> None:
    octshard.load_encoder(first).save_pretrained(tmp_path / "export")
    with log_lines() as lines:
        loop.train(config_for(shards, tmp_path, *SHORT, *STILL, f"run.init_from={tmp_path / 'export'}"))
    ours, theirs = payload_of(tmp_path), payload_of(first)
    for name, tensor in theirs["model"].items():
        if name.startswith("target_encoder."):
            assert torch.equal(ours["model"][name], tensor), name
    assert any("the predictor is new" in line for line in lines)
    assert any("does not say who it was trained on" in line for line in lines)
    assert ours["participants"] is None


@pytest.mark.parametrize("source", CLASSES)
def test_every_objective_gives_its_weights_to_itself_and_its_encoder_to_all_others(
    shards: str, tmp_path: Path, source: str
) -> None:
    words = (*SHORT, *STILL, "model.depth=4", "run.samples_budget=4")
    given = tmp_path / source
    loop.train(config_for(shards, given, *words, f"objective.name={source}"))
    theirs = payload_of(given)["model"]
    prefix = "target_encoder." if "target_encoder.norm.bias" in theirs else "encoder."
    for name in CLASSES:
        out = tmp_path / f"to_{name}"
        objective = f"objective.name={name}"
        loop.train(config_for(shards, out, *words, objective, f"run.init_from={given}", "run.seed=3"))
        payload = payload_of(out)
        assert (payload["init_from"]["new"] == []) == (name == source)
        for key, tensor in payload["model"].items():
            if "encoder." in key:
                assert torch.equal(tensor, theirs[prefix + key.split("encoder.")[1]]), key
            elif name == source:
                assert torch.equal(tensor, theirs[key]), key


def test_it_goes_on_without_what_it_began_with_and_remembers_everybody(
    shards: str, first: Path, tmp_path: Path
) -> None:
    """The first run saw other people; the file is gone when the second one is resumed."""
    gone = tmp_path / "gone"
    shutil.copytree(first, gone)
    others = write_dataset(tmp_path / "others" / "device", {"train": 33, "val": 4}, device="late")
    words = (f"run.init_from={gone}", "run.checkpoint_every_epochs=0.1")
    out = tmp_path / "second"
    cfg = config_for(others, out, "run.samples_budget=16", "run.val_samples=0", *words)
    stop_at_two(cfg)
    origin = payload_of(out)["init_from"]
    shutil.rmtree(gone)
    assert loop.train(cfg).step == 4
    assert payload_of(out)["init_from"] == origin
    people = participant_digests.from_payload(payload_of(out)["participants"])
    assert people is not None
    everybody = {f"train{i:03d}" for i in range(33)}
    assert people.members(everybody | {"val000"}) == everybody
    with pytest.raises(UsageError, match=r"run.init_from: '.*gone' -> ''; set them back"):
        loop.train(config_for(others, out, "run.samples_budget=16", "run.val_samples=0", words[1]))


def stop_at_two(cfg: TrainConfig) -> None:
    def on_progress(step: int, total: int, note: str) -> None:
        if step == 2:
            signal.raise_signal(signal.SIGTERM)

    assert loop.train(cfg, on_progress).stopped


def test_people_of_val_whom_the_weights_were_trained_on_are_counted(
    shards: str, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = participant_digests.digest_participants(["val000", "val001", "x"], "salt")
    monkeypatch.setattr(init_from, "read_weights", with_participants(digests))
    with log_lines() as lines:
        loop.train(config_for(shards, tmp_path, *SHORT, f"run.init_from={first}"))
    assert any("2 of the 9 val participants were trained on before" in line for line in lines)


def test_who_nobody_knows_stays_unknown(
    shards: str, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init_from, "read_weights", with_participants(None))
    with log_lines() as lines:
        loop.train(config_for(shards, tmp_path, *SHORT, f"run.init_from={first}"))
    assert any("does not say who it was trained on" in line for line in lines)
    assert payload_of(tmp_path)["participants"] is None


def with_participants(participants: Any) -> Callable[[str], Any]:
    read = init_from.read_weights
    return lambda path: dataclasses.replace(read(path), participants=participants)


@pytest.mark.parametrize(
    ("words", "warnings"),
    [
        (
            ("objective.masks=[{context: 6, target: 5}, {context: 6, target: 5}]",),
            ["the mask token of objective.masks[1] is new: the file has 1"],
        ),
        (
            ("predictor.depth=2",),
            ["the predictor is new: of blocks.1.attention.out.bias the file has none, want 24"],
        ),
        (
            ("predictor.width=36",),
            ["the predictor is new: of blocks.0.attention.out.bias the file has 24, want 36"],
        ),
        (("predictor.heads=4",), ["the predictor is new: the file's has 2 heads, predictor.heads=4"]),
        (("objective.name=byol",), ["the predictor is new: the file's is of objective vjepa2"]),
        (("objective.name=mae",), ["the predictor is new: the file's is of objective vjepa2"]),
        (("model.image_size=[12,40,16]",), []),
    ],
)
def test_what_is_left_new_is_named(
    shards: str, first: Path, tmp_path: Path, words: tuple[str, ...], warnings: list[str]
) -> None:
    with log_lines() as lines:
        loop.train(config_for(shards, tmp_path, *SHORT, f"run.init_from={first}", *words))
    assert [line for line in lines if "new: " in line] == [f"WARNING run.init_from: {w}" for w in warnings]
    assert payload_of(tmp_path)["init_from"]["new"] == [f"run.init_from: {w}" for w in warnings]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("model.width=36",), "model.width=36, its encoder has 24; want the same"),
        (("model.depth=3",), "model.depth=3, its encoder has 2 blocks"),
        (("model.heads=4",), "model.heads=4, its encoder has 2"),
        (("model.position=sincos",), "model.position=sincos, its encoder has rope"),
        (("model.attention=divided",), "model.attention=divided, its encoder has joint"),
        (("model.mlp_ratio=2",), r"model.mlp_ratio=2 \(48 features\), its encoder has 96"),
        (("model.width=36", "model.depth=1"), "model.width=36, its .*; model.depth=1, its encoder has 2"),
    ],
)
def test_an_encoder_that_does_not_fit_is_named_before_anything_is_allocated(
    shards: str,
    first: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.setattr(setup, "build", lambda cfg: pytest.fail("allocated"))
    with pytest.raises(UsageError, match=message):
        loop.train(config_for(shards, tmp_path, *SHORT, f"run.init_from={first}", *words))


def broken(change: Callable[[dict[str, torch.Tensor]], Any]) -> dict[str, Any]:
    file = content(ONE_SET)
    change(file["target_encoder"])
    return file


AT = "module.backbone."


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (broken(lambda w: w.pop(f"{AT}norm.bias")), "has no norm.bias, which the encoder"),
        (
            broken(lambda w: w.update({f"{AT}norm.bias": torch.ones(25)})),
            "norm.bias is 25, this run's encoder wants 24",
        ),
        (
            broken(lambda w: w.update({f"{AT}norm.bias": torch.full((24,), float("nan"))})),
            "norm.bias holds numbers that are not finite",
        ),
        (
            broken(lambda w: w.update({f"{AT}blocks.7.norm1.bias": torch.ones(24)})),
            "model.depth=2, its encoder has 3 blocks",
        ),
        ([1, 2], "holds a list, want weights by name"),
        ({"format": 2, "config": "", "step": 3}, r"no finished checkpoint here, want a .pt and its .json"),
    ],
)
def test_a_file_that_holds_something_else_is_named(
    shards: str, tmp_path: Path, values: Any, message: str
) -> None:
    path = file_at(tmp_path / "x.pt", values)
    with pytest.raises(UsageError, match=message) as error:
        loop.train(config_for(shards, tmp_path / "run", *SHORT, f"run.init_from={path}"))
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_bytes_that_are_no_weights_and_places_that_hold_none_are_named(
    shards: str, first: Path, tmp_path: Path
) -> None:
    whole = io.BytesIO()
    torch.save(content(ONE_SET), whole)
    bad = {
        "text.pt": b"not weights",
        "empty.pt": b"",
        "cut.pt": whole.getvalue()[:5000],
        "code.pt": b"cos\nsystem\n(S'exit 1'\ntR.",
    }
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder.pt").mkdir()
    for name in (*bad, "folder.pt", "none.pt", "nothing", "text.txt"):
        with pytest.raises(OctshardError, match=name) as error:
            loop.train(config_for(shards, tmp_path / "run", *SHORT, f"run.init_from={tmp_path / name}"))
        assert "\n" not in str(error.value)
        assert isinstance(error.value, UsageError), name
        assert str(error.value).startswith("run.init_from: "), name
    damaged = tmp_path / "damaged"
    shutil.copytree(first, damaged)
    file = damaged / "checkpoints" / "step-00000002.pt"
    file.write_bytes(file.read_bytes()[:-9] + b"otherwise")
    with pytest.raises(OctshardError, match="the file is damaged"):
        loop.train(config_for(shards, tmp_path / "run", *SHORT, f"run.init_from={damaged}"))


def test_weights_and_runs_are_read_from_a_store(shards: str, first: Path, tmp_path: Path) -> None:
    data = io.BytesIO()
    torch.save(content(ONE_SET), data)
    store.write("memory://weights/vitl.pt", data.getvalue())
    for path in (first / "checkpoints").iterdir():
        store.write(f"memory://weights/run/checkpoints/{path.name}", path.read_bytes())
    for number, url in enumerate(("memory://weights/vitl.pt", "memory://weights/run")):
        loop.train(config_for(shards, tmp_path / str(number), *SHORT, f"run.init_from={url}"))
        assert payload_of(tmp_path / str(number))["init_from"]["path"].startswith(url)
