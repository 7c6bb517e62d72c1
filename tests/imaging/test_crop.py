"""The crop of a volume: centred without a generator, anywhere with one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from octshard.imaging.crop import crop_pad_into, crop_window

sizes = st.tuples(*[st.integers(1, 30)] * 3)


@given(sizes, sizes, st.integers(0, 5))
def test_a_window_lies_within_the_volume_and_the_image(
    stored: tuple[int, int, int], image: tuple[int, int, int], seed: int
) -> None:
    for rng in (None, np.random.default_rng(seed)):
        for part, size, most in zip(crop_window(stored, image, rng), stored, image, strict=True):
            assert 0 <= part.start < part.stop <= size
            assert part.stop - part.start == min(size, most)


def test_without_a_generator_it_is_the_centre_and_with_one_every_place_comes() -> None:
    assert crop_window((6, 20, 24), (8, 32, 16), None) == (slice(0, 6), slice(0, 20), slice(4, 20))
    places = {crop_window((6, 20, 24), (8, 32, 16), np.random.default_rng(i))[2].start for i in range(99)}
    assert places == set(range(9))


def test_the_part_stands_at_the_low_end_and_zeros_behind_it() -> None:
    voxels = np.arange(1, 6 * 2 * 7 + 1, dtype=np.uint8).reshape(6, 2, 7)
    image = np.full((4, 3, 7), 255, np.uint8)  # a buffer that held something else
    assert crop_pad_into(image, voxels, None) == (4, 2, 7)
    np.testing.assert_array_equal(image[:, :2], voxels[1:5])  # 6 - 4 = 2 spare planes, one on each side
    assert not image[:, 2].any()
    assert crop_pad_into(np.empty((6, 2, 7), np.uint8), voxels, None) == (6, 2, 7)
