"""What a run asks of one set of features: k-NN, a linear head (logistic for classes, ridge for numbers), and
what the neighbours in val follow.
"""

import numpy as np

from octshard.config.head import HeadConfig
from octshard.probes import knn, linear, ridge, scores
from octshard.probes.examples import Examples
from octshard.probes.task import ProbeScores, ProbeTask

LOGISTIC = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # values of C
RIDGE = tuple(HeadConfig().ridge)  # values of alpha
HELD_OUT = 4  # every fourth participant of train chooses among them


def judge(task: ProbeTask, train_NF: np.ndarray, val_MF: np.ndarray) -> ProbeScores:
    """Fits on the train volumes, choosing the regularisation among them, and scores the val volumes once."""
    robustness = None if isinstance(task.nuisance, str) else task.nuisance.index(val_MF)
    return ProbeScores(*_scores(task, train_NF, val_MF), robustness)


def _scores(task: ProbeTask, train_NF: np.ndarray, val_MF: np.ndarray) -> tuple[float, float]:
    """(of k-NN, of the linear head)."""
    train = Examples(train_NF, task.train.y_N, task.train.participants)
    val = Examples(val_MF, task.val.y_N, task.val.participants)
    if task.classes:
        onehot_NC = np.eye(len(task.classes))[train.y_N]
        votes = scores.by_participant(knn.predict(train, onehot_NC, val_MF), val.y_N, val.participants)
        return scores.macro_auroc(votes), _logistic(train, val)
    means = knn.predict(train, train.y_N[:, None], val_MF)
    knn_r2 = scores.r2(scores.by_participant(means, val.y_N, val.participants))
    strength = ridge.fit(*split(train), RIDGE).regularisation
    return knn_r2, ridge.r2(ridge.fit(train, val, (strength,)), val)


def split(train: Examples) -> tuple[Examples, Examples]:
    """(the others, every fourth participant): of each class, and one at least; or in the order of their
    numbers.
    """
    y_of = dict(zip(train.participants, train.y_N.tolist(), strict=True))
    people = sorted(y_of, key=lambda person: (y_of[person], person))
    if np.issubdtype(train.y_N.dtype, np.integer):
        by_class = [[person for person in people if y_of[person] == c] for c in sorted(set(y_of.values()))]
    else:
        by_class = [people]
    held = {p for members in by_class for p in members[HELD_OUT - 1 :: HELD_OUT] or members[-1:]}
    is_held_N = np.array([person in held for person in train.participants])
    return train.rows(np.flatnonzero(~is_held_N)), train.rows(np.flatnonzero(is_held_N))


def _logistic(train: Examples, val: Examples) -> float:
    strength = linear.fit(*split(train), LOGISTIC).regularisation
    probe = linear.fit(train, val, (strength,))  # of one strength val chooses nothing
    return scores.macro_auroc(
        scores.by_participant(linear.predict(probe, val.x_NF), val.y_N, val.participants)
    )
