"""The band goes round through a sample's JSON, and what is no band of that volume is a bad sample."""

import json
from typing import Any

import numpy as np
import pytest

from octshard.dataset import shard, stored_band
from octshard.dataset.shard import BadSample
from octshard.imaging.retina_band import NOT_FOUND, RetinaBand, not_found

SHAPE = (3, 40, 20)
VOXELS = np.zeros(SHAPE, np.uint8)


def band() -> RetinaBand:
    rows_DQ2 = not_found(3, 20).rows_DQ2
    rows_DQ2[0] = [(0, 40), (7, 31), (8, 9)]
    rows_DQ2[2, 1] = (39, 40)
    return RetinaBand(rows_DQ2)


def meta_of(**changes: Any) -> dict[str, Any]:
    return {stored_band.NAME: {**stored_band.to_json(band()), **changes}}


def text_of(rows_DQ2: Any) -> str:
    return str(stored_band.to_json(RetinaBand(np.array(rows_DQ2, np.int16)))["steps"])


def test_it_goes_round_through_a_shard() -> None:
    data = shard.pack("key", {stored_band.NAME: stored_band.to_json(band())}, VOXELS, 3)
    packed = shard.open_slice(data, "key", shard.slice_digest(data), "here")
    stored = stored_band.from_json(packed.meta, packed.shape, "here")
    assert stored is not None
    assert stored.rows_DQ2.dtype == np.int16
    np.testing.assert_array_equal(stored.rows_DQ2, band().rows_DQ2)


def test_rows_of_the_tallest_volumes_go_round() -> None:
    tall = RetinaBand(np.array([[(0, 32767), (32766, 32767), (NOT_FOUND, NOT_FOUND), (1, 2)]], np.int16))
    stored = stored_band.from_json({stored_band.NAME: stored_band.to_json(tall)}, (1, 32767, 30), "here")
    assert stored is not None
    np.testing.assert_array_equal(stored.rows_DQ2, tall.rows_DQ2)


def test_a_sample_of_0_1_has_none() -> None:
    assert stored_band.from_json({"mean": 3.0}, SHAPE, "here") is None


@pytest.mark.parametrize(
    "value",
    [
        7, [], {}, {"block": 8}, meta_of(block=16)[stored_band.NAME], meta_of(steps=3)[stored_band.NAME],
        meta_of(steps="no base64")[stored_band.NAME], meta_of(steps="AAAA")[stored_band.NAME],
        meta_of(steps=text_of(band().rows_DQ2[:2]))[stored_band.NAME],
        meta_of(steps=shard.array_text(np.zeros(10**6, np.int16)))[stored_band.NAME],
        meta_of(steps=text_of([[(3, 41)] * 3] * 3))[stored_band.NAME],
        meta_of(steps=text_of([[(9, 9)] * 3] * 3))[stored_band.NAME],
        meta_of(steps=text_of([[(-1, 9)] * 3] * 3))[stored_band.NAME],
        meta_of(steps=text_of([[(-2, -2)] * 3] * 3))[stored_band.NAME],
    ],
)  # fmt: skip
def test_what_is_no_band_of_the_volume_is_a_bad_sample(value: Any) -> None:
    meta = json.loads(json.dumps({stored_band.NAME: value}))
    with pytest.raises(BadSample, match="here: retina_band") as caught:
        stored_band.from_json(meta, SHAPE, "here")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("meta", "retina_found", "words"),
    [
        ({}, None, ""),  # of octshard 0.1
        (meta_of(), 4 / 9, ""),
        (meta_of(), 4 / 9 + 1e-12, ""),  # machines round differently
        (meta_of(), 0.0, "share of 0.444"),
        (meta_of(), None, "the row says None"),
        ({}, 0.0, "share of None"),
        (meta_of(block=4), 4 / 9, "want blocks of 8 columns"),
    ],
)
def test_a_row_and_a_band_that_contradict_each_other_are_told(
    meta: dict[str, Any], retina_found: float | None, words: str
) -> None:
    problem = stored_band.problem(meta, SHAPE, retina_found)
    assert words in problem
    assert bool(words) == bool(problem)
