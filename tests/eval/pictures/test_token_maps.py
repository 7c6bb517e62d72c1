"""Colours of tokens: one map of colours for all scans of an encoder, at their place; some of every class."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from octshard.eval.pictures import scan_reader, token_field, token_maps
from octshard.eval.pictures.request import PictureRequest
from octshard.eval.pictures.token_field import TokenField
from tests.support.picture_request import made_request


@pytest.fixture(scope="module")
def eyes(tmp_path_factory) -> PictureRequest:
    return made_request(tmp_path_factory.mktemp("eyes"))


def test_like_tokens_of_two_scans_have_like_colours(eyes, monkeypatch) -> None:
    """Tokens of the left column are one thing, others another; in the second scan all are as on the left."""

    def fields(*_) -> Iterator[tuple[TokenField, np.ndarray]]:
        place_V3 = np.indices((3, 3, 3)).reshape(3, -1).T
        field = TokenField(place_V3, (slice(0, 6), slice(0, 20), slice(0, 24)), (2, 8, 8))
        for left in (place_V3[:, 2] == 0, np.ones(27, bool)):
            noise_VF = np.random.default_rng(0).normal(0, 0.01, (27, 4))
            yield field, np.where(left[:, None], [5.0, 0, 0, 0], [-5.0, 0, 0, 0]) + noise_VF

    monkeypatch.setattr(token_field, "read", fields)
    reader = scan_reader.open_reader(eyes.scans)
    first, second = token_maps.token_maps(eyes, reader, eyes.encoders[0], [0, 1])
    wide = first.above.shape[1]
    left, right = (
        picture.astype(int)[8:-8, 8:-8] for picture in np.hsplit(first.above[:, : wide // 3 * 3], 3)[::2]
    )
    assert np.abs(left.mean((0, 1)) - second.above.mean((0, 1)))[0] < 8
    assert np.abs(left.mean((0, 1)) - right.mean((0, 1)))[0] > 200
    assert first.b_scan.shape == (200, 240, 3)  # 0.40 x 0.48 mm


def test_every_class_and_device_is_shown_and_drawn_alike_again(eyes, monkeypatch) -> None:
    """Two classes on two devices: 4 scans, each with its B-scan, the map over it and the one from above."""
    monkeypatch.setattr(token_maps, "SHOWN", 4)
    made = token_maps.pictures(eyes, scan_reader.open_reader(eyes.scans))
    text = "".join(part if isinstance(part, str) else part.markup for part in made.sections[0].parts)
    assert text.count("<img") == 3 * 4
    for name in ("healthy: alpha", "healthy: beta", "ill: alpha", "ill: beta"):
        assert f"<h3>{name}" in text
    assert made.files["token-maps.png"].startswith(b"\x89PNG")
    again = token_maps.pictures(eyes, scan_reader.open_reader(eyes.scans))
    assert again.files == made.files


def test_encoders_beyond_the_limit_are_named(eyes, monkeypatch) -> None:
    monkeypatch.setattr(token_maps, "SHOWN", 1)
    (ours,) = eyes.encoders
    several = tuple(ours._replace(info=dataclasses.replace(ours.info, source=name)) for name in "abcde")
    made = token_maps.pictures(
        dataclasses.replace(eyes, encoders=several), scan_reader.open_reader(eyes.scans)
    )
    assert str(made.sections[0].parts[0]).endswith("Not drawn: d, e.")
