"""The crop of a volume: centred without a generator, anywhere with one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from octshard.stream.collate import crop_window

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
