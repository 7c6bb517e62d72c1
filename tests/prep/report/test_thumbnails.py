"""Pictures of a stored volume: which volumes, which pixels, and how wide for their height."""

import dataclasses

import numpy as np
import pytest

from octshard.dataset.tables import SampleRow
from octshard.imaging.retina_band import RetinaBand
from octshard.prep.report import thumbnails
from octshard.rng import rng_for


def row(number: int, **changes: object) -> SampleRow:
    made = SampleRow(
        f"k{number}", "p", "d", "", "", "often", "", "L", "train", "s",
        shape_out=(6, 8, 10), spacing_out=(0.5, 0.25, 0.1),
    )  # fmt: skip
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def test_protocols_are_taken_in_turn_by_seed_and_keys_alone() -> None:
    rows = [row(i) for i in range(50)] + [row(99, protocol="rare"), row(100, status="refused", protocol="no")]
    drawn = thumbnails.draw_rows(rows, 3, 3)
    assert len({one.key for one in drawn}) == 3
    assert {one.protocol for one in drawn[:2]} == {"often", "rare"}
    assert thumbnails.draw_rows(rows[::-1], 3, 3) == drawn
    assert any(thumbnails.draw_rows(rows, seed, 3) != drawn for seed in range(5))
    assert thumbnails.draw_rows(rows, 3, 100) != rows  # all of them, in the seeded order
    assert {one.key for one in thumbnails.draw_rows(rows, 3, 100)} == {one.key for one in rows[:-1]}
    assert thumbnails.draw_rows(rows[-1:], 3, 3) == []


def test_the_central_bscan_is_as_stored_and_en_face_is_the_stretched_mean() -> None:
    voxels = rng_for("preview").integers(0, 100, (6, 8, 10), dtype=np.uint8)
    seen = thumbnails.draw(row(1), voxels)
    np.testing.assert_array_equal(seen.bscan_HW, voxels[3])
    mean = np.array([[voxels[d, :, w].astype(float).sum() / 8 for w in range(10)] for d in range(6)])
    low, high = np.percentile(mean, [1, 99])
    wanted = np.clip((mean - low) / (high - low), 0, 1) * 255
    np.testing.assert_allclose(seen.en_face_DW, wanted, atol=0.51)


def test_aspects_are_of_millimetres_or_of_pixels_where_those_are_unknown() -> None:
    voxels = np.zeros((6, 8, 10), np.uint8)
    seen = thumbnails.draw(row(1), voxels)  # 3 x 2 x 1 mm
    assert (seen.bscan_aspect, seen.en_face_aspect) == (pytest.approx(1 / 2), pytest.approx(1 / 3))
    seen = thumbnails.draw(row(1, assumed_spacing=1), voxels)
    assert (seen.bscan_aspect, seen.en_face_aspect) == (pytest.approx(10 / 8), pytest.approx(10 / 6))


def test_an_even_volume_one_frame_and_sixteen_bits_are_drawn() -> None:
    assert np.unique(thumbnails.draw(row(1), np.full((1, 8, 10), 7, np.uint8)).en_face_DW) == [128]
    wide = np.linspace(0, 60_000, 480).reshape(6, 8, 10).astype(np.uint16)
    seen = thumbnails.draw(row(1), wide)
    assert seen.bscan_HW.dtype == np.uint8
    assert (seen.bscan_HW.min(), seen.bscan_HW.max()) == (0, 255)


def test_a_wide_picture_is_averaged_down_and_keeps_its_aspect() -> None:
    voxels = np.zeros((2, 4, 3 * thumbnails.LARGEST_PX), np.uint8)
    voxels[:, :, ::3] = 90
    seen = thumbnails.draw(row(1, spacing_out=(1.0, 1.0, 0.01)), voxels)
    assert seen.bscan_HW.shape == (4, thumbnails.LARGEST_PX)
    assert np.unique(seen.bscan_HW) == [30]
    assert seen.bscan_aspect == pytest.approx(3 * thumbnails.LARGEST_PX * 0.01 / 4)


def test_the_band_of_the_central_bscan_goes_with_its_picture() -> None:
    rows_DQ2 = np.arange(6 * 2 * 2, dtype=np.int16).reshape(6, 2, 2)
    seen = thumbnails.draw(row(1), np.zeros((6, 8, 10), np.uint8), RetinaBand(rows_DQ2))
    np.testing.assert_array_equal(seen.band_Q2, rows_DQ2[3])
    assert thumbnails.draw(row(1), np.zeros((6, 8, 10), np.uint8)).band_Q2 is None
