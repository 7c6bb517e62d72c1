"""Which checkpoint is the best: that with the best probe, else the best skill, never one by its loss."""

import pytest

from octshard.models import checkpoint_info
from octshard.models.checkpoint_info import SKILL, CheckpointInfo, CheckpointScore


def info(step: int, score: CheckpointScore | None = None, val_loss: float = 1.0) -> CheckpointInfo:
    return checkpoint_info.with_score(CheckpointInfo(f"{step}", step, step, "", 0, val_loss, False), score)


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([], None),
        ([None, None], None),
        ([(SKILL, 0.1), (SKILL, 0.3), (SKILL, 0.2)], 1),
        ([(SKILL, -0.3), (SKILL, -0.1)], 1),
        ([(SKILL, 0.2), (SKILL, 0.2)], 0),  # the older of equals: there is less to unlearn
        ([None, (SKILL, 0.1), None], 1),
        ([(SKILL, 0.9), ("r2", 0.1), (SKILL, 0.8)], 1),
        ([("r2", 0.3), ("r2", 0.4), (SKILL, 0.8)], 1),
        ([("skill, 1234", 0.9), ("skill, 5678", 0.2), ("skill, 5678", 0.1)], 1),  # of other volumes
        ([("r2", 0.3), ("skill, 1234", 0.8)], 0),
        ([("auroc", 0.9), ("r2", 0.1), ("r2", 0.2), (SKILL, 0.8)], 2),  # of two probes, the newest's
        ([(SKILL, float("nan")), (SKILL, float("inf")), (SKILL, 0.1)], 2),
    ],
)  # fmt: skip
def test_the_best(scores: list[tuple[str, float] | None], best: int | None) -> None:
    infos = [info(step, score and CheckpointScore(*score), -step) for step, score in enumerate(scores)]
    chosen = checkpoint_info.best(infos)
    assert (chosen and chosen.step) == best


def test_a_later_score_takes_the_place_of_the_first_and_no_number_takes_none() -> None:
    first = info(1, CheckpointScore(SKILL, 0.5))
    assert checkpoint_info.with_score(first, CheckpointScore("r2", 0.1)) == info(
        1, CheckpointScore("r2", 0.1)
    )
    assert checkpoint_info.with_score(first, CheckpointScore("r2", float("nan"))) == first
    assert checkpoint_info.with_score(first, None) == first


def test_the_most_robust_is_of_the_newest_name() -> None:
    """A higher one by another nuisance, or from other volumes, does not count; nan is none."""
    infos = [
        checkpoint_info.with_robustness(info(step, None, None), CheckpointScore(name, value))
        for step, (name, value) in enumerate(
            [("device", 0.9), ("site", 0.4), ("site", 0.6), ("site", 0.5), ("site", float("nan"))]
        )
    ]
    chosen = checkpoint_info.best_robustness(infos)
    assert chosen is not None
    assert (chosen.name, chosen.robustness, chosen.score) == ("2", 0.6, None)
    assert infos[-1].robustness is None
    assert checkpoint_info.best_robustness(infos[4:]) is None
