"""Early stopping: what counts, by hand, and a run that ends by it."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from octshard.errors import UsageError
from octshard.models import checkpoint
from octshard.models.checkpoint_info import CheckpointScore
from octshard.probes.task import ProbeScores
from octshard.train import loop, metrics_log, prober
from octshard.train.patience import Patience
from octshard.train.prober import Snapshot, SnapshotResult
from tests.support.log_lines import log_lines
from tests.support.tiny_run import config_for, write_dataset


def after(values: list[float], limit: int = 2, warmup: int = 0, names: str = "") -> bool:
    patience = Patience(limit, warmup)
    for number, value in enumerate(values):
        patience.add(number, 10 * number, CheckpointScore(names[number] if names else "r2", value))
    return patience.is_over


@pytest.mark.parametrize(
    ("values", "over"),
    [
        ([], False),
        ([0.5, 0.4], False),
        ([0.5, 0.4, 0.3], True),
        ([0.5, 0.5, 0.5], True),  # an equal one is no better
        ([0.5, 0.4, 0.6, 0.5], False),  # a better one begins anew
        ([0.5, 0.4, 0.6, 0.5, 0.6], True),
        ([-2.0, -3.0, -3.0], True),
    ],
)
def test_scores_that_are_no_better_are_counted(values: list[float], over: bool) -> None:
    assert after(values) == over


def test_none_ends_a_run_by_default() -> None:
    assert not after([0.5] * 9, limit=0)


def test_scores_before_the_end_of_the_warm_up_do_not_count() -> None:
    assert after([0.9, 0.5, 0.4, 0.4])
    assert not after([0.9, 0.5, 0.4, 0.4], warmup=20)


def test_a_score_of_another_name_begins_anew() -> None:
    assert not after([0.9, 0.5, 0.4], names="aab")


def test_what_is_counted_is_a_choice_and_a_score_that_is_none_is_no_better() -> None:
    """As metrics.jsonl has the lines: null where the index is not defined."""
    lines = [
        {
            "step": n, "samples_seen": n, "probe": "r2", "probe_linear": float(n),
            "probe_nuisance": "site", "probe_robustness": value,
        }
        for n, value in enumerate([None, 0.4, None, 0.3])
    ]  # fmt: skip
    by_index, by_score = Patience(2, 0, "robustness"), Patience(2, 0)
    for line in lines:
        by_index.add_line(line)
        by_score.add_line(line)
    assert (by_index.is_over, by_score.is_over) == (True, False)
    assert "0.400 of step 1 (site)" in by_index.text()


def test_a_line_without_an_index_is_not_counted() -> None:
    patience = Patience(1, 0, "robustness")
    for n in range(5):
        patience.add_line({"step": n, "samples_seen": n, "probe": "r2", "probe_linear": 0.5})
    assert not patience.is_over


def test_patience_without_probes_is_refused(tmp_path: Path) -> None:
    shards = write_dataset(tmp_path / "d", {"train": 4, "val": 2})
    with pytest.raises(
        UsageError, match=r"run.patience=2: it counts scores of probes, and run.probe_every is 0"
    ):
        loop.train(config_for(shards, tmp_path / "run", "run.samples_budget=8", "run.patience=2"))


class InstantProber:
    """Judges each snapshot at once, by its step."""

    def __init__(self, score_of: Callable[[int], float]) -> None:
        self._score_of, self._waiting = score_of, list[Snapshot]()

    def submit(self, snapshot: Snapshot) -> None:
        self._waiting.append(snapshot)

    def results(self) -> list[SnapshotResult]:
        snapshots, self._waiting = self._waiting, []
        return [
            SnapshotResult(
                each.step, each.samples_seen, "r2", ProbeScores(0.0, self._score_of(each.step)),
                ProbeScores(0.0, 0.0), 0.1,
            )
            for each in snapshots
        ]  # fmt: skip

    def finish(self, is_stopped: Callable[[], bool]) -> None:
        pass


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores rise up to step 4."""

    @contextlib.contextmanager
    def open_prober(*_: Any) -> Iterator[InstantProber]:
        yield InstantProber(lambda step: 0.5 - 0.01 * abs(step - 4))

    monkeypatch.setattr(prober, "open_prober", open_prober)
    monkeypatch.setattr(prober, "make_task", lambda *_: None)


@pytest.mark.usefixtures("judged")
def test_a_run_ends_when_its_patience_does_and_goes_on_with_more(tmp_path: Path) -> None:
    shards, out = write_dataset(tmp_path / "d", {"train": 21, "val": 2}), tmp_path / "run"
    words = ["run.samples_budget=80", "run.probe_every=8", "run.log_every_steps=1"]

    def train(patience: int) -> tuple[loop.Outcome, list[str]]:
        with log_lines() as lines:
            return loop.train(config_for(shards, out, *words, f"run.patience={patience}")), lines

    outcome, lines = train(2)
    probed = [line["step"] for line in metrics_log.read(str(out)) if "probe" in line]
    assert probed == [2, 4, 6, 8]  # two are worse than step 4
    assert (outcome.step, outcome.ended_early, outcome.stopped, outcome.stop_signal) == (9, True, False, -1)
    assert checkpoint.list_checkpoints(str(out))[-1].step == 9  # saved where it ended
    end = f"{out}: ended early at step 9 of 20: run.patience=2: 2 scores in a row were no better than the"
    assert any(f"{end} 0.500 of step 4 (r2)" in line for line in lines)
    again, lines = train(2)
    assert (again.step, again.ended_early) == (9, True)
    assert any("ended early at step 9" in line for line in lines)
    further, _ = train(4)
    assert (further.step, further.ended_early) == (13, True)
    whole, _ = train(0)
    assert (whole.step, whole.ended_early) == (20, False)


@pytest.mark.usefixtures("judged")
def test_scores_of_the_warm_up_make_no_checkpoint_the_best(tmp_path: Path) -> None:
    """They are logged all the same. Of 20 steps 12 are warm-up, and step 4 would be the best."""
    shards, out = write_dataset(tmp_path / "d", {"train": 20, "val": 20}), tmp_path / "run"
    words = ["run.samples_budget=80", "run.probe_every=8", "optim.warmup_epochs=2.4", "run.val_samples=9"]
    loop.train(config_for(shards, out, *words, "run.checkpoint_every_epochs=0.8", "run.keep_last=9"))
    infos = checkpoint.list_checkpoints(str(out))
    assert [(info.step, info.score is None) for info in infos] == [
        (4, True), (8, True), (12, False), (16, False), (20, False),
    ]  # fmt: skip
    lines = metrics_log.read(str(out))
    assert [line["step"] for line in lines if "skill" in line] == [4, 8, 12, 16, 20]
    assert 4 in [line["step"] for line in lines if "probe" in line]
