"""One damaged input and what may become of it. Seeded: the same seed gives the same bytes everywhere."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np

Rng = np.random.Generator
T = TypeVar("T")
OK = "ok"
CODEC = "decoder_error decoder_timeout decoder_crash"
GEOMETRY = (
    "geometry_uneven geometry_line geometry_mixed geometry_radial geometry_circle"
    " frame_order several_volumes part_of_scan"
)
HEADER = f"{OK} unreadable truncated no_pixel_data not_oct frame_count empty"


class Damage(NamedTuple):
    """What one mutator did. outcomes: `ok`, or reasons of a refusal: those that would be true."""

    text: str
    data: bytes
    outcomes: frozenset[str]


class Case(NamedTuple):
    """A damaged input: a row of the fuzz's report, and how to make it again."""

    kind: str
    recipe: str
    sound: bytes  # the file before
    damage: Damage


def pick(rng: Rng, values: Sequence[T]) -> T:
    """One of the values, as it is: `rng.choice` would make an array of them."""
    return values[int(rng.integers(len(values)))]


def outcomes(*words: str) -> frozenset[str]:
    """The words, each of which may hold several."""
    return frozenset(word for text in words for word in text.split())
