"""A DICOM file as a tree that may lie: every length, tag and value representation is written as it is told.

`read` takes a sound file apart, `write` puts a tree together. What is not changed in between comes back as
the same bytes.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END, PIXEL_DATA = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0x7FE00010
LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
SEQUENCES = (0x00082218, 0x52009229, 0x52009230, 0x00289110, 0x00220031, 0x00209111, 0x00209113, 0x00209116)
DEFLATED, IMPLICIT, BIG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"


@dataclass
class Node:
    """An element or an item. length: what the file claims, where that is not the length of its value."""

    tag: int
    vr: bytes
    value: "bytes | list[Node]"
    length: int | None = None
    undefined: bool = False
    end: bytes | None = None  # in place of the end mark of an undefined length
    raw: bool = False  # the value is all of it, header and end

    def walk(self) -> "Iterator[Node]":
        """All nodes below this one, in file order."""
        for child in self.value if isinstance(self.value, list) else ():
            yield child
            yield from child.walk()


@dataclass
class Tree:
    """A part-10 file. head: preamble and file meta information, as bytes; root holds the dataset."""

    head: bytes
    root: Node
    syntax: str
    explicit: bool = field(init=False)
    order: str = field(init=False)

    def __post_init__(self) -> None:
        self.explicit, self.order = self.syntax != IMPLICIT, ">" if self.syntax == BIG else "<"

    @property
    def nodes(self) -> list[Node]:
        assert isinstance(self.root.value, list)
        return self.root.value

    def get(self, tag: int) -> Node:
        """A top-level element that is there."""
        return next(node for node in self.nodes if node.tag == tag)

    def short(self, value: int) -> bytes:
        """A US value."""
        return struct.pack(f"{self.order}H", value & 0xFFFF)

    def insert(self, node: Node) -> None:
        """At its place in the order of tags."""
        at = next((i for i, other in enumerate(self.nodes) if other.tag > node.tag), len(self.nodes))
        self.nodes.insert(at, node)


def read(data: bytes) -> Tree:
    """The tree of a sound file."""
    start = 144 + struct.unpack_from("<I", data, 140)[0]
    marker = data.index(b"\x02\x00\x10\x00UI")
    size = struct.unpack_from("<H", data, marker + 6)[0]
    syntax = data[marker + 8 : marker + 8 + size].rstrip(b"\0").decode()
    tree = Tree(data[:start], Node(0, b"", []), syntax)
    body = zlib.decompress(data[start:], -15) if syntax == DEFLATED else data[start:]
    tree.root.value, _ = _elements(tree, body, 0, len(body))
    return tree


def dataset(tree: Tree) -> bytes:
    """The bytes of the dataset, not deflated."""
    return b"".join(written(tree, node) for node in tree.nodes)


def write(tree: Tree) -> bytes:
    """The file of a tree."""
    body = dataset(tree)
    if tree.syntax == DEFLATED:
        engine = zlib.compressobj(wbits=-15)
        body = engine.compress(body) + engine.flush()
    return tree.head + body


def item(*nodes: Node, undefined: bool = False) -> Node:
    """An item of a sequence."""
    return Node(ITEM, b"", list(nodes), undefined=undefined)


def written(tree: Tree, node: Node) -> bytes:
    """The bytes of one node."""
    if node.raw:
        assert isinstance(node.value, bytes)
        return node.value
    if isinstance(node.value, list):
        body = b"".join(written(tree, child) for child in node.value)
    else:
        body = node.value
    length = UNDEFINED if node.undefined else len(body)
    if node.undefined:
        mark = ITEM_END if node.tag == ITEM else SEQUENCE_END
        body += head(tree, mark, b"", 0) if node.end is None else node.end
    return head(tree, node.tag, node.vr, length if node.length is None else node.length) + body


def head(tree: Tree, tag: int, vr: bytes, length: int) -> bytes:
    """What stands before a value."""
    group = struct.pack(f"{tree.order}HH", tag >> 16, tag & 0xFFFF)
    if not tree.explicit or tag >> 16 == 0xFFFE:
        return group + struct.pack(f"{tree.order}I", length & UNDEFINED)
    if vr in LONG:
        return group + vr + b"\0\0" + struct.pack(f"{tree.order}I", length & UNDEFINED)
    return group + vr + struct.pack(f"{tree.order}H", length & 0xFFFF)


def _elements(tree: Tree, data: bytes, at: int, stop: int) -> tuple[list[Node], int]:
    """The nodes in [at, stop), and where they end: at an end mark, behind which the walk goes on."""
    nodes: list[Node] = []
    while at < stop:
        group, number = struct.unpack_from(f"{tree.order}HH", data, at)
        tag, vr, at = group << 16 | number, b"", at + 4
        if tree.explicit and group != 0xFFFE:
            vr, at = data[at : at + 2], at + 2
        wide = not vr or vr in LONG
        at += 2 if vr in LONG else 0
        length = struct.unpack_from(f"{tree.order}{'I' if wide else 'H'}", data, at)[0]
        at += 4 if wide else 2
        if tag in (ITEM_END, SEQUENCE_END):
            return nodes, at
        if tag == PIXEL_DATA and length == UNDEFINED:
            node, at = _fragments(tree, data, at, vr)
        elif vr == b"SQ" or tag == ITEM or length == UNDEFINED or (not vr and tag in SEQUENCES):
            end = stop if length == UNDEFINED else at + length
            children, after = _elements(tree, data, at, end)
            node = Node(tag, vr, children, undefined=length == UNDEFINED)
            at = after if length == UNDEFINED else end
        else:
            node, at = Node(tag, vr, data[at : at + length]), at + length
        nodes.append(node)
    return nodes, at


def _fragments(tree: Tree, data: bytes, at: int, vr: bytes) -> tuple[Node, int]:
    pieces: list[Node] = []
    while True:
        group, number, length = struct.unpack_from(f"{tree.order}HHI", data, at)
        at += 8
        if group << 16 | number == SEQUENCE_END:
            return Node(PIXEL_DATA, vr, list(pieces), undefined=True), at
        pieces.append(Node(ITEM, b"", data[at : at + length]))
        at += length
