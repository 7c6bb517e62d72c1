"""How far a fine-tuning is: its best epoch, its end, and whose state it goes on with."""

import math
from pathlib import Path

import pytest
import torch

from octshard.errors import UsageError
from octshard.eval.finetune import history
from octshard.eval.finetune.history import History
from octshard.models import checkpoint, run_checkpoint
from octshard.stream.sampler import StreamPosition


@pytest.mark.parametrize(
    ("scores", "best", "ended"),
    [
        ((), 0, False),
        ((0.5,), 1, False),
        ((math.nan, math.nan, math.nan), 0, False),  # none to be patient with
        ((0.5, 0.7, 0.7), 2, False),
        ((0.5, 0.7, 0.7, 0.6), 2, True),
        ((0.1, 0.2, 0.3, 0.4, 0.5), 5, True),
    ],
)
def test_the_best_epoch_is_the_first_of_equal_ones(scores: tuple[float, ...], best: int, ended: bool) -> None:
    past = History(scores)
    assert (past.best, past.ended(5, 2)) == (best, ended)


def test_the_newest_and_the_best_stay_and_the_newest_is_gone_on_with(tmp_path: Path) -> None:
    past, identity = History(), {"lr": "0.1"}
    for epoch, score in enumerate((0.5, 0.9, 0.3, 0.4), start=1):
        past = past.with_epoch(score, 1.0, StreamPosition(epoch - 1, 8))
        payload = {"config": "{}", "model": {"w": torch.full((2,), float(epoch))}, "samples_seen": 8 * epoch}
        history.write(str(tmp_path), past, identity, payload)
    assert [info.step for info in checkpoint.list_checkpoints(str(tmp_path))] == [2, 4]
    assert run_checkpoint.load(f"{tmp_path}/best")[1]["step"] == 2
    again, state = history.read(str(tmp_path), identity)
    assert again == past
    assert state is not None
    assert state["model"]["w"].tolist() == [4, 4]
    assert history.best_weights(str(tmp_path), past)["w"].tolist() == [2, 2]
    with pytest.raises(UsageError, match=r"holds a fine-tuning with lr=0\.1, this one has 0\.2"):
        history.read(str(tmp_path), {"lr": "0.2"})


def test_the_folder_of_a_training_run_is_not_written_into(tmp_path: Path) -> None:
    payload = {"format": checkpoint.FORMAT, "config": "{}", "model": {}, "step": 1, "samples_seen": 8}
    checkpoint.write(str(tmp_path), payload, None, milestone=False)
    with pytest.raises(UsageError, match="holds a training run, want another out"):
        history.read(str(tmp_path), {"lr": "0.1"})
    assert history.read(str(tmp_path / "new"), {"lr": "0.1"}) == (History(), None)


def test_what_was_written_before_losses_were_kept_goes_on(tmp_path: Path) -> None:
    record = {"identity": {}, "scores": [0.5, 0.6], "position": [1, 8]}
    payload = {"format": checkpoint.FORMAT, "config": "{}", "model": {}, "step": 2, "samples_seen": 8}
    checkpoint.write(str(tmp_path), {**payload, "finetune": record}, None, milestone=False)
    past, _ = history.read(str(tmp_path), {})
    assert (past.scores, past.position) == ((0.5, 0.6), StreamPosition(1, 8))
    assert [math.isnan(loss) for loss in past.losses] == [True, True]
    assert past.with_epoch(0.7, 0.25, past.position).losses[-1] == 0.25
