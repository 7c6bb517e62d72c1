"""Which file goes into which shard, decided before any byte is decoded. Pure: the same for any input order.

Samples are ordered by a seeded hash, so that a shard mixes participants; a split never crosses a shard.
Of twins (rows with one SOPInstanceUID or one path) the first in path order that is not refused for its own
sake is kept. Only their bytes can tell which one that is, so a member carries its twins, and the build asks.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from octshard.config.prep import PrepConfig
from octshard.dataset.splits import SPLITS
from octshard.imaging.volume import SampleKey, product, resampled_shape, triple
from octshard.prep.release.aireadi import Entry
from octshard.rng import seed_for

SHARES = (
    0.70,
    0.85,
)  # of participants up to which a hashed one is train, then val, where the release says nothing
PACKED = 0.7  # stored bytes per voxel: real OCT compresses 1.4-1.5 times


@dataclass(frozen=True)
class Member:
    """One manifest row in a shard's plan. before: how many of its twins come before it in path order."""

    key: SampleKey
    entry: Entry
    rank: int = 0
    # itself and its twins, in path order: shared by them all, no part of the text that is digested
    group: tuple[Entry, ...] = field(default=(), repr=False, hash=False)

    @property
    def earlier_duplicates(self) -> tuple[Entry, ...]:
        """Those that go before it."""
        return self.group[: self.rank]


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


def draw_subset(entries: Sequence[Entry], limit: int, seed: int) -> list[Entry]:
    """`limit` entries, a seeded draw that does not hang on their order; 0: all."""
    if not limit:
        return list(entries)
    return sorted(entries, key=lambda e: (seed_for(seed, "draw", e.path, e.sop_instance_uid), repr(e)))[
        :limit
    ]


def split_of(participant: str, splits: Mapping[str, str], seed: int) -> str:
    """The release's split of a person, else 70/15/15 by a stable hash."""
    if participant in splits:
        return splits[participant]
    share = seed_for(seed, "split", participant) / 2**64
    return SPLITS[sum(share >= limit for limit in SHARES)]


def expected_bytes(member: Member, cfg: PrepConfig) -> int:
    """About what the member will take in a tar, from the manifest alone; a later twin takes nothing."""
    entry = member.entry
    if member.rank or not entry.path:
        return 0
    shape = triple(cfg.image_size)
    if cfg.fit == "crop_pad" and entry.frames and entry.rows and entry.cols and entry.pixel_mm:
        dy, dx = entry.pixel_mm
        dz = entry.slice_mm or entry.cols * dx / entry.frames  # most scans are square
        target = triple(cfg.target_spacing)
        shape = resampled_shape((entry.frames, entry.rows, entry.cols), (dz, dy, dx), target)
    return int(min(product(shape), cfg.max_output_voxels) * PACKED)


def digest(shards: Sequence[ShardPlan]) -> str:
    """16 hex digits that change when any member, its manifest row or its place does."""
    total = hashlib.sha256()
    for shard in shards:
        total.update(_digest_text(shard).encode())
    return total.hexdigest()[:16]


def _digest_text(shard: ShardPlan) -> str:
    """The text that stands for a shard in the digest. It is part of the format: folders are resumed by it."""
    members = [f"Member(key={m.key!r}, entry={m.entry!r}, before={m.rank})" for m in shard.members]
    inside = ", ".join(members) + ("," if len(members) == 1 else "")
    return f"ShardPlan(name={shard.name!r}, split={shard.split!r}, members=({inside}))"


def _members(entries: Iterable[Entry]) -> list[Member]:
    """Keys, and twins: rows that share a SOPInstanceUID or a path, or have a twin in common."""
    ordered = sorted(entries, key=lambda e: (e.path, repr(e)))
    groups: dict[int, list[Entry]] = {}
    placed = []
    for entry, root in zip(ordered, _roots(ordered), strict=True):
        group = groups.setdefault(root, [])
        placed.append((entry, len(group), root))
        group.append(entry)
    shared = {root: tuple(group) for root, group in groups.items()}
    return [Member(_key(entry), entry, before, shared[root]) for entry, before, root in placed]


def _roots(entries: Sequence[Entry]) -> list[int]:
    """For every entry the index that stands for its group (union-find over UIDs and paths)."""
    root = list(range(len(entries)))
    first: dict[str, int] = {}

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for i, entry in enumerate(entries):
        for name in (entry.sop_instance_uid, entry.path):
            if name:
                root[find(i)] = find(first.setdefault(name, i))
    return [find(i) for i in range(len(entries))]


def _key(entry: Entry) -> SampleKey:
    uid = entry.sop_instance_uid or entry.path
    eye = entry.eye or entry.eye_in_name
    return SampleKey.of(entry.participant, entry.device, entry.protocol, eye, uid)


def _ordered(members: Iterable[Member], seed: int) -> list[Member]:
    return sorted(members, key=lambda m: (seed_for(seed, "order", str(m.key), m.entry.path), m.entry.path))


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
