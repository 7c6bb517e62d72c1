"""A grid that trains at once is what each of its members is alone."""

import dataclasses

import numpy as np
import pytest

from octshard.config.head import AttentiveConfig, HeadConfig, MlpConfig
from octshard.errors import OctshardError
from octshard.probes import attentive, build, grid, mlp
from octshard.probes.examples import Examples
from octshard.probes.head import HeadSpec
from octshard.probes.targets import CLASSES, NUMBERS
from octshard.rng import rng_for

LR, DECAY = [3e-3, 1e-2, 3e-2], [0.0, 0.5]
GRID = {"lr": LR, "weight_decay": DECAY, "epochs": 6, "batch": 16, "patience": 2}


def made(name: str, kind: str, count: int = 40) -> Examples:
    rng = rng_for("grid", name)
    y_N = np.arange(count) % 2
    x_NTF = rng.normal(size=(count, 5, 8)).astype(np.float32)
    x_NTF[:, :, 0] += 1.0 * y_N[:, None]
    x_NTF[::2, 4] = 0
    return Examples(
        x_NTF, y_N if kind == CLASSES else 7 + 3.0 * y_N, tuple(f"{name}{n}" for n in range(count))
    )


def rows(examples: Examples) -> Examples:
    return Examples(examples.x_NF.mean(1), examples.y_N, examples.participants)


@pytest.mark.parametrize("kind", [CLASSES, NUMBERS])
@pytest.mark.parametrize("name", ["mlp", "attentive"])
def test_the_grid_is_each_member_alone(name: str, kind: str) -> None:
    """Predictions of all six, whether or not they are chosen."""
    cfg = HeadConfig(head=name, mlp=MlpConfig(**GRID, width=8), attentive=AttentiveConfig(**GRID, heads=2))
    spec = HeadSpec(cfg, kind, 3)
    train, val = made("train", kind), made("val", kind, 30)
    if name == "mlp":
        train, val = rows(train), rows(val)
    make = {"mlp": mlp.candidates, "attentive": attentive.candidates}[name]
    together = {(c.setting["lr"], c.setting["weight_decay"]): c for c in make(train, val, spec)}
    assert len(together) == len(LR) * len(DECAY)
    for (lr, decay), member in together.items():
        one = {"lr": [lr], "weight_decay": [decay]}
        cfg_alone = dataclasses.replace(
            cfg, mlp=dataclasses.replace(cfg.mlp, **one), attentive=dataclasses.replace(cfg.attentive, **one)
        )
        (alone,) = make(train, val, dataclasses.replace(spec, cfg=cfg_alone))
        assert alone.setting == member.setting
        np.testing.assert_allclose(alone.val_NC, member.val_NC, rtol=1e-4, atol=1e-5)


def test_val_chooses_the_epoch_and_patience_ends_it() -> None:
    """Of a member whose val score falls from the first epoch on, the first is kept."""
    cfg = HeadConfig(head="mlp", mlp=MlpConfig(lr=[0.1], weight_decay=[0.0], epochs=50, patience=3, batch=8))
    train, val = rows(made("train", CLASSES)), rows(made("val", CLASSES))
    upside_down = Examples(val.x_NF, 1 - val.y_N, val.participants)
    head = build.fit(HeadSpec(cfg, CLASSES, 0), train, upside_down)
    assert head.choice["epoch"] < 10
    assert head.converged


def test_a_learning_rate_that_diverges_harms_no_other() -> None:
    train, val = rows(made("train", NUMBERS)), rows(made("val", NUMBERS))
    cfg = HeadConfig(head="mlp", mlp=MlpConfig(lr=[1e-2, 1e30], weight_decay=[0.1], epochs=5, batch=16))
    one = dataclasses.replace(cfg, mlp=dataclasses.replace(cfg.mlp, lr=[1e-2]))
    both, alone = (build.fit(HeadSpec(c, NUMBERS, 0), train, val) for c in (cfg, one))
    assert both.choice == alone.choice
    np.testing.assert_allclose(both.predict(val.x_NF), alone.predict(val.x_NF), rtol=1e-4)


def test_the_learning_rate_warms_up_and_ends_at_nothing() -> None:
    shares = [grid._share_of_lr(step, 100) for step in range(100)]
    assert shares[0] == pytest.approx(1 / 11)
    assert shares[10] == 1
    assert shares[55] == pytest.approx(0.5)
    assert 0 < shares[99] < 0.001
    assert np.argmax(shares) == 10


def test_numbers_are_learned_in_their_own_unit() -> None:
    """A shift and a scale of the numbers shift and scale what is said."""
    cfg = HeadConfig(head="mlp", mlp=MlpConfig(lr=[1e-2], weight_decay=[0.1], epochs=3, batch=16, width=8))
    train, val = rows(made("train", NUMBERS)), rows(made("val", NUMBERS))
    other = [Examples(e.x_NF, 1000 + 50 * e.y_N, e.participants) for e in (train, val)]
    said, turned = (
        build.fit(HeadSpec(cfg, NUMBERS, 0), *pair).predict(val.x_NF) for pair in ((train, val), other)
    )
    np.testing.assert_allclose(turned, 1000 + 50 * said, rtol=1e-5)


def test_tokens_and_rows_are_not_mistaken_for_each_other() -> None:
    train, val = made("train", CLASSES), made("val", CLASSES)
    with pytest.raises(
        OctshardError, match=r"head=mlp: features are of shape .*, want one row for each scan"
    ):
        build.fit(HeadSpec(HeadConfig(head="mlp"), CLASSES, 0), train, val)
    cfg = HeadConfig(head="attentive", regularisation=[0.1])
    head = build.fit(HeadSpec(cfg, CLASSES, 0), rows(train), rows(val))
    assert (head.name, head.choice) == ("linear", {"C": 0.1})
