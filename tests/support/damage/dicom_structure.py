"""Damage to the structure of DICOM files: nesting, lengths, value representations, private groups, order.

Each mutator takes the tree of a sound file and says which outcomes would be true of what it returns.
"""

import struct
from collections.abc import Callable

from tests.support.damage import dicom_tree
from tests.support.damage.case import CODEC, GEOMETRY, HEADER, OK, Damage, Rng, outcomes, pick
from tests.support.damage.dicom_tree import ITEM, ITEM_END, PIXEL_DATA, SEQUENCE_END, Node, Tree, item

Mutator = Callable[[Tree, Rng], Damage]
ROWS, COLS, FRAMES, BITS, UID = 0x00280010, 0x00280011, 0x00280008, 0x00280100, 0x00080018
ANATOMY, SHARED, PER_FRAME, MEASURES = 0x00082218, 0x52009229, 0x52009230, 0x00289110
VRS = (
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV"
).split()
NO_VRS = (b"ZZ", b"us", b"\0\0", b"  ", b"??", b"\xff\xff")
DEPTHS = (2, 16, 30, 33, 64, 1_000, 10_000)


def _done(tree: Tree, text: str, *words: str) -> Damage:
    return Damage(text, dicom_tree.write(tree), outcomes(*words))


def nested(tree: Tree, rng: Rng) -> Damage:
    """Sequences within sequences, up to ten thousand, in a public, private or needed element."""
    depth, undefined = pick(rng, DEPTHS), bool(rng.integers(4))
    tag = pick(rng, (ANATOMY, 0x00091001, 0x00081115, 0x00420010))
    body, head = b"", dicom_tree.head
    end = head(tree, ITEM_END, b"", 0), head(tree, SEQUENCE_END, b"", 0)
    opened = head(tree, ITEM, b"", 0xFFFFFFFF), head(tree, tag, b"SQ", 0xFFFFFFFF)
    if undefined:
        body = opened[0] + (opened[1] + opened[0]) * (depth - 1) + (end[0] + end[1]) * (depth - 1) + end[0]
    else:
        for level in range(depth):
            body = head(tree, ITEM, b"", len(body)) + body
            if level < depth - 1:
                body = head(tree, tag, b"SQ", len(body)) + body
    closed = rng.random() >= 0.2
    body = body if closed else body[: len(body) // 2]
    node = Node(tag, b"SQ", body, undefined=undefined)
    place = pick(rng, ("top", "shared"))
    if place == "top":
        tree.nodes[:] = [other for other in tree.nodes if other.tag != tag]
        tree.insert(node)
    else:
        shared = tree.get(SHARED).value
        assert isinstance(shared, list)
        shared[0].value = [node, *shared[0].value]  # type: ignore[list-item,misc]
    text = f"{depth} nested sequences of {'un' * undefined}defined length, {place}{'' if closed else ', cut'}"
    return _done(tree, text, "ok unreadable truncated no_pixel_data")


def undefined_length(tree: Tree, rng: Rng) -> Damage:
    """A length becomes undefined: of sequences and items (allowed), of values (not), with or without ends."""
    nodes = [node for node in tree.root.walk() if node.tag != PIXEL_DATA]
    node = pick(rng, nodes)
    what = pick(rng, ("whole", "whole", "no end", "wrong end", "long end"))
    if not isinstance(node.value, list):
        node.length = 0xFFFFFFFF
        if node.vr not in dicom_tree.LONG and tree.explicit:
            node.length, node.vr = 0xFFFFFFFF, pick(rng, (b"UN", b"OB", b"UT", b"SQ", b"OW"))
        text = f"{node.tag:08X} {node.vr!r} with a value of undefined length"
        return _done(tree, text, "ok unreadable truncated no_pixel_data")
    node.undefined = True
    if what == "no end":
        node.end = b""
    elif what == "wrong end":
        mark = pick(rng, (ITEM_END, SEQUENCE_END))
        node.end = dicom_tree.head(tree, mark, b"", 0)
    elif what == "long end":
        mark = ITEM_END if node.tag == ITEM else SEQUENCE_END
        node.end = dicom_tree.head(tree, mark, b"", int(pick(rng, (2, 8, 0xFFFFFFFF))))
    return _done(tree, f"{node.tag:08X} of undefined length, {what}", "ok unreadable truncated no_pixel_data")


def wrong_length(tree: Tree, rng: Rng) -> Damage:
    """One length, of any node at any depth, lies."""
    node = pick(rng, list(tree.root.walk()))
    true = len(node.value) if isinstance(node.value, bytes) else 0
    values = (0, 1, 3, true - 2, true + 2, true + 8, 2 * true, 0xFFFE, 0x7FFFFFFF, 0xFFFFFFFE, 0x80000000)
    node.length = int(pick(rng, values)) & 0xFFFFFFFF
    text = f"{node.tag:08X} {node.vr!r} claims {node.length} bytes, has {true}"
    return _done(tree, text, f"{OK} unreadable truncated no_pixel_data frame_count not_oct empty", CODEC)


def swapped_vr(tree: Tree, rng: Rng) -> Damage:
    """An element has another value representation, known or not; its length field keeps its width or not."""
    if not tree.explicit:
        return private(tree, rng)
    node = pick(rng, [node for node in tree.root.walk() if node.vr])
    old, node.vr = node.vr, pick(rng, VRS + list(NO_VRS) if rng.random() < 0.8 else list(NO_VRS))
    if rng.random() < 0.3 and isinstance(node.value, bytes):  # ... in the bytes alone
        body = dicom_tree.head(tree, node.tag, old, len(node.value))
        fields = body[:4] + node.vr + body[6:]
        node.value, node.raw = fields + node.value, True
        text = f"{old!r} -> {node.vr!r} in the bytes of {node.tag:08X}"
        return _done(tree, text, HEADER, CODEC, GEOMETRY)
    return _done(tree, f"{node.tag:08X} is {node.vr!r}, was {old!r}", HEADER, CODEC, GEOMETRY)


def private(tree: Tree, rng: Rng) -> Damage:
    """Private and forbidden groups: before, between and behind, some with sequences, some with lies."""
    texts, words = [], {OK}
    for _ in range(int(rng.integers(1, 4))):
        group = int(
            pick(rng, (0x0009, 0x0011, 0x0029, 0x0099, 0x7FE1, 0x0001, 0x0003, 0x0007, 0xFFFF, 0x6000))
        )
        tag = group << 16 | int(pick(rng, (0x0000, 0x0010, 0x1001, 0x10FF, 0xFFFF, 0x3000)))
        what = pick(rng, ("text", "empty", "long", "sequence", "unknown", "implicit", "pixels"))
        node = Node(tag, b"LO", b"OCTSHARD")
        if what == "empty":
            node.value = b""
        elif what == "long":
            node.vr, node.value = b"OB", rng.bytes(2 * int(rng.integers(1, 40_000)))
        elif what == "sequence":
            inner = Node(0x00280010, b"US", tree.short(7))
            node.vr, node.value, node.undefined = b"SQ", [item(inner, undefined=True)], True
        elif what == "unknown":
            node.vr, node.value = b"UN", rng.bytes(24)
        elif what == "implicit":  # PS3.5 6.2.2: UN of undefined length is implicit little endian
            inner = struct.pack("<HHI4s", 0x0009, 0x1002, 4, b"abcd")
            node.vr, node.undefined = b"UN", True
            node.value = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
            node.end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        elif what == "pixels":
            node.vr, node.value = b"OB", [Node(ITEM, b"", b""), Node(ITEM, b"", rng.bytes(20))]  # type: ignore
            node.undefined = True
        at = int(rng.integers(len(tree.nodes) + 1)) if rng.random() < 0.3 else -1
        tree.nodes.insert(at, node) if at >= 0 else tree.insert(node)
        texts.append(f"{what} {tag:08X}{f' as element {at}' if at >= 0 else ''}")
        words |= {"unreadable"} if tag == 0xFFFFFFFF or what == "pixels" else set()
    return Damage(", ".join(texts), dicom_tree.write(tree), frozenset(words))


def twice(tree: Tree, rng: Rng) -> Damage:
    """A listed element stands twice, or behind the pixels, with another value; or the pixels do."""
    what = pick(rng, ("value", "value", "moved", "pixels", "nested pixels", "other pixels", "sequence"))
    if what == "pixels":
        node = tree.get(PIXEL_DATA)
        tree.nodes.append(Node(PIXEL_DATA, node.vr, node.value, undefined=node.undefined))
        return _done(tree, "PixelData twice", "ok unreadable")
    if what == "nested pixels":
        icon = item(
            Node(ROWS, b"US", tree.short(2)),
            Node(COLS, b"US", tree.short(2)),
            Node(PIXEL_DATA, pick(rng, (b"OB", b"OW")), b"abcd"),
        )
        tree.insert(Node(pick(rng, (0x00880200, 0x00091001)), b"SQ", [icon], undefined=bool(rng.integers(2))))
        return _done(tree, "PixelData in an icon", OK)
    if what == "other pixels":
        tag, vr = pick(rng, ((0x7FE00008, b"OF"), (0x7FE00009, b"OD")))
        tree.insert(Node(tag, vr, bytes(16)))
        return _done(tree, f"{tag:08X} beside PixelData", "ok unreadable")
    if what == "sequence":
        old = tree.get(pick(rng, (SHARED, PER_FRAME)))
        tree.nodes.insert(int(rng.integers(len(tree.nodes) + 1)), Node(old.tag, b"SQ", []))
        return _done(tree, f"{old.tag:08X} twice, once without items", "ok unreadable")
    tag = pick(rng, (ROWS, COLS, FRAMES, BITS, 0x00280101, 0x00280103, 0x00280004, UID))
    old = tree.get(tag)
    value = old.value
    if what == "value":
        value = {
            FRAMES: b"2 ",
            0x00280004: b"MONOCHROME1 ",
            UID: b"2.25.1",
            0x00280103: tree.short(1),
            0x00280101: tree.short(5),
        }.get(tag, tree.short(int(pick(rng, (8, 16)))))
    else:
        tree.nodes.remove(old)
    at = len(tree.nodes) if rng.random() < 0.5 else int(rng.integers(len(tree.nodes)))
    tree.nodes.insert(at, Node(tag, old.vr, value))
    return _done(tree, f"{tag:08X} {what} as element {at} of {len(tree.nodes)}", HEADER, CODEC)


def native_value(tree: Tree, rng: Rng) -> Damage:
    """PixelData of another length, form or representation than the syntax wants."""
    node = tree.get(PIXEL_DATA)
    what = pick(rng, ("shorter", "longer", "empty", "form", "vr", "behind", "zeros", "odd"))
    if isinstance(node.value, list) and what in ("shorter", "longer", "odd", "vr"):
        what = "form"
    if what == "form":
        if isinstance(node.value, list):
            node.value, node.undefined = b"".join(bytes(f.value) for f in node.value), False  # type: ignore
        else:
            parts = [Node(ITEM, b"", b""), Node(ITEM, b"", node.value)]
            node.value, node.undefined = parts, True  # type: ignore[assignment]
        return _done(tree, "value and fragments exchanged", "unreadable decoder_error frame_count")
    if what == "empty":
        node.value, node.undefined = pick(rng, ((b"", False), ([], True), ([Node(ITEM, b"", b"")], True)))  # type: ignore
        return _done(tree, "no pixels", "no_pixel_data")
    if what == "behind":
        tree.nodes.append(Node(0xFFFCFFFC, b"OB", bytes(2 * int(rng.integers(1, 3000)))))
        return _done(tree, "trailing padding", OK)
    if what == "zeros":
        data = dicom_tree.write(tree) + bytes(int(pick(rng, (1, 7, 8, 512))))
        return Damage("zeros behind the end", data, outcomes(OK))
    assert isinstance(node.value, bytes)
    if what == "vr":
        node.vr = pick(rng, (b"OB", b"OW", b"UN", b"OF", b"OL", b"US"))
        if node.vr == b"US" and tree.explicit:
            return _done(tree, "PixelData is US", "ok unreadable truncated frame_count no_pixel_data")
        return _done(tree, f"PixelData is {node.vr!r}", "ok unreadable")
    size = len(node.value)
    keep = {"shorter": int(rng.integers(1, size)), "odd": size - 1}.get(what, size)
    node.value = node.value[:keep] + (rng.bytes(2 * int(rng.integers(1, size))) if what == "longer" else b"")
    return _done(
        tree, f"{len(node.value)} bytes of pixels, were {size}", "ok frame_count no_pixel_data unreadable"
    )


MUTATORS: dict[str, Mutator] = {
    "nested": nested,
    "undefined length": undefined_length,
    "wrong length": wrong_length,
    "other VR": swapped_vr,
    "private groups": private,
    "twice": twice,
    "pixel value": native_value,
}
