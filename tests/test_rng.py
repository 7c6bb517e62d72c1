"""Seeds depend on what they are about and nothing else."""

import numpy as np

from octshard.rng import rng_for, seed_for


def test_the_same_parts_give_the_same_numbers() -> None:
    np.testing.assert_array_equal(rng_for(1, 2, "k").random(5), rng_for(1, 2, "k").random(5))
    # sha256sum of "1\x1f2\x1fk" begins so: the same on every machine and version
    assert seed_for(1, 2, "k") == int.from_bytes(bytes.fromhex("d22dbb168612f93d"), "little")


def test_other_parts_give_other_numbers() -> None:
    seeds = {seed_for(*parts) for parts in [(1, 23), (12, 3), (1, 2, 3), ("1", "23", "")]}
    assert len(seeds) == 4
