"""RUN/best and RUN/best-robustness: the files that the scores name, never another one."""

from pathlib import Path

import pytest
import torch

from octshard.errors import UsageError
from octshard.models import checkpoint, run_checkpoint
from octshard.models.checkpoint import DamagedCheckpoint
from octshard.models.checkpoint_info import CheckpointScore
from octshard.models.encoder import read_encoder
from octshard.models.initial_weights import read_weights
from octshard.train.checkpointer import add_score
from tests.support.tiny_run import config_for, write_checkpoint, write_dataset


def write(out: Path, step: int, score: float | None = None, robustness: float | None = None) -> None:
    payload = {"format": checkpoint.FORMAT, "step": step, "samples_seen": step, "config": "", "model": {}}
    checkpoint.write(str(out), payload, None, milestone=False)
    scores = (CheckpointScore("r2", score) if score is not None else None,)
    index = CheckpointScore("device", robustness) if robustness is not None else None
    add_score(str(out), step, *scores, index)


def step_of(place: Path) -> int:
    path, payload = run_checkpoint.load(str(place))
    assert path.endswith(f"step-{payload['step']:08d}.pt")
    return int(payload["step"])


def test_each_name_is_the_highest_of_its_score(tmp_path: Path) -> None:
    for step, score, robustness in ((1, 0.5, 0.1), (2, 0.9, 0.2), (3, 0.8, 0.7), (4, 0.1, 0.6)):
        write(tmp_path / "run", step, score, robustness)
    places = [tmp_path / "run", tmp_path / "run" / "best", tmp_path / "run" / "best-robustness"]
    assert [step_of(place) for place in places] == [4, 2, 3]


def test_a_run_of_that_name_is_a_run(tmp_path: Path) -> None:
    write(tmp_path / "best", 5)
    write(tmp_path / "best", 6)
    assert step_of(tmp_path / "best") == 6


def test_none_has_a_score(tmp_path: Path) -> None:
    write(tmp_path / "run", 1, 0.5)
    with pytest.raises(UsageError, match=r"none of the 1 checkpoints of .*run has a robustness index; want"):
        run_checkpoint.load(str(tmp_path / "run" / "best-robustness"))
    with pytest.raises(UsageError, match=r"none of the 0 checkpoints of .*nothing has a score"):
        run_checkpoint.load(str(tmp_path / "nothing" / "best"))


def test_a_damaged_one_is_not_replaced_by_another(tmp_path: Path) -> None:
    write(tmp_path / "run", 1, 0.5)
    write(tmp_path / "run", 2, 0.9)
    (tmp_path / "run" / "checkpoints" / "step-00000002.pt").write_bytes(b"nothing")
    with pytest.raises(DamagedCheckpoint, match=r"step-00000002\.pt"):
        run_checkpoint.load(str(tmp_path / "run" / "best"))


def test_encoders_and_first_weights_are_read_by_these_names(tmp_path: Path) -> None:
    shards = write_dataset(tmp_path / "d", {"train": 4})
    cfg = config_for(shards, tmp_path / "run", "run.samples_budget=4")
    write_checkpoint(tmp_path / "run", cfg)
    info = checkpoint.list_checkpoints(cfg.run.out)[-1]
    add_score(cfg.run.out, info.step, CheckpointScore("r2", 0.5), CheckpointScore("device", 0.5))
    newest = read_encoder(cfg.run.out)
    for name in run_checkpoint.NAMES:
        named = read_encoder(f"{cfg.run.out}/{name}")
        assert named.path == newest.path
        pairs = zip(named.encoder.parameters(), newest.encoder.parameters(), strict=True)
        assert all(torch.equal(*pair) for pair in pairs)
        assert read_weights(f"{cfg.run.out}/{name}").sha256 == newest.digest
