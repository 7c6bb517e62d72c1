"""Samples that lie inside a whole tar: their JSON, and zstd frames that claim or hold too much."""

import json
import struct
from functools import lru_cache

import zstandard

from tests.support.damage.case import Rng, pick
from tests.support.damage.tar_members import SHAPE, TarDamage, member, voxels, whole


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
