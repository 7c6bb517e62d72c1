"""Shards that lie: tar headers, pax, sparse members and links, hostile JSON, zstd frames that hold too much.

Three samples, `s-0` to `s-2`; the damage is to one of them or between them. The header's own checksum is
mended, so that the lie is read.
"""

import json
import struct
import tarfile
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import zstandard

from octshard.dataset import shard
from octshard.rng import rng_for
from tests.support.damage.case import Rng, pick

SHAPE = (4, 12, 10)
BLOCK = 512


class TarDamage(NamedTuple):
    """A damaged shard: the slices of its samples, and the whole."""

    text: str
    slices: tuple[bytes, ...]  # as a table that agrees with the damage would have them
    data: bytes


Mutator = Callable[[list[bytes], Rng], TarDamage]


def voxels(number: int) -> np.ndarray:
    """Of sample `number` before damage."""
    return np.sort(rng_for("shard", number).integers(0, 256, SHAPE, np.uint8), axis=1)


@lru_cache
def sound() -> tuple[bytes, ...]:
    """The slices of the three samples."""
    return tuple(shard.pack(f"s-{i}", {"spacing_mm": [1.0, 1.0, 1.0]}, voxels(i), 3) for i in range(3))


def case(seed: int, i: int) -> tuple[str, TarDamage]:
    """(kind, damage) of shard i of a seed; kinds in turn."""
    rng = rng_for(seed, "structured shard", i)
    kind = list(MUTATORS)[i % len(MUTATORS)]
    return kind, MUTATORS[kind](list(sound()), rng)


def whole(slices: list[bytes], text: str, end: bytes = bytes(2 * BLOCK)) -> TarDamage:
    """The tar of these slices."""
    return TarDamage(text, tuple(slices), b"".join(slices) + end)


def member(
    name: str, data: bytes, *, kind: bytes = b"0", size: int | bytes | None = None, link: str = ""
) -> bytes:
    """One member; size: what its header claims, a number in octal or the very bytes of the field."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.type, info.linkname = len(data), 0o644, kind, link
    head = bytearray(info.tobuf(tarfile.USTAR_FORMAT, "ascii", "replace"))
    if size is not None:
        field = size if isinstance(size, bytes) else b"%011o\0" % size
        head[124:136] = field.ljust(12, b"\0")[:12]
    return summed(head) + data + bytes(-len(data) % BLOCK)


def summed(head: bytearray) -> bytes:
    """A header with the checksum that belongs to it."""
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


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


def _sample(number: int, text: bytes, frame: bytes) -> bytes:
    return member(f"s-{number}.json", text) + member(f"s-{number}.vol.zst", frame)


def _meta(**values: object) -> dict[str, object]:
    return {"key": "s-1", "shape": list(SHAPE), "dtype": "uint8", "spacing_mm": [1.0, 1.0, 1.0], **values}


SHAPES = (
    None, 4, "4", [], [4], [4, 12], [4, 12, 10, 1], [0, 12, 10], [-4, -12, 10], [4, 12, -10], [4.5, 12, 10],
    [480, 1, 1], [4.0, 12.0, 10.0], ["4", "12", "10"], [True, 48, 10], [10**9] * 3, [2**63, 1, 1],
    [10**400, 1, 1], [[4], [12], [10]], {"0": 4, "1": 12, "2": 10}, [1e308, 12, 10], [float("nan"), 12, 10],
)  # fmt: skip
DTYPES = (
    None, "", "object", "O", "V8", "V1000000000", "U1000000", "S", "float128", "complex64", "datetime64[ns]",
    "uint16", "int8", "bool", "u1,u1", "(1000,)u1", 7, ["uint8"], {"names": ["a"], "formats": ["u1"]}, ">u2",
    [["a", "O"]],
    "<u1", "uint8 ", "garbage", "m8",
)  # fmt: skip


def texts(slices: list[bytes], rng: Rng) -> TarDamage:
    """The JSON of a sample: deep, long, of other types, no JSON at all, with a shape or dtype that lies."""
    frame = slices[1][slices[1].index(b"\x28\xb5\x2f\xfd") :]
    frame = zstandard.ZstdCompressor(write_checksum=True, write_content_size=True).compress(
        voxels(1).tobytes()
    )
    what = pick(rng, ("shape", "shape", "dtype", "dtype", "deep", "bytes", "types", "keys", "numbers"))
    meta = _meta()
    if what == "shape":
        meta["shape"] = pick(rng, SHAPES)
    elif what == "dtype":
        meta["dtype"] = pick(rng, DTYPES)
    text = json.dumps(meta).encode()
    if what == "deep":
        depth = int(pick(rng, (100, 3_000, 100_000)))
        opened, closed = pick(rng, ((b"[", b"]"), (b'{"a":', b"}")))
        text = text[:-1] + b', "x": ' + opened * depth + b"1" * (opened != b"[") + closed * depth + b"}"
    elif what == "bytes":
        text = pick(
            rng,
            (
                b"",
                b"{",
                b"\xff\xfe{}",
                b"\0" * 30,
                text + text,
                text.replace(b'"', b"'"),
                b"\xef\xbb\xbf" + text,
            ),
        )
    elif what == "types":
        text = pick(
            rng, (b"null", b"[]", b"3", b'"s-1"', b"true", b'{"shape":{}}', b'{"key":null}', b"[[4,12,10]]")
        )
    elif what == "keys":
        text = text[:-1] + pick(
            rng, (b', "shape": [1,1,1]}', b', "key": "other"}', b', "key": null}', b', "dtype": "int8"}')
        )
    elif what == "numbers":
        text = text[:-1] + pick(
            rng,
            (b', "mean": NaN}', b', "a": ' + b"9" * 5000 + b"}", b', "std": -Infinity}', b', "a": 1e999}'),
        )
    slices[1] = _sample(1, text, frame)
    return whole(slices, f"JSON of s-1, {what}: {text[:160]!r}")


def frames(slices: list[bytes], rng: Rng) -> TarDamage:
    """The zstd frame of a sample: a bomb, a size that lies, a huge window, two frames, none, raw blocks."""
    raw = voxels(1).tobytes()
    whole_frame = zstandard.ZstdCompressor(level=3, write_checksum=True, write_content_size=True).compress(
        raw
    )
    what = pick(
        rng,
        ("bomb", "bomb that fits", "claim", "window", "two", "skippable", "no size", "no checksum", "cut",
         "raw", "reserved", "dictionary", "short", "long", "flip", "shape bomb"),
    )  # fmt: skip
    frame, meta = whole_frame, _meta()
    if what in ("bomb", "bomb that fits", "shape bomb"):
        frame = _zeros(int(pick(rng, (2**24, 5 * 10**9))))
        if what != "bomb":
            size = struct.unpack_from("<Q", frame, 6)[0]
            meta["shape"] = [size // 1000, 10, 100] if what == "bomb that fits" else [1, 1, size]
    elif what == "claim":
        claims = (0, 1, 479, 481, 2**32, 10**11, 2**63, 2**64 - 1)
        frame = b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", int(pick(rng, claims))) + whole_frame[7:]
    elif what == "window":
        exponent = int(pick(rng, (17, 21, 22, 31)))
        frame = (
            b"\x28\xb5\x2f\xfd\xc4"
            + bytes([exponent << 3 | 7])
            + struct.pack("<Q", len(raw))
            + whole_frame[7:]
        )
    elif what == "two":
        frame = whole_frame + whole_frame
    elif what == "skippable":
        junk = struct.pack("<II", 0x184D2A50, int(pick(rng, (4, 2**32 - 1)))) + b"junk"
        frame = junk + whole_frame if rng.random() < 0.5 else whole_frame + junk
    elif what == "no size":
        frame = zstandard.ZstdCompressor(write_content_size=False).compress(raw)
    elif what == "no checksum":
        frame = zstandard.ZstdCompressor(write_checksum=False, write_content_size=True).compress(raw)
    elif what == "cut":
        frame = whole_frame[: int(rng.integers(len(whole_frame)))]
    elif what == "raw":
        frame = raw
    elif what == "reserved":
        frame = whole_frame[:7] + b"\x07\0\0" + whole_frame[7:]
    elif what == "dictionary":
        words = zstandard.ZstdCompressionDict(raw)
        frame = zstandard.ZstdCompressor(dict_data=words, write_content_size=True).compress(raw)
    elif what in ("short", "long"):
        other = raw[:-7] if what == "short" else raw + b"1234567"
        frame = zstandard.ZstdCompressor(write_checksum=True, write_content_size=True).compress(other)
    else:
        broken = bytearray(whole_frame)
        broken[int(rng.integers(len(broken)))] ^= int(rng.integers(1, 256))
        frame = bytes(broken)
    slices[1] = _sample(1, json.dumps(meta).encode(), frame)
    return whole(slices, f"zstd of s-1: {what}, {len(frame)} bytes, shape {meta['shape']}")


@lru_cache
def _zeros(size: int) -> bytes:
    """A frame of `size` zeros: one block of 128 KiB said again and again (RFC 8878, RLE blocks)."""
    head = b"\x28\xb5\x2f\xfd\xc0" + bytes([17 - 10 << 3]) + struct.pack("<Q", size)
    blocks, left = [], size
    while left:
        count = min(left, 2**17)
        left -= count
        blocks.append(struct.pack("<I", count << 3 | 1 << 1 | (not left))[:3] + b"\0")
    return head + b"".join(blocks)


MUTATORS: dict[str, Mutator] = {
    "tar headers": headers,
    "tar extensions": extensions,
    "tar order": order,
    "sample JSON": texts,
    "zstd frames": frames,
}
