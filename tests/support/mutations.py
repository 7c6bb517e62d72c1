"""Seeded damage: small DICOM files in every encoding, and ZIPs, mutated by bytes, by tags and by lengths.

The same seed gives the same bytes on every machine. A recipe names in one line the damage and the file.
"""

from typing import NamedTuple

from octshard.rng import rng_for
from tests.support.damage import byte_damage, dicom_tags, sound_dicoms, zip_fields
from tests.support.damage.byte_damage import Kind
from tests.support.damage.sound_dicoms import uid_of

KINDS: dict[str, Kind] = {**byte_damage.KINDS, **dicom_tags.KINDS}
_WEIGHTS = {"flip": 4.0, "number": 3.0, "tag": 5.0}
_SHARES = [_WEIGHTS.get(kind, 1.0) / sum(_WEIGHTS.get(k, 1.0) for k in KINDS) for kind in KINDS]


class Mutation(NamedTuple):
    """A damaged file: what was done to what, and a DICOM's SOPInstanceUID or the kind of a ZIP's damage."""

    recipe: str
    name: str
    data: bytes


def dicoms(count: int, seed: int) -> list[Mutation]:
    """`count` damaged DICOM files, encodings in turn."""
    return [dicom_file(seed, i) for i in range(count)]


def dicom_file(seed: int, i: int) -> Mutation:
    """Damaged file i of a seed; before the damage its SOPInstanceUID was `uid_of(seed, i)`."""
    name = list(sound_dicoms.ENCODINGS)[i % len(sound_dicoms.ENCODINGS)]
    rng = rng_for(seed, "fuzz dicom", i)
    kind = str(rng.choice(list(KINDS), p=_SHARES))
    damage, data = KINDS[kind](sound_dicoms.sound(name, uid_of(seed, i)), rng)
    return Mutation(f"dicom_file({seed}, {i}), {name}: {damage}", uid_of(seed, i), data)


def zips(count: int, seed: int) -> list[Mutation]:
    """`count` damaged ZIPs; ZIP i held `members_of(seed, i)`, the first stored and the second deflated."""
    mutations = []
    for i in range(count):
        rng = rng_for(seed, "fuzz zip", i)
        kind = str(rng.choice(list(zip_fields.KINDS)))
        damage, data = zip_fields.KINDS[kind](zip_fields.zip_of(members_of(seed, i)), rng)
        mutations.append(Mutation(f"ZIP {i} of seed {seed}: {damage}", kind, data))
    return mutations


def members_of(seed: int, i: int) -> dict[str, bytes]:
    """Member name -> bytes of ZIP i before damage."""
    uids = [uid_of(seed, n) for n in (2 * i, 2 * i + 1)]
    return {f"1001/1001_triton_3d_macula_oct_l_{uid}.dcm": sound_dicoms.sound("native", uid) for uid in uids}
