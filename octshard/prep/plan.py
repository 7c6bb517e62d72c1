"""Which file goes into which shard, decided before any byte is decoded. Pure: the same for any input order.

Samples are ordered by a seeded hash, so that a shard mixes participants; a split never crosses a shard.
Twins (rows with the same SOPInstanceUID or path) may be one scan. Only their bytes show whether they are, and
which of them are sound, so a member carries its twins, and the build looks at them.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from octshard.config.prep import KEEP, PrepConfig
from octshard.dataset.participants import canonical
from octshard.dataset.splits import SPLITS
from octshard.imaging.volume import SampleKey, product, resampled_shape, triple, uid_digest
from octshard.prep.release.entry import Entry
from octshard.rng import seed_for

# of participants: up to the first train, up to the second val, the rest test; where the release says nothing
SHARES = (0.70, 0.85)
PACKED = 0.7  # stored bytes per voxel: real OCT compresses 1.4-1.5 times
PACKED_WIDE = 1.5  # where more than 8 bits are kept; how many a file has is not known before it is read


@dataclass(frozen=True)
class Member:
    """One manifest row in a shard's plan. rank: how many of its twins come before it in path order.

    split_source: `recommended` by the release, or `hash`. expected_duplicate: a twin before it is of the same
    person and eye, or has its path. shares_uid: another path before it has its UID in the manifest.
    """

    key: SampleKey
    entry: Entry
    rank: int = 0
    # itself and its twins, in path order; shared by them all, and not in the text of the digest
    group: tuple[Entry, ...] = field(default=(), repr=False, hash=False)
    split_source: str = ""
    expected_duplicate: bool = False
    shares_uid: bool = False

    @property
    def stored_key(self) -> SampleKey:
        """Of its sample if it is stored: `key`, with a digest of UID and path where others have that UID."""
        if not self.shares_uid:
            return self.key
        digest = uid_digest(f"{self.entry.sop_instance_uid} {self.entry.source}")
        return replace(self.key, digest=digest)

    @property
    def earlier_duplicates(self) -> tuple[Entry, ...]:
        """Its twins that come before it in path order."""
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
    members = [
        replace(member, split_source="recommended" if member.entry.participant in splits else "hash")
        for member in _ordered(_members(entries), cfg.seed)
    ]
    participants = {member.entry.participant for member in members}
    split_for = {participant: split_of(participant, splits, cfg.seed) for participant in participants}
    for split in SPLITS:
        in_split = [m for m in members if split_for[m.entry.participant] == split]
        pieces = _cut(in_split, [expected_bytes(m, cfg) for m in in_split], cfg.shard_bytes)
        shards += [ShardPlan(f"{split}-{i:06d}", split, piece) for i, piece in enumerate(pieces)]
    return tuple(shards)


def draw_subset(entries: Sequence[Entry], limit: int, seed: int) -> list[Entry]:
    """`limit` entries, a seeded draw that does not depend on their order; 0: all."""
    if not limit:
        return list(entries)
    drawn = sorted(entries, key=lambda e: (seed_for(seed, "draw", e.path, e.sop_instance_uid), _text(e)))
    return drawn[:limit]


def split_of(participant: str, splits: Mapping[str, str], seed: int) -> str:
    """The release's split of a person, else 70/15/15 by a stable hash."""
    if participant in splits:
        return splits[participant]
    share = seed_for(seed, "split", participant) / 2**64
    return SPLITS[sum(share >= limit for limit in SHARES)]


def expected_bytes(member: Member, cfg: PrepConfig) -> int:
    """About the bytes of the member in a tar, by the manifest alone; an expected duplicate takes none."""
    entry = member.entry
    if member.expected_duplicate or not entry.path:
        return 0
    shape = triple(cfg.image_size)
    step_mm, *default_mm = entry.default_mm or (None,)
    plane_mm = entry.pixel_mm or tuple(default_mm)
    if cfg.fit == "crop_pad" and entry.frames and entry.rows and entry.cols and plane_mm:
        dy, dx = plane_mm
        dz = entry.slice_mm or step_mm or entry.cols * dx / entry.frames  # most scans are square
        target = triple(cfg.target_spacing)
        shape = resampled_shape((entry.frames, entry.rows, entry.cols), (dz, dy, dx), target)
    packed = PACKED_WIDE if cfg.bits == KEEP else PACKED
    return int(min(product(shape), cfg.max_output_voxels) * packed)


def digest(shards: Sequence[ShardPlan]) -> str:
    """16 hex digits that change when any member, its manifest row or its place does."""
    total = hashlib.sha256()
    for shard in shards:
        total.update(_digest_text(shard).encode())
    return total.hexdigest()[:16]


def _digest_text(shard: ShardPlan) -> str:
    """The text of a shard in the digest. It is part of the format: a folder is resumed only if it agrees."""
    members = [f"Member(key={m.key!r}, entry={_text(m.entry)}, before={m.rank})" for m in shard.members]
    text = ", ".join(members) + ("," if len(members) == 1 else "")
    return f"ShardPlan(name={shard.name!r}, split={shard.split!r}, members=({text}))"


def _text(entry: Entry) -> str:
    """All that a row says: as in 0.1.0, and behind it what newer columns say, where they say something.

    Without names that are private: who guesses them would see in a digest that he is right.
    """
    entry = replace(entry, path=entry.source)
    axes = f" axes={entry.axes}" if entry.axes else ""
    told = len(entry.part_names) if entry.source_id else entry.parts
    parts = f" parts={told}" if told else ""
    parts += f" default={entry.default_mm}" if entry.default_mm else ""
    return f"{entry!r}{axes}{f' acquired={entry.acquired}' if entry.acquired else ''}{parts}"


def _members(entries: Iterable[Entry]) -> list[Member]:
    """Keys, and twins: rows that share a SOPInstanceUID or a path, or have a twin in common."""
    ordered = sorted(entries, key=lambda e: (e.path, _text(e)))
    roots = _roots(ordered)
    groups: dict[int, list[Entry]] = {}
    for entry, root in zip(ordered, roots, strict=True):
        groups.setdefault(root, []).append(entry)
    twins = {root: tuple(group) for root, group in groups.items()}
    ranks, seen = Counter[int](), set[tuple[object, ...]]()
    first_path: dict[str, str] = {}  # of a UID
    members = []
    for entry, root in zip(ordered, roots, strict=True):
        eye, uid = entry.eye or entry.eye_in_name, entry.sop_instance_uid
        scans = {(root, canonical(entry.participant), eye), (root, entry.path)}
        member = Member(_key(entry), entry, ranks[root], twins[root])
        is_expected, shares = not seen.isdisjoint(scans), first_path.setdefault(uid, entry.path) != entry.path
        members.append(replace(member, expected_duplicate=is_expected, shares_uid=bool(uid) and shares))
        ranks[root] += 1
        seen |= scans
    return members


def _roots(entries: Sequence[Entry]) -> list[int]:
    """For every entry the index that stands for its group (union-find over UIDs and paths)."""
    root = list(range(len(entries)))
    first_with: dict[str, int] = {}

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for i, entry in enumerate(entries):
        for identifier in (entry.sop_instance_uid, entry.path):
            if identifier:
                root[find(i)] = find(first_with.setdefault(identifier, i))
    return [find(i) for i in range(len(entries))]


def _key(entry: Entry) -> SampleKey:
    uid = entry.sop_instance_uid or entry.source
    eye = entry.eye or entry.eye_in_name
    return SampleKey.of(entry.participant, entry.device, entry.protocol, eye, uid)


def _ordered(members: Iterable[Member], seed: int) -> list[Member]:
    return sorted(members, key=lambda m: (seed_for(seed, "order", str(m.key), m.entry.path), m.entry.path))


def _cut(members: Sequence[Member], sizes: Sequence[int], limit: int) -> list[tuple[Member, ...]]:
    """Consecutive pieces of nearly equal size, about `limit` bytes each, none empty."""
    total = max(1, sum(sizes))
    count = max(1, round(total / limit))
    pieces: dict[int, list[Member]] = {}
    bytes_before = 0
    for member, size in zip(members, sizes, strict=True):
        piece = min(count - 1, (2 * bytes_before + size) * count // (2 * total))
        pieces.setdefault(piece, []).append(member)
        bytes_before += size
    return [tuple(pieces[piece]) for piece in sorted(pieces)]
