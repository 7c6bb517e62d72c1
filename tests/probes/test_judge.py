"""Both probes: high where features say the label, at chance where they do not, val never chooses."""

import dataclasses

import numpy as np
import pytest

from octshard.probes import judge
from octshard.probes.examples import Examples
from octshard.probes.nuisance import LabelledVolumes, choose
from octshard.probes.task import ProbeTask, ProbeVolumes
from octshard.stream.index import SampleIndex

EMPTY = SampleIndex("train", (), (), 0, 1)


def task_of(y_train: np.ndarray, y_val: np.ndarray, classes: tuple[str, ...]) -> ProbeTask:
    """Two scans of everybody."""
    parts = [
        ProbeVolumes(EMPTY, np.repeat(y, 2), tuple(f"{side}{n // 2:03d}" for n in range(2 * len(y))))
        for side, y in (("t", y_train), ("v", y_val))
    ]
    return ProbeTask("label", classes, *parts)


def features(y_N: np.ndarray, seed: int, signal: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return signal * np.stack([y_N == c for c in range(3)], 1).astype(float) @ np.eye(3, 8) + rng.normal(
        size=(len(y_N), 8)
    )


def classes_task() -> ProbeTask:
    rng = np.random.default_rng(5)
    return task_of(rng.integers(0, 3, 90), rng.integers(0, 3, 60), ("a", "b", "c"))


def test_classes_that_features_show_are_found_by_both() -> None:
    made = classes_task()
    found = judge.judge(made, features(made.train.y_N, 1, 4.0), features(made.val.y_N, 2, 4.0))
    assert min(found[:2]) > 0.95
    noise = judge.judge(made, features(made.train.y_N, 1, 0.0), features(made.val.y_N, 2, 0.0))
    assert all(abs(score - 0.5) < 0.12 for score in noise[:2])


def test_numbers_that_features_show_are_found_by_both() -> None:
    rng = np.random.default_rng(3)
    made = task_of(rng.normal(50, 10, 90), rng.normal(50, 10, 60), ())
    x_NF, x_MF = (
        np.stack([y, *np.random.default_rng(4).normal(0, 1, (3, len(y)))], 1)
        for y in (made.train.y_N, made.val.y_N)
    )
    found = judge.judge(made, x_NF, x_MF)
    assert found.linear > 0.99
    assert 0.3 < found.knn < found.linear
    noise = judge.judge(made, x_NF[:, 1:], x_MF[:, 1:])
    assert max(noise[:2]) < 0.1


def test_val_only_scores() -> None:
    """Another label of a val participant moves the score and nothing of the fit: the choice is train's."""
    made = classes_task()
    x_NF, x_MF = features(made.train.y_N, 1, 1.0), features(made.val.y_N, 2, 1.0)
    flipped = dataclasses.replace(made, val=dataclasses.replace(made.val, y_N=2 - made.val.y_N))
    straight, crossed = judge.judge(made, x_NF, x_MF), judge.judge(flipped, x_NF, x_MF)
    assert straight.linear > 0.6
    assert crossed.linear < straight.linear


@pytest.mark.parametrize("whole", [True, False])
def test_the_inner_split_is_by_participant_and_holds_every_class(whole: bool) -> None:
    y_N = np.repeat(np.arange(8) % 2, 2) if whole else np.repeat(np.linspace(0, 1, 8), 2)
    people = tuple(f"p{n // 2}" for n in range(16))
    others, held = judge.split(Examples(np.arange(16.0)[:, None], y_N, people))
    assert not set(others.participants) & set(held.participants)
    assert sorted((*others.participants, *held.participants)) == sorted(people)
    assert len(set(held.participants)) == 2
    assert len(set(held.y_N.tolist())) == 2


def test_of_a_class_of_two_people_one_chooses_and_one_fits() -> None:
    y_N, people = np.array([0, 0, 0, 1, 1]), ("a", "a", "b", "c", "d")
    others, held = judge.split(Examples(np.arange(5.0)[:, None], y_N, people))
    assert (others.participants, held.participants) == (("a", "a", "c"), ("b", "d"))


def test_the_index_of_val_stands_beside_the_scores() -> None:
    """Features of the device alone are 0, those of the class alone 1; without a nuisance there is none."""
    made = classes_task()
    device_N = np.arange(len(made.val.y_N)) // 2 % 2  # everybody's two scans by one
    volumes = LabelledVolumes(
        tuple(map(str, range(len(device_N)))), made.val.y_N, made.val.participants, made.classes
    )
    nuisance = choose(volumes, {"device": [f"d{n}" for n in device_N]})
    judged = dataclasses.replace(made, nuisance=nuisance)
    fitting, noise = features(made.train.y_N, 1, 4.0), np.random.default_rng(7).normal(size=(120, 2))
    device = np.concatenate([20 * np.eye(2)[device_N], noise], axis=1)
    label = np.concatenate([20 * np.eye(3)[made.val.y_N], noise[:, :1]], axis=1)
    assert judge.judge(judged, fitting[:, :4], device).robustness == 0
    assert judge.judge(judged, fitting[:, :4], label).robustness == 1
    assert judge.judge(made, fitting[:, :4], label).robustness is None
