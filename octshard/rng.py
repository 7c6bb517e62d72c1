"""Random generators seeded by names and numbers: `rng_for(seed, epoch, key)`."""

import hashlib

import numpy as np


def seed_for(*parts: object) -> int:
    """A 64-bit seed from the text of `parts`: the same on every machine and in every version and process."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def rng_for(*parts: object) -> np.random.Generator:
    """A NumPy generator (PCG64) seeded by `seed_for(*parts)`."""
    return np.random.Generator(np.random.PCG64(seed_for(*parts)))
