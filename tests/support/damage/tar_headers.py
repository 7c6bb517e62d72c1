"""Tar headers that lie, extensions, links, and members in another order."""

from tests.support.damage.case import Rng, pick
from tests.support.damage.tar_members import BLOCK, TarDamage, member, summed, whole


def headers(slices: list[bytes], rng: Rng) -> TarDamage:
    """One field of one header: sizes of all spellings, types, names, prefixes, checksums."""
    at = int(rng.integers(3))
    data = bytearray(slices[at])
    second = BLOCK + -(-int(data[124:135], 8) // BLOCK) * BLOCK
    place = int(pick(rng, (0, second)))
    head = bytearray(data[place : place + BLOCK])
    what = pick(rng, ("size", "size", "type", "name", "prefix", "sum", "magic", "mode", "mtime"))
    if what == "size":
        values = (
            b"00000000000\0", b"77777777777\0", b"-0000000001\0", b"00000000-10\0", b"           \0",
            b"\x80" + (2**62).to_bytes(11), b"\x80" + (10**11).to_bytes(11), b"\xff" * 12, b"abc\0",
            b"\x80" + bytes(11), b"00000000001\0", b"00000010000\0", b"00000177777\0", b"99999999999\0",
            b"1e3\0", b"0x10\0", b" 12 34 \0", b"00000000777 ", b"\0" * 12, b"\xff" * 11 + b"\0",
        )  # fmt: skip
        head[124:136] = pick(rng, values).ljust(12, b"\0")[:12]
    elif what == "type":
        head[156:157] = pick(
            rng, (b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"g", b"x", b"L", b"K", b"S", b"\0", b"Z")
        )
        head[157:170] = b"../../etc/pwd"
    elif what == "name":
        name = pick(
            rng,
            (
                b"../../x.json",
                b"/etc/x.json",
                b"",
                b"s-1.json",
                b"s-0.vol.zst",
                b"\xff\xfe.json",
                b"s-0",
                b"n" * 100,
            ),
        )
        head[:100] = name.ljust(100, b"\0")
    elif what == "prefix":
        head[345:500] = pick(rng, (b"..", b"/", b"a" * 155, b"\xff")).ljust(155, b"\0")
    elif what == "magic":
        head[257:265] = pick(rng, (b"ustar  \0", b"\0" * 8, b"GNUtar \0", b"ustar\x0011"))
    elif what in ("mode", "mtime"):
        start = {"mode": 100, "mtime": 136}[what]
        head[start : start + 8] = pick(rng, (b"\xff" * 8, b"zzzzzzz\0", b"-000001\0", b"\0" * 8))
    data[place : place + BLOCK] = head if what == "sum" else summed(head)
    if what == "sum":
        data[place + 148 + int(rng.integers(6))] ^= int(rng.integers(1, 256))
    slices[at] = bytes(data)
    return whole(slices, f"{what} of a header of s-{at}: {bytes(head[124:136])!r}")


def extensions(slices: list[bytes], rng: Rng) -> TarDamage:
    """pax, GNU and sparse members before or between: sizes and names that they would change."""
    at = int(rng.integers(3))
    what = pick(
        rng, ("pax size", "pax path", "global", "long name", "sparse", "pax sparse", "link", "folder", "fifo")
    )
    record = {
        "pax size": b"size=100000000000", "pax path": b"path=../../x.json", "global": b"size=1",
        "pax sparse": b"GNU.sparse.realsize=1000000000000",
    }.get(what, b"")  # fmt: skip
    if record:
        body = b"%d %s\n" % (len(record) + 4, record)
        extra = member("pax", body, kind=b"g" if what == "global" else b"x")
    elif what == "long name":
        extra = member("././@LongLink", b"x" * int(pick(rng, (10, 600, 70_000))), kind=b"L")
    elif what == "sparse":
        extra = member("sparse", b"", kind=b"S", size=2**33 - 1)
    else:
        kind = {"link": pick(rng, (b"1", b"2")), "folder": b"5", "fifo": b"6"}[what]
        extra = member("s-0.json", b"", kind=kind, link="/etc/passwd")
    if rng.random() < 0.5:
        slices[at] = extra + slices[at]
    else:
        place = BLOCK + -(-int(slices[at][124:135], 8) // BLOCK) * BLOCK
        slices[at] = slices[at][:place] + extra + slices[at][place:]
    return whole(slices, f"{what} in s-{at}")


def order(slices: list[bytes], rng: Rng) -> TarDamage:
    """Members that are gone, twice, exchanged; no end, a long end, bytes behind it."""
    what = pick(
        rng, ("swap", "twice", "gone", "half", "voxels first", "no end", "behind", "cut", "zeros", "empty")
    )
    at = int(rng.integers(3))
    if what == "swap":
        slices[0], slices[at] = slices[at], slices[0]
    elif what == "twice":
        slices.insert(at, slices[at])
    elif what == "gone":
        del slices[at]
    elif what in ("half", "voxels first"):
        place = BLOCK + -(-int(slices[at][124:135], 8) // BLOCK) * BLOCK
        first, second = slices[at][:place], slices[at][place:]
        slices[at] = pick(rng, (first, second)) if what == "half" else second + first
    elif what == "zeros":
        slices[at] = bytes(len(slices[at]))
    elif what == "empty":
        return TarDamage("an empty file", tuple(slices), b"")
    if what in ("no end", "behind"):
        return whole(slices, what, b"" if what == "no end" else bytes(1024) + rng.bytes(700))
    damage = whole(slices, f"{what}, s-{at}")
    if what == "cut":
        return damage._replace(data=damage.data[: int(rng.integers(len(damage.data)))])
    return damage
