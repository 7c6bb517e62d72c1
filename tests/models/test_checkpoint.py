"""Checkpoint files of octshard 0.1 are read in today's words, with the same numbers."""

import contextlib
import dataclasses
import errno
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
import torch

from octshard.config.load import save
from octshard.config.train import TrainConfig
from octshard.models import checkpoint
from octshard.models.encoder import read_encoder
from octshard.stream.sampler import StreamPosition
from octshard.train import checkpointer, optim
from octshard.train.checkpointer import TrainState
from octshard.train.objectives import jepa
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
        model = jepa.build(cfg)
        state = TrainState(3, 12, StreamPosition(0, 12), model, optim.build(model, cfg.optim))
        payload = checkpointer.state_payload(state, cfg, {})
        old = as_0_1_wrote_it(payload, cfg)
        assert "shuffle_window" in str(old["config"])
        checkpoint.write(str(out), old, None, milestone=False)
        latest = checkpoint.latest(str(out))
        assert latest is not None
        assert latest.payload["format"] == checkpoint.FORMAT
        assert latest.payload["result_values"] == payload["result_values"]
        other = jepa.build(dataclasses.replace(cfg, run=dataclasses.replace(cfg.run, seed=9)))
        other_state = TrainState(0, 0, StreamPosition(0, 0), other, optim.build(other, cfg.optim))
        checkpointer.restore(latest.payload, other_state)
        for name, tensor in model.state_dict().items():
            assert torch.equal(other.state_dict()[name], tensor), name
        trained = read_encoder(str(out))
        assert trained.config == cfg
        assert torch.equal(trained.encoder.embed.weight, model.target_encoder.embed.weight)
