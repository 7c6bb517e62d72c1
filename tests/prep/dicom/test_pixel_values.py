"""Stored numbers -> grey levels, against the formula written out."""

import numpy as np
import pytest

from octshard.prep.dicom.pixel_values import PixelTransform

PLAIN = ((1.0, 0.0),)


def test_plain_levels_pass_untouched() -> None:
    for bits, kind in ((8, np.uint8), (16, np.uint16)):
        frame = np.arange(12, dtype=kind).reshape(3, 4)
        out = PixelTransform(bits, bits, False, False, PLAIN).apply(frame, 0)
        assert out.dtype == kind
        assert (out == frame).all()


def test_monochrome1_is_inverted_within_the_stored_bits() -> None:
    frame = np.array([[0, 1, 4095]], np.uint16)
    assert PixelTransform(16, 12, False, True, PLAIN).apply(frame, 0).tolist() == [[4095, 4094, 0]]
    assert PixelTransform(8, 8, False, True, PLAIN).apply(frame[:, :2].astype(np.uint8), 0).tolist() == [
        [255, 254]
    ]


def test_rescale_widens_the_type_only_where_it_must() -> None:
    frame = np.array([[0, 10, 255]], np.uint8)
    turned = PixelTransform(8, 8, False, False, ((-1.0, 255.0),)).apply(frame, 0)
    assert turned.dtype == np.uint8
    assert turned.tolist() == [[255, 245, 0]]
    wide = PixelTransform(8, 8, False, False, ((4.0, 7.0),)).apply(frame, 0)
    assert wide.dtype == np.uint16
    assert wide.tolist() == [[7, 47, 1027]]


@pytest.mark.parametrize(("slope", "intercept"), [(1 / 255, 0.0), (0.5, 3.0), (1e-12, 7.0)])
def test_a_slope_below_one_keeps_every_stored_level_apart(slope: float, intercept: float) -> None:
    frame = np.arange(256, dtype=np.uint8).reshape(16, 16)
    out = PixelTransform(8, 8, False, False, ((slope, intercept),)).apply(frame, 0)
    assert out.dtype == np.uint16
    assert np.abs(out - frame * 257.0).max() <= 1


def test_negative_ranges_are_mapped_linearly_onto_uint16() -> None:
    frame = np.array([[-128, 0, 127]], np.int8)
    assert PixelTransform(8, 8, True, False, PLAIN).apply(frame, 0).tolist() == [
        [0, round(128 * 65535 / 255), 65535]
    ]


def test_each_frame_has_its_own_slope_but_one_type() -> None:
    levels = PixelTransform(8, 8, False, False, ((1.0, 0.0), (2.0, 0.0)))
    frame = np.array([[200]], np.uint8)
    first, second = levels.apply(frame, 0), levels.apply(frame, 1)
    assert (first.dtype, second.dtype) == (np.uint16, np.uint16)
    assert (first.item(), second.item()) == (200, 400)


def test_the_last_slope_holds_for_all_frames_that_follow() -> None:
    levels = PixelTransform(8, 8, False, False, ((1.0, 0.0), (2.0, 3.0)))
    assert [levels.apply(np.array([[50]], np.uint8), i).item() for i in (0, 1, 2, 99)] == [50, 103, 103, 103]


def test_the_slope_that_cannot_be_is_the_one_that_is_named() -> None:
    assert "(0.0, 7.0)" in PixelTransform(8, 8, False, False, ((1.0, 0.0), (0.0, 7.0))).problem()


@pytest.mark.parametrize(
    "levels",
    [
        PixelTransform(32, 32, False, False, PLAIN),
        PixelTransform(8, 12, False, False, PLAIN),
        PixelTransform(8, 8, False, False, ((0.0, 1.0),)),
        PixelTransform(8, 8, False, False, ((float("nan"), 1.0),)),
        PixelTransform(8, 8, False, False, ((1e307, 0.0),)),
        PixelTransform(8, 8, False, False, ((1e-30, 1.0),)),
    ],
)
def test_numbers_that_cannot_be_read_are_named(levels: PixelTransform) -> None:
    assert levels.problem()
