"""Attention over B-scans: known weights come to their place; a planted spot that tells the class has them."""

import csv
import dataclasses
import io
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from octshard.config.head import AttentiveConfig, HeadConfig
from octshard.eval.pictures import attention, scan_reader, token_field
from octshard.eval.pictures.request import PictureRequest
from octshard.eval.pictures.token_field import TokenField
from octshard.models import normalize
from octshard.models.encoder import random_encoder
from octshard.probes import build
from octshard.probes.examples import Examples
from octshard.probes.head import FittedHead, HeadSpec
from octshard.probes.predictions import Predictions
from octshard.probes.targets import CLASSES
from octshard.rng import rng_for
from tests.support.picture_request import made_request
from tests.support.tiny_run import config_for

PLACE_V3 = np.indices((3, 3, 3)).reshape(3, -1).T
WINDOW = (slice(0, 6), slice(0, 20), slice(0, 24))


@pytest.fixture(scope="module")
def eyes(tmp_path_factory) -> PictureRequest:
    return made_request(tmp_path_factory.mktemp("eyes"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads of small matrices wait for each other, long where other processes have the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def by_feature(x_NVF: np.ndarray) -> np.ndarray:
    """(N, V, 2): two heads of attention, as features 0 and 1 say."""
    return np.stack([x_NVF[..., i] / x_NVF[..., i].sum(1, keepdims=True) for i in (0, 1)], axis=-1)


HEAD = FittedHead(
    "attentive", CLASSES, lambda x_NVF: np.repeat([[0.3, 0.7]], len(x_NVF), 0), {}, (), converged=True,
    attention=by_feature,
)  # fmt: skip
HEAD_OF_ANY = dataclasses.replace(
    HEAD, attention=lambda x_NVF: np.full((*x_NVF.shape[:2], 2), 1 / x_NVF.shape[1])
)


def test_known_weights_come_to_their_place() -> None:
    """One head of attention is even; the other has 3/4 at (2, 1, 0) and 1/4 at (0, 0, 2)."""
    order = np.random.default_rng(1).permutation(27)
    z_VF = np.zeros((27, 2))
    z_VF[:, 0] = 1
    z_VF[2 * 9 + 1 * 3 + 0, 1], z_VF[2, 1] = 3, 1
    field = TokenField(PLACE_V3[order], WINDOW, (2, 8, 8))
    drawn = attention.attention_map(HEAD, field, z_VF[order])
    assert drawn.attention_dhw[2, 1, 0] == pytest.approx((1 / 27 + 3 / 4) / 2)
    assert drawn.attention_dhw[0, 0, 2] == pytest.approx((1 / 27 + 1 / 4) / 2)
    assert drawn.attention_dhw.sum() == pytest.approx(1)
    assert drawn.plane == 2
    assert field.b_scan_of(drawn.plane) == 5
    assert drawn.share == pytest.approx((9 / 27 + 3 / 4) / 2)
    assert drawn.even_share == pytest.approx(1 / 3)
    assert drawn.half_in == 2  # 0.39 + 0.14


def test_even_attention_has_no_colour_and_a_peak_has_all() -> None:
    top, even = attention.colours(np.full((2, 2), 0.25))
    assert top == attention.LEAST_TOP
    np.testing.assert_allclose(even, 0, atol=1e-9)
    share = np.array([0.01] * 10 + [0.9])
    top, peaked = attention.colours(share)
    assert top == pytest.approx(0.9 * 11)
    assert peaked[-1] == 1
    assert (peaked[:10] == 0).all()


@pytest.mark.usefixtures("one_thread")
def test_a_planted_spot_that_tells_the_class_has_the_attention() -> None:
    """Feature 0 is high in one token of every scan, at a place that changes; only there feature 1 tells."""
    rng, count = rng_for("spot"), 150
    y_N, place_N, every_N = np.arange(count) % 2, rng.integers(8, size=count), np.arange(count)
    x_NVF = rng.normal(0, 0.3, size=(count, 8, 4)).astype(np.float32)
    x_NVF[:, :, 1] += rng.choice([-3, 3], size=(count, 8))
    x_NVF[every_N, place_N, 0] += 4
    x_NVF[every_N, place_N, 1] = np.where(y_N == 1, 4, -4)
    people = tuple(f"p{n}" for n in range(count))
    parts = [Examples(x_NVF[part], y_N[part], people[part]) for part in (slice(0, 110), slice(110, None))]
    cfg = AttentiveConfig(lr=[2e-2], weight_decay=[0.1], epochs=25, heads=1)
    head = build.fit(HeadSpec(HeadConfig(head="attentive", attentive=cfg), CLASSES, 0), *parts)
    place_V3 = np.indices((2, 2, 2)).reshape(3, -1).T
    field, hits = TokenField(place_V3, (slice(0, 4), slice(0, 16), slice(0, 16)), (2, 8, 8)), 0
    for n in range(110, count):
        drawn = attention.attention_map(head, field, x_NVF[n])
        hits += tuple(place_V3[place_N[n]]) == np.unravel_index(drawn.attention_dhw.argmax(), (2, 2, 2))
    assert hits >= 36  # of 40


@pytest.mark.usefixtures("one_thread")
def test_a_bright_blob_in_the_voxels_has_the_attention_through_an_encoder() -> None:
    """One token of 27 is bright in ill scans, none in healthy ones; scans differ more in their brightness.
    The encoder has learned nothing; by chance the blob would be first in 4 % of scans.
    """
    rng, count = rng_for("blob"), 240
    y_N, place_N = np.arange(count) % 2, rng.integers(27, size=count)
    level_NV = np.repeat(rng.uniform(60, 110, size=(count, 1)), 27, 1)
    level_NV[y_N == 1, place_N[y_N == 1]] = 250
    voxels = level_NV.reshape(count, 3, 3, 3).repeat(2, 1).repeat(8, 2).repeat(8, 3)
    voxels = (voxels + rng.normal(0, 5, voxels.shape)).clip(0, 255).astype(np.uint8)
    z_NVF = encoded(torch.from_numpy(voxels))
    people = tuple(map(str, range(count)))
    parts = [Examples(z_NVF[part], y_N[part], people[part]) for part in (slice(0, 160), slice(160, None))]
    cfg = AttentiveConfig(lr=[2e-2], weight_decay=[0.1], epochs=40, heads=1)
    head = build.fit(HeadSpec(HeadConfig(head="attentive", attentive=cfg), CLASSES, 0), *parts)
    field, shares, hits = TokenField(PLACE_V3, (slice(0, 6), slice(0, 24), slice(0, 24)), (2, 8, 8)), [], 0
    for n in range(161, count, 2):
        drawn = attention.attention_map(head, field, z_NVF[n])
        shares.append(drawn.attention_dhw[tuple(PLACE_V3[place_N[n]])])
        hits += shares[-1] == drawn.attention_dhw.max()
    assert hits >= 20  # of 40
    assert np.mean(shares) > 3 / 27


def encoded(voxels_BDHW: torch.Tensor) -> np.ndarray:
    """Tokens of an encoder of random weights."""
    encoder = random_encoder(config_for("shards", "run", "model.image_size=[6,24,24]"), 5).eval()
    count = len(voxels_BDHW)
    valid_B3 = torch.tensor([[6, 24, 24]] * count)
    x_BCDHW = normalize.normalize(
        voxels_BDHW, torch.full((count,), 90.0), torch.full((count,), 45.0), valid_B3
    )
    with torch.no_grad():
        z_BVF: np.ndarray = encoder(x_BCDHW, *encoder.tokens_of(valid_B3)).numpy()
    return z_BVF


def test_right_and_wrong_people_of_each_class_are_drawn(eyes) -> None:
    """Of 6 test people, 3 of each class: one healthy and two ill ones are predicted wrong."""
    people = tuple(f"test{i:03}" for i in range(6))
    p_P = np.array([0.9, 0.2, 0.9, 0.1, 0.1, 0.8])
    said = [Predictions(people, np.stack([p_P, 1 - p_P], 1), np.array([0, 1] * 3))]
    drawn = attention.chosen(eyes, said, 4)
    words = [(each.y, each.predicted) for each in drawn]
    assert words == [(0, 0), (0, 1), (1, 1), (1, 0)]
    assert {each.unit for each in attention.chosen(eyes, said, 99)} == set(people)


def test_the_section_tells_where_the_head_looked(eyes, monkeypatch) -> None:
    def fields(_, __, places) -> Iterator[tuple[TokenField, np.ndarray]]:
        for _ in places:
            z_VF = np.ones((27, 2))
            z_VF[10] = 13  # of the middle plane: 13 and 8 of 39
            yield TokenField(PLACE_V3, WINDOW, (2, 8, 8)), z_VF

    monkeypatch.setattr(token_field, "read", fields)
    request = dataclasses.replace(eyes, attentive={"ours": HEAD})
    made = attention.pictures(request, scan_reader.open_reader(eyes.scans))
    text = "".join(part if isinstance(part, str) else part.markup for part in made.sections[0].parts)
    assert "B-scans around 4 of 6: 54 % of all attention, 1.6 times an even share" in text
    assert "Wrong: truly healthy\npredicted ill 0.70" in text
    row, *_ = csv.DictReader(io.StringIO(made.files["attention.csv"].decode()))
    assert (row["b_scan"], row["tokens"]) == ("4", "27")
    assert float(row["share"]) == pytest.approx(21 / 39)
    assert made.files["attention.png"].startswith(b"\x89PNG")


def test_right_and_wrong_are_by_the_head_that_attends(eyes, monkeypatch) -> None:
    """All heads say healthy of everybody, and are wrong of the ill; the attentive one of test004 alone."""
    monkeypatch.setattr(attention, "SHOWN", 3)
    p_P = np.array([0.9, 0.1, 0.9, 0.1, 0.2, 0.1])
    people = tuple(f"test{i:03}" for i in range(6))
    own = Predictions(people, np.stack([p_P, 1 - p_P], 1), np.array([0, 1] * 3))
    request = dataclasses.replace(eyes, attentive={"ours": HEAD_OF_ANY}, attended={"ours": own})
    made = attention.pictures(request, scan_reader.open_reader(eyes.scans))
    units = [row["unit"] for row in csv.DictReader(io.StringIO(made.files["attention.csv"].decode()))]
    assert "test004" in units


def test_without_a_head_for_tokens_nothing_is_drawn(eyes) -> None:
    assert attention.pictures(eyes, scan_reader.open_reader(eyes.scans)).sections == ()
