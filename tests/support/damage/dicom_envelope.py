"""Damage to DICOM files as a whole: cut, file meta information that lies, deflated datasets that do."""

import struct
import zlib
from collections.abc import Callable

from tests.support.damage import dicom_tree
from tests.support.damage.case import CODEC, HEADER, OK, Damage, Rng, outcomes, pick
from tests.support.damage.dicom_tree import PIXEL_DATA, Node, Tree

Mutator = Callable[[Tree, Rng], Damage]


def cut(tree: Tree, rng: Rng) -> Damage:
    """Cut at the edge of an element: before it, inside its header, behind its header, inside its value."""
    whole = dicom_tree.write(tree)
    if tree.syntax == dicom_tree.DEFLATED:
        stop = int(rng.integers(len(tree.head), len(whole)))
        return Damage(f"deflated, cut at {stop}", whole[:stop], outcomes("truncated"))
    edges, at = [], len(tree.head)
    for node in tree.nodes:
        edges.append(at)
        at += len(dicom_tree.written(tree, node))
    stop = min(len(whole) - 1, pick(rng, edges) + int(pick(rng, (0, 0, 1, 4, 6, 8, 9, 12))))
    words = "no_pixel_data truncated" if stop < edges[-1] + 12 else "truncated"  # a value may be empty
    return Damage(f"cut at {stop} of {len(whole)}", whole[:stop], outcomes(words))


def meta(tree: Tree, rng: Rng) -> Damage:
    """The file meta information lies about its length, comes twice, without syntax, implicit, or late."""
    head, body = tree.head, dicom_tree.write(tree)[len(tree.head) :]
    start = head.index(b"\x02\x00\x10\x00UI")
    size = struct.unpack_from("<H", head, start + 6)[0]
    element, value = head[start : start + 8 + size], head[start + 8 : start + 8 + size]
    what = pick(
        rng, ("length", "twice", "none", "spaces", "implicit", "late", "private", "no preamble", "long")
    )
    words = "ok unreadable truncated no_pixel_data"
    if what == "length":
        claim = int(pick(rng, (0, 1, 8, 2**31, 2**32 - 1, len(head) + len(body))))
        head = head[:140] + struct.pack("<I", claim) + head[144:]
        words = "ok unreadable truncated"
    elif what == "twice":
        other = pick(rng, (b"1.2.840.10008.1.2\0", b"1.2.840.10008.1.2.5\0", value))
        head += struct.pack("<HH2sH", 2, 0x10, b"UI", len(other)) + other
        words = f"{HEADER} {CODEC}"
    elif what == "none":
        head, words = head.replace(element, b""), "unreadable not_dicom"
    elif what == "spaces":
        padded = value.rstrip(b"\0") + pick(rng, (b"  ", b"\0\0\0", b" \0", b"\n", b"\t "))
        padded += b"\0" * (len(padded) % 2)
        head = head.replace(element, struct.pack("<HH2sH", 2, 0x10, b"UI", len(padded)) + padded)
        words = "ok unreadable unsupported_syntax"
    elif what == "implicit":
        head = head.replace(element, struct.pack("<HHI", 2, 0x10, size) + value)
        words = "ok unreadable truncated"
    elif what == "late":
        head, body = head.replace(element, b""), body + element
        words = "unreadable truncated no_pixel_data"
    elif what == "private":
        head += struct.pack("<HH2sHI", 2, 0x102, b"OB", 0, 2**31)
        words = "truncated"
    elif what == "no preamble":
        head = head[int(pick(rng, (128, 1, 127))) :]
        words = "not_dicom"
    else:
        extra = rng.bytes(2 * int(rng.integers(1, 30_000)))
        head += struct.pack("<HH2sHI", 2, 0x102, b"OB", 0, len(extra)) + extra
        words = "ok"
    return Damage(f"meta: {what}", head + body, outcomes(words))


def deflated(tree: Tree, rng: Rng) -> Damage:
    """A deflated dataset that is a bomb, several streams, wrapped otherwise, or followed by something."""
    new = b"1.2.840.10008.1.2.1.99"
    start = tree.head.index(b"\x02\x00\x10\x00UI")
    size = struct.unpack_from("<H", tree.head, start + 6)[0]
    head = tree.head[:start] + struct.pack("<HH2sH", 2, 0x10, b"UI", len(new)) + new
    head += tree.head[start + 8 + size :]
    head = head[:140] + struct.pack("<I", len(head) - 144) + head[144:]
    compatible = tree.explicit and tree.order == "<" and isinstance(tree.get(PIXEL_DATA).value, bytes)
    what = pick(rng, ("bomb", "plain", "zlib", "two", "behind", "stored", "cut", "dictionary", "flushed"))
    words = OK if compatible else "unreadable truncated frame_count no_pixel_data"
    body = dicom_tree.dataset(tree)
    engine = zlib.compressobj(9, wbits=-15)
    if what == "bomb":
        total = int(pick(rng, (2**24, 2**27, 2**28)))
        tree.insert(Node(0x00091001, b"OB", bytes(total)))
        body = dicom_tree.dataset(tree)
        packed, words = (
            engine.compress(body) + engine.flush(),
            "ok too_large unreadable truncated frame_count",
        )
    elif what == "plain":
        packed, words = body, "unreadable truncated"
    elif what == "zlib":
        packed, words = zlib.compress(body), "unreadable truncated"
    elif what == "two":
        half = len(body) // 2
        other = zlib.compressobj(wbits=-15)
        packed = engine.compress(body[:half]) + engine.flush() + other.compress(body[half:]) + other.flush()
        words = "unreadable truncated no_pixel_data frame_count"
    elif what == "behind":
        packed = engine.compress(body) + engine.flush() + rng.bytes(int(rng.integers(1, 20_000)))
    elif what == "stored":
        engine = zlib.compressobj(0, wbits=-15)
        packed = engine.compress(body) + engine.flush()
    elif what == "cut":
        packed = (engine.compress(body) + engine.flush())[: -int(rng.integers(1, 9))]
        words = "truncated"
    elif what == "dictionary":
        engine = zlib.compressobj(9, wbits=-15, zdict=body[:1000])
        packed, words = engine.compress(body) + engine.flush(), "unreadable truncated"
    else:
        packed = b"".join(
            engine.compress(body[i : i + 99]) + engine.flush(zlib.Z_FULL_FLUSH)
            for i in range(0, len(body), 99)
        )
        packed += engine.flush()
    return Damage(f"deflated: {what}", head + packed, outcomes(words))


MUTATORS: dict[str, Mutator] = {"cut at an edge": cut, "meta": meta, "deflated": deflated}
