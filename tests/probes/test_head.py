"""What is true of every head: nothing but train and val decides, and nobody weighs more for their scans."""

import dataclasses

import numpy as np
import pytest

from octshard.config.head import AttentiveConfig, HeadConfig, MlpConfig
from octshard.errors import OctshardError
from octshard.probes import build, head, scores
from octshard.probes.examples import Examples, shuffled
from octshard.probes.head import HeadSpec
from octshard.probes.targets import CLASSES, NUMBERS, ORDINAL
from octshard.rng import rng_for

WIDTH, REGULARISATION, RIDGE = 6, [0.01, 1.0], [1.0, 100.0]
GRID = {"lr": [1e-2], "weight_decay": [0.01], "epochs": 12, "batch": 32}
CFG = HeadConfig(
    regularisation=REGULARISATION,
    ridge=RIDGE,
    neighbours=[3, 9],
    mlp=MlpConfig(**GRID, width=16),
    attentive=AttentiveConfig(**GRID, heads=2),
)
CONVEX = ("linear", "knn")  # the others start at random
KINDS = (CLASSES, ORDINAL, NUMBERS)
SPECS = {
    f"{name} {kind}": HeadSpec(dataclasses.replace(CFG, head=name), kind, 0)
    for name in build.HEADS
    for kind in KINDS
}


def made(spec: HeadSpec, name: str, people: int = 45, width: int = WIDTH) -> Examples:
    """2 scans a person; the first features say the target, with noise; padding."""
    rng = rng_for("head", name, people)
    state_N = np.repeat(np.arange(people) % 3, 2)
    x_NF = rng.normal(size=(people * 2, width)).astype(np.float32)
    x_NF[np.arange(len(state_N)), state_N] += 2.0
    if spec.kind == ORDINAL:
        x_NF[:, 3] += 2.0 * state_N
    y_N = state_N
    if spec.kind == NUMBERS:
        y_N = np.repeat(rng.normal(50, 3, people), 2) + 10.0 * state_N
    if spec.cfg.head in build.TOKENS:
        x_NTF = rng.normal(size=(len(x_NF), 4, width)).astype(np.float32)
        x_NF = x_NF[:, None] + 0.5 * x_NTF
        x_NF[::3, 3] = 0
    return Examples(x_NF, y_N, tuple(f"{name}{i // 2}" for i in range(len(y_N))))


@pytest.fixture(params=SPECS)
def spec(request) -> HeadSpec:
    return SPECS[request.param]


@pytest.fixture
def parts(spec) -> list[Examples]:
    return [made(spec, name) for name in ("train", "val", "test")]


def test_it_beats_chance_and_not_with_shuffled_targets(spec, parts) -> None:
    train, val, test = parts
    chance = 0.5 if spec.kind == CLASSES else 0.0
    true = head.score(head.predict(build.fit(spec, train, val), test), spec.kind)
    assert true > chance + 0.3
    dealt = []
    for deal in range(3):
        rng = rng_for("deal", deal)
        shuffled_head = build.fit(spec, shuffled(train, rng), shuffled(val, rng))
        dealt.append(head.score(head.predict(shuffled_head, test), spec.kind))
    assert np.mean(dealt) < true - 0.15


def test_the_order_of_scans_changes_nothing(spec, parts) -> None:
    train, val, test = parts
    straight = build.fit(spec, train, val)
    order = rng_for("order").permutation(len(train.y_N))
    turned = build.fit(spec, train.rows(order), val.rows(order))
    assert turned.choice == straight.choice
    np.testing.assert_allclose(turned.predict(test.x_NF), straight.predict(test.x_NF), rtol=1e-4, atol=1e-5)


def test_a_participant_weighs_no_more_for_many_scans(spec, parts) -> None:
    """Every scan of some people five times over: the same head."""
    train, val, test = parts
    whole = {"batch": 1000, "epochs": 6}
    cfg = dataclasses.replace(
        spec.cfg,
        mlp=dataclasses.replace(spec.cfg.mlp, **whole, dropout=0.0),
        attentive=dataclasses.replace(spec.cfg.attentive, **whole),
    )
    spec = dataclasses.replace(spec, cfg=cfg)
    some_N = np.isin(train.participants, [f"train{n}" for n in range(0, 45, 4)])
    often = np.concatenate([np.arange(len(some_N)), *[np.flatnonzero(some_N)] * 4])
    more = len(often) / len(some_N)  # weights add up to the number of scans, which strengthens the fit
    weaker = dataclasses.replace(
        spec.cfg, regularisation=[c / more for c in REGULARISATION], ridge=[alpha * more for alpha in RIDGE]
    )
    once = build.fit(spec, train, val)
    many = build.fit(dataclasses.replace(spec, cfg=weaker), train.rows(often), val)
    assert [t.score for t in many.trials] == pytest.approx([t.score for t in once.trials], abs=1e-3)
    np.testing.assert_allclose(many.predict(test.x_NF), once.predict(test.x_NF), rtol=1e-4, atol=1e-4)
    heavy = Examples(train.x_NF[often], train.y_N[often], tuple(map(str, range(len(often)))))
    by_scan = build.fit(dataclasses.replace(spec, cfg=weaker), heavy, val).predict(test.x_NF)
    assert not np.allclose(by_scan, once.predict(test.x_NF), rtol=1e-4, atol=1e-4)


def test_the_same_seed_gives_the_same_bits(spec, parts) -> None:
    train, val, test = parts
    first, second = (build.fit(spec, train, val).predict(test.x_NF) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_constant_features_are_harmless(spec, parts) -> None:
    train, val, test = (
        Examples(np.concatenate([part.x_NF, 0.1 + 0 * part.x_NF[..., :2]], -1), part.y_N, part.participants)
        for part in parts
    )
    said = build.fit(spec, train, val).predict(test.x_NF)
    assert np.isfinite(said).all()
    if spec.cfg.head in CONVEX:
        plain = build.fit(spec, *parts[:2]).predict(parts[2].x_NF)
        np.testing.assert_allclose(said, plain, rtol=1e-3, atol=1e-3)


def test_more_features_than_people(spec) -> None:
    train, val, test = (made(spec, name, people=12, width=200) for name in ("train", "val", "test"))
    assert np.isfinite(build.fit(spec, train, val).predict(test.x_NF)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(spec, parts, value) -> None:
    train, val, test = parts
    fitted = build.fit(spec, train, val)
    for part, name in ((train, "train0"), (val, "val0"), (test, "test0")):
        part.x_NF[1, 2] = value
        with pytest.raises(
            OctshardError, match=f"1 of 90 .* scans are nan or inf, the first of participant {name}"
        ):
            head.predict(fitted, part) if part is test else build.fit(spec, train, val)
        part.x_NF[1, 2] = 0


def test_of_equal_settings_the_simpler_is_chosen() -> None:
    val = Examples(np.zeros((4, 1)), np.array([0, 0, 1, 1]), tuple("abcd"))
    p_NC = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.1, 0.9]])
    candidates = [head.Candidate({"C": n}, p_NC, lambda x: x) for n in (1, 2)]
    chosen = head.choose(HeadSpec(HeadConfig(), CLASSES, 0), candidates, val)
    assert chosen.choice == {"C": 1}
    assert [trial.score for trial in chosen.trials] == [1.0, 1.0]


def test_val_of_one_value_cannot_choose(spec, parts) -> None:
    train, val, _ = parts
    one = val.rows(np.flatnonzero(val.y_N == val.y_N[0]))
    with pytest.raises(OctshardError, match="on val, want at least 2 to choose its settings by"):
        build.fit(spec, train, one)


def test_parts_that_do_not_fit_together_are_refused(spec, parts) -> None:
    train, val, _ = parts
    with pytest.raises(OctshardError, match="want the same"):
        build.fit(spec, train, Examples(val.x_NF[:, :3], val.y_N, val.participants))
    with pytest.raises(OctshardError, match="want as many of each"):
        build.fit(spec, Examples(train.x_NF, train.y_N[:-1], train.participants), val)


def test_the_mean_level_is_what_ordered_levels_are_chosen_by() -> None:
    """Levels 0 and 2, expected 0.5 and 1.5: error 0.25 + 0.25, spread 1 + 1."""
    p_PC = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])
    predictions = scores.Predictions(("a", "b"), p_PC, np.array([0, 2]))
    assert head.score(predictions, head.ORDINAL) == pytest.approx(1 - 0.5 / 2)


def test_eyes_with_targets_of_their_own_are_scored_by_eye(spec) -> None:
    """Both eyes of a person differ; a person's weight is shared among the scans of both."""
    train, val, test = (
        dataclasses.replace(
            part, participants=tuple(f"p{n // 4}" for n in range(90)), units=part.participants
        )
        for part in (made(spec, name) for name in ("train", "val", "test"))
    )
    predictions = head.predict(build.fit(spec, train, val), test)
    assert len(predictions.y_P) == 45
    np.testing.assert_array_equal(
        predictions.y_P, test.y_N[[test.units.index(u) for u in sorted(set(test.units))]]
    )


def test_shuffling_deals_whole_units() -> None:
    units = tuple("aabbccdd")
    train = Examples(np.zeros((8, 1)), np.array([0, 0, 1, 1, 2, 2, 3, 3]), tuple("xxxxyyyy"), units)
    dealt = shuffled(train, rng_for("deal", 0))
    assert dealt.y_N[::2].tolist() == dealt.y_N[1::2].tolist()
    assert sorted(dealt.y_N) == sorted(train.y_N)
    assert (dealt.y_N != train.y_N).any()
    assert dealt.units == units
