"""Which file goes into which shard, decided before any byte is decoded. Pure: the same for any input order.

Samples are ordered by a seeded hash, so that a shard mixes participants; a split never crosses a shard.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from octshard.config import PrepConfig
from octshard.prep.aireadi import Entry
from octshard.rng import seed_for
from octshard.volume import SampleKey, product, resampled_shape

Number = TypeVar("Number", int, float)

SPLITS = ("train", "val", "test")
SHARES = (
    0.70,
    0.85,
)  # of participants up to which a hashed one is train, then val, where the release says nothing
PACKED = 0.7  # stored bytes per voxel: real OCT compresses 1.4-1.5 times (FACTS §5)


@dataclass(frozen=True)
class Member:
    """One manifest row in a shard's plan. twin: the path of the file it duplicates, or empty."""

    key: str
    entry: Entry
    twin: str = ""


@dataclass(frozen=True)
class ShardPlan:
    """One tar to be made, its name without suffix (train-000000), its members in order, refused ones too."""

    name: str
    split: str
    members: tuple[Member, ...]


def plan(entries: Iterable[Entry], splits: Mapping[str, str], cfg: PrepConfig) -> tuple[ShardPlan, ...]:
    """The shards of one device's entries: every entry is a member of exactly one."""
    shards: list[ShardPlan] = []
    members = _ordered(_members(entries), cfg.seed)
    people = {member.entry.participant for member in members}
    split_for = {person: split_of(person, splits, cfg.seed) for person in people}
    for split in SPLITS:
        mine = [m for m in members if split_for[m.entry.participant] == split]
        pieces = _cut(mine, [expected_bytes(m, cfg) for m in mine], cfg.shard_bytes)
        shards += [ShardPlan(f"{split}-{i:06d}", split, piece) for i, piece in enumerate(pieces)]
    return tuple(shards)


def split_of(participant: str, splits: Mapping[str, str], seed: int) -> str:
    """The release's split of a person, else 70/15/15 by a stable hash."""
    if participant in splits:
        return splits[participant]
    share = seed_for(seed, "split", participant) / 2**64
    return SPLITS[sum(share >= limit for limit in SHARES)]


def expected_bytes(member: Member, cfg: PrepConfig) -> int:
    """About what the member will take in a tar, from the manifest alone; a refused one takes nothing."""
    entry = member.entry
    if member.twin or not entry.path:
        return 0
    shape = triple(cfg.image_size)
    if cfg.fit == "crop_pad" and entry.frames and entry.rows and entry.cols and entry.pixel_mm:
        dy, dx = entry.pixel_mm
        dz = entry.slice_mm or entry.cols * dx / entry.frames  # most scans are square
        target = triple(cfg.target_spacing)
        shape = resampled_shape((entry.frames, entry.rows, entry.cols), (dz, dy, dx), target)
    return int(product(shape) * PACKED)


def triple(values: Sequence[Number]) -> tuple[Number, Number, Number]:
    """A config's list along (D, H, W) as a tuple."""
    d, h, w = values
    return d, h, w


def digest(shards: Sequence[ShardPlan]) -> str:
    """16 hex digits that change when any member, its manifest row or its place does."""
    found = hashlib.sha256()
    for shard in shards:
        found.update(repr(shard).encode())  # frozen values all the way down: their text is their value
    return found.hexdigest()[:16]


def _members(entries: Iterable[Entry]) -> list[Member]:
    """Keys, and duplicates: of rows with one SOPInstanceUID or one path, the first in path order is kept."""
    seen: dict[str, str] = {}
    members = []
    for entry in sorted(entries, key=lambda e: (e.path, repr(e))):
        key = SampleKey.of(*_names(entry), entry.sop_instance_uid or entry.path)
        names = [name for name in (entry.sop_instance_uid, entry.path) if name]
        twin = next((seen[name] for name in names if name in seen), "")
        for name in names:
            seen.setdefault(name, entry.path)
        members.append(Member(str(key), entry, twin))
    return members


def _names(entry: Entry) -> tuple[str, str, str, str]:
    return entry.participant, entry.device, entry.protocol, entry.eye


def _ordered(members: Iterable[Member], seed: int) -> list[Member]:
    return sorted(members, key=lambda m: (seed_for(seed, "order", m.key, m.entry.path), m.entry.path))


def _cut(members: Sequence[Member], sizes: Sequence[int], limit: int) -> list[tuple[Member, ...]]:
    """Consecutive pieces of nearly equal size, about `limit` bytes each, none empty."""
    total = max(1, sum(sizes))
    count = max(1, round(total / limit))
    pieces: dict[int, list[Member]] = {}
    before = 0
    for member, size in zip(members, sizes, strict=True):
        place = min(count - 1, (2 * before + size) * count // (2 * total))
        pieces.setdefault(place, []).append(member)
        before += size
    return [tuple(pieces[place]) for place in sorted(pieces)]
