"""Checkpoint files: those of octshard 0.1 in today's words, damage named, the newest or none."""

import contextlib
import dataclasses
import errno
import hashlib
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
import torch

from octshard.config.load import save
from octshard.config.train import TrainConfig
from octshard.errors import OctshardError, UsageError
from octshard.models import checkpoint
from octshard.models.checkpoint import DamagedCheckpoint
from octshard.models.encoder import read_encoder
from octshard.stream.sampler import StreamPosition
from octshard.train import checkpointer, optim
from octshard.train.checkpointer import TrainState
from octshard.train.objectives.build import build
from tests.support.tiny_run import config_for

OLD_PARAMETERS = {"predictor.proj_in.": "predictor.into.", "predictor.proj_out.": "predictor.back."}


def as_0_1_wrote_it(payload: dict[str, object], cfg: TrainConfig) -> dict[str, object]:
    """The payload in the names of format 1."""
    text = save(cfg).replace("shuffle_block_size:", "shuffle_window:").replace("name: byol", "name: seed")
    values = dict(payload["result_values"])  # type: ignore[call-overload]
    values["data.shuffle_window"] = values.pop("data.shuffle_block_size")
    values["objective.name"] = "seed" if cfg.objective.name == "byol" else cfg.objective.name
    model = {}
    for name, tensor in payload["model"].items():  # type: ignore[attr-defined]
        for new, old in OLD_PARAMETERS.items():
            name = name.replace(new, old)
        model[name] = tensor
    return {**payload, "format": 1, "config": text, "result_values": values, "model": model}


class FullFile(BytesIO):
    """A file on a disk with room for 1,000 bytes."""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        if self.tell() + len(data) > 1000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_a_full_disk_is_the_error_and_not_what_torch_makes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def open_write(url: str) -> Iterator[FullFile]:
        yield FullFile()

    monkeypatch.setattr(checkpoint.store, "open_write", open_write)
    payload = {"step": 1, "samples_seen": 1, "model": {"weight": torch.zeros(5000)}}
    with pytest.raises(OSError, match="No space left on device"):
        checkpoint.write("run", payload, None, milestone=False)


def test_a_checkpoint_of_format_1_is_read_in_todays_names(tmp_path: Path) -> None:
    for objective in ("vjepa2", "byol"):
        out = tmp_path / objective
        cfg = config_for("shards", out, f"objective.name={objective}", "run.epochs=1")
        model = build(cfg)
        state = TrainState(3, 12, StreamPosition(0, 12), model, optim.build(model, cfg.optim))
        payload = checkpointer.state_payload(state, cfg, {})
        old = as_0_1_wrote_it(payload, cfg)
        assert "shuffle_window" in str(old["config"])
        checkpoint.write(str(out), old, None, milestone=False)
        latest = checkpoint.latest(str(out))
        assert latest is not None
        assert latest.payload["format"] == checkpoint.FORMAT
        assert latest.payload["result_values"] == payload["result_values"]
        other = build(dataclasses.replace(cfg, run=dataclasses.replace(cfg.run, seed=9)))
        other_state = TrainState(0, 0, StreamPosition(0, 0), other, optim.build(other, cfg.optim))
        checkpointer.restore(latest.payload, other_state)
        for name, tensor in model.state_dict().items():
            assert torch.equal(other.state_dict()[name], tensor), name
        trained = read_encoder(str(out))
        assert trained.config == cfg
        assert torch.equal(trained.encoder.embed.weight, model.target_encoder.embed.weight)


def put(out: Path, step: int, **more: object) -> Path:
    """A small checkpoint of a run folder."""
    payload = {
        "format": checkpoint.FORMAT,
        "config": "",
        "model": {},
        "step": step,
        "samples_seen": step,
        **more,
    }
    checkpoint.write(str(out), payload, None, milestone=False)
    return out / checkpoint.FOLDER / f"step-{step:08d}.pt"


def resigned(path: Path, data: bytes) -> None:
    """Other bytes in a checkpoint, with a .json that says that they are right."""
    path.write_bytes(data)
    record = path.with_suffix(".json")
    values = json.loads(record.read_text())
    record.write_text(json.dumps({**values, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}))


def test_the_newest_is_loaded_with_its_path(tmp_path: Path) -> None:
    put(tmp_path, 99_999_999)
    newest = put(tmp_path, 100_000_000)  # by step, not by name
    path, payload = checkpoint.load_newest(str(tmp_path))
    assert (path, payload["step"]) == (str(newest), 100_000_000)
    latest = checkpoint.latest(str(tmp_path))
    assert latest is not None
    assert latest.info.step == 100_000_000


@pytest.mark.parametrize(
    "damage",
    ["cut", "empty", "flipped", "gone", "no record", "empty record", "another step", "nested record"],
)
def test_no_older_checkpoint_stands_in_for_the_newest(tmp_path: Path, damage: str) -> None:
    older, newest = put(tmp_path, 3), put(tmp_path, 7)
    data, record = newest.read_bytes(), newest.with_suffix(".json")
    if damage in ("cut", "empty", "flipped"):
        at = len(data) // 2
        damaged = {"cut": data[:at], "empty": b"", "flipped": data[:at] + b"\x55" + data[at + 1 :]}
        newest.write_bytes(damaged[damage])
    elif damage == "gone":
        newest.unlink()
    elif damage == "no record":
        record.unlink()
    elif damage == "another step":
        newest.write_bytes(older.read_bytes())
        record.write_bytes(older.with_suffix(".json").read_bytes())
    else:
        record.write_text("" if damage == "empty record" else "[" * 100_000)
    with pytest.raises(
        OctshardError, match=r"step-00000007\.(pt|json): .*to take an older one, .*: .*step-00000003\.pt$"
    ) as error:
        checkpoint.load_newest(str(tmp_path))
    assert "\n" not in str(error.value)
    assert checkpoint.load(str(older))["step"] == 3


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"\x80\x02.",
        b"\x80\x02K\x01.",
        b"PK\x05\x06" + bytes(18),
        b"\x80\x02cos\nsystem\n(S'echo'\ntR.",
    ],
    ids=["empty", "one byte", "pickle of nothing", "pickle of 1", "empty zip", "pickle that calls"],
)
def test_bytes_that_are_no_checkpoint_are_damage_even_with_their_digest(tmp_path: Path, data: bytes) -> None:
    older, newest = put(tmp_path, 3), put(tmp_path, 7)
    resigned(newest, data)
    with pytest.raises(
        DamagedCheckpoint, match=r"step-00000007\.pt: (\d+ bytes that torch|holds no)"
    ) as error:
        checkpoint.load(str(newest))
    assert "\n" not in str(error.value)
    latest = checkpoint.latest(str(tmp_path))
    assert latest is not None
    assert (latest.info.step, len(latest.damaged)) == (3, 1)
    assert older.exists()


@pytest.mark.parametrize("key", ["format", "step", "samples_seen", "config", "model"])
def test_a_payload_that_lacks_something_is_damage(tmp_path: Path, key: str) -> None:
    path = put(tmp_path, 3)
    payload = torch.load(path, weights_only=True)
    file = BytesIO()
    torch.save({**payload, key: None}, file)
    resigned(path, file.getvalue())
    with pytest.raises(DamagedCheckpoint, match=f"holds no {key}"):
        checkpoint.load(str(path))


def test_a_strangers_checkpoint_reads_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    for version in (1, checkpoint.FORMAT):
        for text in ("model: {width: '${oc.env:SECRET}'}", "run: {out: '${oc.env:SECRET}'}"):
            path = put(tmp_path, version, format=version, config=text, result_values={})
            with pytest.raises(UsageError, match="is an interpolation") as error:
                read_encoder(str(path))
            assert "hunter2" not in str(error.value)


def test_what_octshard_0_1_did_not_write_is_damage(tmp_path: Path) -> None:
    for more in ({}, {"result_values": 7}, {"result_values": {}, "config": "[a"}):
        path = put(tmp_path, 3, format=1, **more)
        with pytest.raises((DamagedCheckpoint, UsageError), match="step-00000003") as error:
            checkpoint.load(str(path))
        assert "\n" not in str(error.value)


def test_weights_of_another_encoder_are_one_line(tmp_path: Path) -> None:
    cfg = config_for("shards", tmp_path)
    weights = {checkpoint.TARGET_ENCODER + "embed.weight": torch.zeros(1)}
    for more in ({"model": {}}, {"model": weights}):
        path = put(tmp_path, 3, config=save(cfg), **more)
        with pytest.raises(DamagedCheckpoint, match="do not fit it") as error:
            read_encoder(str(path))
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 400


def test_a_record_without_a_score_as_octshard_0_1_wrote_it_is_read(tmp_path: Path) -> None:
    cfg = config_for("nowhere", tmp_path / "run", "run.epochs=1")
    model = build(cfg)
    state = TrainState(1, 4, StreamPosition(0, 4), model, optim.build(model, cfg.optim))
    info = checkpoint.write(cfg.run.out, checkpointer.state_payload(state, cfg, {}), 0.5, milestone=True)
    path = tmp_path / "run" / "checkpoints" / "step-00000001.json"
    values = json.loads(path.read_text())
    assert (values.pop("score"), values.pop("score_name")) == (None, "")
    path.write_text(json.dumps(values))
    latest = checkpoint.latest(cfg.run.out)
    assert latest is not None
    assert latest.info == info
