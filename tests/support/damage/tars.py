"""Damaged shards, case by case: headers, extensions, order, JSON and zstd frames in turn."""

from octshard.rng import rng_for
from tests.support.damage import tar_headers, tar_samples
from tests.support.damage.tar_members import Mutator, TarDamage, sound

MUTATORS: dict[str, Mutator] = {
    "tar headers": tar_headers.headers,
    "tar extensions": tar_headers.extensions,
    "tar order": tar_headers.order,
    "sample JSON": tar_samples.texts,
    "zstd frames": tar_samples.frames,
}


def case(seed: int, i: int) -> tuple[str, TarDamage]:
    """(kind, damage) of shard i of a seed; kinds in turn."""
    rng = rng_for(seed, "structured shard", i)
    kind = list(MUTATORS)[i % len(MUTATORS)]
    return kind, MUTATORS[kind](list(sound()), rng)
