"""ZIPs that lie in their structure: overlaps, bombs, ZIP64, one header against the other, hostile names.

Three members each, `a`, `b` and `c`; the damage says which can no longer be read, and which still can.
"""

import dataclasses
import random
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

from octshard.rng import rng_for
from tests.support.damage.case import Rng, pick
from tests.support.damage.quoted_overlap import quoted_overlap
from tests.support.made_release import Part, zip_bytes

LOCAL_BYTES, CENTRAL_BYTES = 30, 46
NOISE = random.Random(0).randbytes(4000)
TRUTH = {"a": NOISE[:900], "b": NOISE[900:2000] + bytes(500), "c": NOISE[2000:2600]}


class ZipDamage(NamedTuple):
    """A damaged ZIP. sound: members that must be read; lost: members that must not."""

    text: str
    data: bytes
    sound: frozenset[str]
    lost: frozenset[str] = frozenset()


Mutator = Callable[[list[Part], Rng], ZipDamage]


def case(seed: int, i: int) -> tuple[str, ZipDamage]:
    """(kind, damage) of ZIP i of a seed; kinds in turn."""
    rng = rng_for(seed, "structured zip", i)
    kind = list(MUTATORS)[i % len(MUTATORS)]
    parts = [Part(name, data, method) for (name, data), method in zip(TRUTH.items(), (8, 8, 0), strict=True)]
    return kind, MUTATORS[kind](parts, rng)


def _offsets(parts: list[Part]) -> list[int]:
    offsets = [0]
    for part in parts:
        offsets.append(
            offsets[-1] + LOCAL_BYTES + len(part.name.encode()) + len(part.extra) + len(part.body())
        )
    return offsets


def overlaps(parts: list[Part], rng: Rng) -> ZipDamage:
    """Members that share bytes: one twice, one inside another, one that reaches into the next."""
    a, b, c = parts
    starts = _offsets(parts)
    what = pick(rng, ("same", "inside", "reach", "quoted", "directory"))
    if what == "same":
        twin = Part("d", a.data, packed=b"", central={"offset": 0, "packed": len(a.body())})
        return ZipDamage("d is a again", zip_bytes([a, b, c, twin]), frozenset(), frozenset("ad"))
    if what == "inside":  # a whole ZIP is stored in c, and its member is listed too
        inner = zip_bytes([Part("d", b"inner")])
        outer = dataclasses.replace(c, data=inner)
        place = starts[2] + LOCAL_BYTES + 1
        twin = Part(
            "d", b"inner", packed=b"", central={"offset": place, "packed": len(Part("d", b"inner").body())}
        )
        return ZipDamage("d inside c", zip_bytes([a, b, outer, twin]), frozenset("ab"), frozenset("cd"))
    if what == "reach":
        more = len(b.body()) + int(rng.integers(1, 200))
        reaching = dataclasses.replace(b, central={"packed": more})
        return ZipDamage("b reaches into c", zip_bytes([a, reaching, c]), frozenset(), frozenset("bc"))
    if what == "directory":
        size = len(c.data) + int(rng.integers(1, 60))
        reaching = dataclasses.replace(c, central={"packed": size, "size": size})
        text = "c reaches into the directory"
        return ZipDamage(text, zip_bytes([a, b, reaching]), frozenset("ab"), frozenset("c"))
    return ZipDamage(
        "quoted overlap", quoted_overlap(int(rng.integers(2, 60))), frozenset(), frozenset({"0"})
    )


def bombs(parts: list[Part], rng: Rng) -> ZipDamage:
    """A member that unpacks to much more than it takes, and says so, or says less."""
    size = int(pick(rng, (2**20 + 1, 2**23, 2**25)))
    packed = zlib.compress(bytes(size), 9)[2:-4]
    honest = rng.random() < 0.4
    claim = size if honest else int(pick(rng, (1000, size - 1, size + 1, 2**32 - 2, 0)))
    bomb = Part("b", b"", packed=packed, central={"size": claim, "crc32": zlib.crc32(bytes(size))})
    bomb = dataclasses.replace(bomb, local=bomb.central)
    text = f"{size} zeros in {len(packed)} bytes that claim {claim}"
    return ZipDamage(text, zip_bytes([parts[0], bomb, parts[2]]), frozenset("ac"), frozenset("b"))


def zip64(parts: list[Part], rng: Rng) -> ZipDamage:
    """ZIP64 records that lie: 64-bit numbers, fields too short or of other kinds, end records elsewhere."""
    data = bytearray(zip_bytes(parts, wide=True))
    what = pick(rng, ("end", "locator", "field", "field kind", "field length", "narrow", "none"))
    if what == "none":
        return ZipDamage("sound ZIP64", bytes(data), frozenset("abc"))
    at = data.rindex(b"PK\6\6")
    if what == "end":
        name, place = pick(rng, (("here", 24), ("count", 32), ("bytes", 40), ("offset", 48), ("disk", 16)))
        value = int(pick(rng, (0, 1, 2**31, 2**63, 2**64 - 1, 10**6)))
        form = "<I" if name == "disk" else "<Q"
        struct.pack_into(form, data, at + place, value & (2 ** (8 * struct.calcsize(form)) - 1))
        return ZipDamage(f"ZIP64 end: {name} {value}", bytes(data), frozenset())
    if what == "locator":
        place = data.rindex(b"PK\6\7")
        struct.pack_into("<Q", data, place + 8, int(pick(rng, (0, 2**63, at + 1, len(data)))))
        return ZipDamage("a ZIP64 locator that points elsewhere", bytes(data), frozenset())
    if what == "narrow":  # 32-bit fields say that there is a ZIP64 one, and there is none
        field = str(pick(rng, ("packed", "size", "offset")))
        part = dataclasses.replace(parts[1], central={field: 2**32 - 1})
        return ZipDamage(
            f"{field} without ZIP64 field",
            zip_bytes([parts[0], part, parts[2]]),
            frozenset("ac"),
            frozenset("b"),
        )
    entries = [i for i in range(len(data)) if data.startswith(b"PK\1\2", i)]
    field_at = entries[1] + CENTRAL_BYTES + 1
    if what == "field":
        which = int(rng.integers(3))
        value = int(pick(rng, (0, 2**31, 2**33 + 1, 2**63, 2**64 - 1)))
        struct.pack_into("<Q", data, field_at + 4 + 8 * which, value)
        return ZipDamage(f"ZIP64 number {which} of b is {value}", bytes(data), frozenset(), frozenset("b"))
    if what == "field kind":
        struct.pack_into("<H", data, field_at, 0x7075)
        return ZipDamage("b's ZIP64 field has another kind", bytes(data), frozenset("ac"), frozenset("b"))
    struct.pack_into("<H", data, field_at + 2, int(pick(rng, (0, 7, 8, 16, 25, 65535))))
    return ZipDamage("b's ZIP64 field has another length", bytes(data), frozenset("ac"))


def contradictions(parts: list[Part], rng: Rng) -> ZipDamage:
    """One number of b in its local header, or in the directory, is not the other's."""
    where = pick(rng, ("local", "central"))
    name = str(pick(rng, ("flags", "method", "crc32", "packed", "size", "offset")))
    true = {**parts[1].facts(_offsets(parts)[1])}[name]
    value = int(pick(rng, (0, 1, 8, true + 1, max(0, true - 1), 2 * true, 2**31, 2**32 - 1)))
    value &= 0xFFFF if name in ("flags", "method") else 0xFFFFFFFF
    lost = frozenset("b") if value != true and name in ("method", "crc32", "size", "packed") else frozenset()
    if where == "local" and (name == "offset" or (value == 2**32 - 1 and name in ("packed", "size"))):
        lost = frozenset()  # there is no such field there, or it says: see the ZIP64 field
    part = dataclasses.replace(parts[1], **{where: {name: value}})
    sound = frozenset("ac") if name not in ("offset", "packed") else frozenset()
    return ZipDamage(f"{where} {name} {true} -> {value}", zip_bytes([parts[0], part, parts[2]]), sound, lost)


NAMES = (
    "../b", "/b", "C:\\b", "b\0", "..\\b", "x/../../b", "", ".", "..", "b/", "b" * 60_000, "ﬂ/b", "\u202eb",
    "a", "A", "./a", "CON", "b.", "b\n\x1b[31m", "//host/b",
)  # fmt: skip
HOSTILE = ("../b", "/b", "C:\\b", "b\0", "..\\b", "x/../../b", "//host/b")


def names(parts: list[Part], rng: Rng) -> ZipDamage:
    """A hostile name, in both places or in one; a name of other bytes than its flags say."""
    name = str(pick(rng, NAMES))
    data = zip_bytes([parts[0], dataclasses.replace(parts[1], name=name), parts[2]])
    if rng.random() < 0.3 and 0 < len(name.encode()) < 100:  # the directory has another one than the header
        raw = name.encode()
        at = data.rindex(raw)
        data = data[:at] + b"q" * len(raw) + data[at + len(raw) :]
        return ZipDamage(f"local name {name[:20]!r}, q.. in the directory", data, frozenset())
    lost = frozenset({name}) if name in HOSTILE else frozenset()
    sound = frozenset("c") if name in ("a", "./a") else frozenset("ac")
    return ZipDamage(f"name {name[:20]!r}", data, sound, lost)


def ends(parts: list[Part], rng: Rng) -> ZipDamage:
    """End records that lie, stand twice, stand in comments, or before and behind other bytes."""
    data = zip_bytes(parts)
    what = pick(rng, ("number", "comment", "fake", "twice", "front", "behind", "cut", "zip in zip"))
    if what == "number":
        name = str(pick(rng, ("disk", "count", "length", "offset")))
        value = (
            int(pick(rng, (0, 1, 2, 4, 65535)))
            if name in ("disk", "count")
            else int(pick(rng, (0, 1, 2**31, 2**32 - 1)))
        )
        return ZipDamage(f"end {name} {value}", zip_bytes(parts, **{name: value}), frozenset())
    if what == "comment":
        comment = rng.bytes(int(rng.integers(0, 60_000)))
        return ZipDamage("a comment", data[:-2] + struct.pack("<H", len(comment)) + comment, frozenset("abc"))
    if what == "fake":  # an end record of no members inside the comment
        comment = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, 0, 0, 0)
        return ZipDamage(
            "an end record in a comment", data[:-2] + struct.pack("<H", len(comment)) + comment, frozenset()
        )
    if what == "twice":
        return ZipDamage(
            "two ZIPs, one behind the other", zip_bytes([Part("z", b"z")]) + data, frozenset("abc")
        )
    if what == "front":
        return ZipDamage(
            "bytes before the ZIP", rng.bytes(int(rng.integers(1, 3000))) + data, frozenset("abc")
        )
    if what == "behind":
        return ZipDamage("bytes behind the ZIP", data + bytes(int(rng.integers(1, 3000))), frozenset())
    if what == "cut":
        stop = int(rng.integers(len(data)))
        return ZipDamage(f"cut at {stop}", data[:stop], frozenset())
    inner = dataclasses.replace(parts[2], data=data)
    return ZipDamage("a ZIP stored in a ZIP", zip_bytes([parts[0], parts[1], inner]), frozenset("abc"))


def streams(parts: list[Part], rng: Rng) -> ZipDamage:
    """b's deflated bytes end early, go on, are another format's, or are said to be another method's."""
    part, body = parts[1], parts[1].body()
    what = pick(
        rng, ("early", "more", "zlib", "gzip", "bad block", "method", "two", "stored", "encrypted", "extra")
    )
    if what == "method":
        method = int(pick(rng, (1, 6, 9, 12, 14, 93, 95, 98, 99)))
        changed = dataclasses.replace(part, packed=body, method=method)
    elif what == "encrypted":
        flags = int(pick(rng, (1, 0x40, 0x2000, 0x2001)))
        changed = dataclasses.replace(part, central={"flags": flags}, local={"flags": flags})
    elif what == "extra":
        changed = dataclasses.replace(part, extra=rng.bytes(int(pick(rng, (1, 30, 600, 60_000)))))
        return ZipDamage(
            "a long local extra field", zip_bytes([parts[0], changed, parts[2]]), frozenset("abc")
        )
    else:
        packed = {
            "early": body[: -int(rng.integers(1, 40))],
            "more": body + rng.bytes(9),
            "zlib": zlib.compress(part.data),
            "gzip": zlib.compressobj(wbits=31).compress(part.data),
            "bad block": b"\x07" + body,
            "two": body + body,
            "stored": part.data,
        }[what]
        changed = dataclasses.replace(part, packed=packed)
    return ZipDamage(
        f"stream: {what}", zip_bytes([parts[0], changed, parts[2]]), frozenset("ac"), frozenset("b")
    )


def descriptors(parts: list[Part], rng: Rng) -> ZipDamage:
    """Sizes behind the data (flag 8), as streaming writers put them; the local header has none."""
    sizes = {"flags": 8, "crc32": 0, "packed": 0, "size": 0}
    lies = dict(sizes, size=int(pick(rng, (0, 0, 1, 2**31)))) if rng.random() < 0.5 else sizes
    part = dataclasses.replace(parts[1], local=lies, central={"flags": 8})
    facts = parts[1].facts(0)
    tail = struct.pack("<4s3L", b"PK\7\x08", facts["crc32"], facts["packed"], facts["size"])
    if rng.random() < 0.5:
        tail = tail[4:]
    filler = Part("filler", b"", 0, packed=b"")
    data = zip_bytes([parts[0], part, filler, parts[2]])
    at = _offsets([parts[0], part])[2]
    grown = data[:at] + tail + data[at:]  # offsets of what follows are now too small by the tail
    if rng.random() < 0.5:
        return ZipDamage("a descriptor that moves what follows", grown, frozenset())
    return ZipDamage("sizes follow, and do not", data, frozenset("abc"))


MUTATORS: dict[str, Mutator] = {
    "overlaps": overlaps,
    "bombs": bombs,
    "ZIP64": zip64,
    "header against directory": contradictions,
    "names": names,
    "end records": ends,
    "deflated streams": streams,
    "descriptors": descriptors,
}
