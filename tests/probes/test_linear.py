"""The linear probe: separable features win, shuffled ones do not, units do not matter."""

import numpy as np
import pytest

from octshard.errors import OctshardError
from octshard.probes import linear, scores
from octshard.probes.examples import Examples, balance, shuffled
from octshard.rng import rng_for

GRID = [1e-3, 1e-1, 10.0]


def examples(name: str, people: int, gap: float, classes: int = 3, scans: int = 2) -> Examples:
    """`scans` scans a person in 12 features; feature c is `gap` higher for class c."""
    rng = rng_for("examples", name, people)
    y_N = np.repeat(np.arange(people) % classes, scans)
    x_NF = rng.normal(size=(people * scans, 12)).astype(np.float32)
    x_NF[np.arange(len(y_N)), y_N] += gap
    return Examples(x_NF, y_N, tuple(f"{name}{i // scans}" for i in range(len(y_N))))


def auroc(head: linear.Probe, test: Examples) -> float:
    return scores.macro_auroc(
        scores.by_participant(linear.predict(head, test.x_NF), test.y_N, test.participants)
    )


def test_separable_features_are_told_apart():
    train, val, test = examples("a", 150, 4.0), examples("b", 60, 4.0), examples("c", 300, 4.0)
    assert auroc(linear.fit(train, val, GRID), test) > 0.99


def test_shuffled_labels_average_to_chance():
    train, val, test = examples("a", 60, 3.0), examples("b", 30, 3.0), examples("c", 90, 3.0)
    aurocs = []
    for i in range(16):
        rng = rng_for("shuffles", i)
        aurocs.append(auroc(linear.fit(shuffled(train, rng), shuffled(val, rng), [0.01]), test))
    assert np.mean(aurocs) == pytest.approx(0.5, abs=0.1)


def test_units_of_a_feature_do_not_matter():
    train, val = examples("a", 90, 1.0), examples("b", 45, 1.0)
    scale, shift = np.geomspace(1e-2, 1e2, 12, dtype=np.float32), np.linspace(-3, 3, 12, dtype=np.float32)
    turned = [Examples(e.x_NF * scale + shift, e.y_N, e.participants) for e in (train, val)]
    first, second = linear.fit(train, val, GRID), linear.fit(*turned, GRID)
    assert first.regularisation == second.regularisation
    np.testing.assert_allclose(
        linear.predict(first, val.x_NF), linear.predict(second, turned[1].x_NF), atol=1e-3
    )


def test_a_constant_feature_is_harmless():
    train, val = examples("a", 60, 3.0), examples("b", 30, 3.0)
    for e in (train, val):
        e.x_NF[:, 11] = 0.1
    val.x_NF[0, 11] = 0.2
    head = linear.fit(train, val, GRID)
    assert np.isfinite(linear.predict(head, val.x_NF)).all()
    assert np.abs(head.weight_CF[:, 11]).max() < 1e-6


def test_the_choice_is_the_best_on_val_and_ties_go_to_the_stronger_regularisation():
    train, val = examples("a", 60, 1.0), examples("b", 60, 1.0)
    head = linear.fit(train, val, [10.0, 1e-4, 1e-1, 1e-1])
    assert [strength for strength, _ in head.trials] == [1e-4, 1e-1, 10.0]
    best = max(value for _, value in head.trials)
    assert head.regularisation == next(strength for strength, value in head.trials if value == best)
    easy = linear.fit(examples("a", 60, 40.0), examples("b", 60, 40.0), GRID)
    assert [value for _, value in easy.trials] == [1.0, 1.0, 1.0]
    assert easy.regularisation == 1e-3


def test_two_classes_are_a_logistic_function():
    train, val = examples("a", 60, 1.0, classes=2), examples("b", 30, 1.0, classes=2)
    head = linear.fit(train, val, [0.1])
    z_N = ((val.x_NF - head.mean_F) / head.scale_F) @ (head.weight_CF[1] - head.weight_CF[0])
    z_N = z_N + head.bias_C[1] - head.bias_C[0]
    np.testing.assert_allclose(linear.predict(head, val.x_NF)[:, 1], 1 / (1 + np.exp(-z_N)), rtol=1e-9)


def test_every_class_and_every_participant_of_it_weighs_the_same():
    original = Examples(np.zeros((6, 1)), np.array([0, 0, 0, 0, 1, 0]), ("a", "a", "a", "b", "c", "d"))
    weight_N = balance(original)
    assert weight_N.mean() == pytest.approx(1)
    np.testing.assert_allclose(weight_N / weight_N[4], [1 / 9, 1 / 9, 1 / 9, 1 / 3, 1, 1 / 3])


def test_a_rare_class_is_not_drowned():
    rng = rng_for("rare")
    y_N = np.r_[np.zeros(190, int), np.ones(10, int)]
    x_NF = rng.normal(size=(200, 2)) + y_N[:, None] * 2.0
    train = Examples(x_NF, y_N, tuple(map(str, range(200))))
    predicted = linear.predict(linear.fit(train, train, [1.0]), x_NF).argmax(axis=1)
    assert (predicted[y_N == 1] == 1).mean() >= 0.8


def test_shuffling_deals_whole_participants_and_keeps_the_class_sizes():
    original = examples("a", 30, 0.0, scans=3)
    dealt = shuffled(original, rng_for("deal"))
    scores.by_participant(
        np.full((90, 3), 1 / 3), dealt.y_N, dealt.participants
    )  # raises if a person is split
    assert np.bincount(dealt.y_N).tolist() == np.bincount(original.y_N).tolist()
    assert (dealt.y_N != original.y_N).any()


def test_a_class_absent_from_train_and_one_class_on_val_are_errors():
    train, val = examples("a", 30, 1.0), examples("b", 30, 1.0)
    some = train.y_N != 1
    people = tuple(np.asarray(train.participants)[some])
    with pytest.raises(OctshardError, match=r"classes \[1\] have no train scan"):
        linear.fit(Examples(train.x_NF[some], train.y_N[some], people), val, GRID)
    one_class = Examples(val.x_NF[:2], val.y_N[:2], val.participants[:2])
    with pytest.raises(OctshardError, match="one class on val"):
        linear.fit(train, one_class, GRID)
    with pytest.raises(OctshardError, match="want at least one C"):
        linear.fit(train, val, [])
