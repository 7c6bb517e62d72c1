"""Early stopping: a run ends when its probe has found nothing better for so many scores in a row."""

import math
from collections.abc import Mapping
from typing import Any

from octshard.config.run import LINEAR, ROBUSTNESS
from octshard.models.checkpoint_info import CheckpointScore
from octshard.train import metrics_log
from octshard.train.checkpointer import TrainState
from octshard.train.setup import Run

COLUMNS = {  # run.patience_by -> where a line of the log has the name and the value of a score
    LINEAR: ("probe", "probe_linear"),
    ROBUSTNESS: ("probe_nuisance", "probe_robustness"),
}


class Patience:
    """Counts the scores of probes since the best one. limit: as many end the run; 0: none does. Scores
    before `warmup` samples do not count, as the target encoder is the encoder there. by: a key of COLUMNS.
    """

    def __init__(self, limit: int, warmup: int, by: str = LINEAR) -> None:
        self._limit, self._warmup, self._by = limit, warmup, by
        self._best = CheckpointScore("", 0.0)
        self._best_step = self._worse = 0

    def add_line(self, line: Mapping[str, Any]) -> None:
        """That of a line of the log, if it has one."""
        name, value = (line.get(column) for column in COLUMNS[self._by])
        if name is not None:
            score = CheckpointScore(name, math.nan if value is None else value)  # null in the file
            self.add(line["step"], line["samples_seen"], score)

    def add(self, step: int, samples_seen: int, score: CheckpointScore) -> None:
        """One more score, nan the worst. One of another name, from other volumes or labels, begins anew."""
        if samples_seen < self._warmup:
            return
        if not math.isfinite(score.value):
            score = CheckpointScore(score.name, -math.inf)
        if score.name != self._best.name or score.value > self._best.value:
            self._best, self._best_step, self._worse = score, step, 0
        else:
            self._worse += 1

    @property
    def is_over(self) -> bool:
        """True if the run is to end."""
        return 0 < self._limit <= self._worse

    def text(self) -> str:
        """Why."""
        return (
            f"run.patience={self._limit}: {self._worse} scores in a row were no better than the "
            f"{self._best.value:.3f} of step {self._best_step} ({self._best.name})"
        )


def of_run(run: Run, state: TrainState) -> Patience:
    """As the metrics log has it at the step that the run goes on from. In all processes but the first, where
    there are no probes, one that never ends.
    """
    if not run.is_first or not run.cfg.run.patience:
        return Patience(0, 0)
    patience = Patience(run.cfg.run.patience, run.plan.length.warmup, run.cfg.run.patience_by)
    for line in metrics_log.read(run.cfg.run.out):
        if "probe" in line and line["step"] <= state.step:
            patience.add_line(line)
    return patience
