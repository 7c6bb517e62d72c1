"""Fragments, offset tables and codestreams that lie, in the trees of encapsulated files."""

import struct
from collections.abc import Callable
from itertools import pairwise

from tests.support.damage import dicom_tree
from tests.support.damage.case import CODEC, Damage, Rng, outcomes, pick
from tests.support.damage.dicom_tree import ITEM, PIXEL_DATA, Node, Tree

Mutator = Callable[[Tree, Rng], Damage]
EXTENDED, LENGTHS = 0x7FE00001, 0x7FE00002


def _pieces(tree: Tree) -> list[Node]:
    """The basic offset table and the fragments."""
    value = tree.get(PIXEL_DATA).value
    assert isinstance(value, list)
    return value


def _done(tree: Tree, text: str, *words: str) -> Damage:
    return Damage(text, dicom_tree.write(tree), outcomes(*words))


def lengths(tree: Tree, rng: Rng) -> Damage:
    """One fragment's length is wrong."""
    piece = pick(rng, _pieces(tree))
    true = len(piece.value)
    values = (0, 1, 2, true - 2, true - 1, true + 1, true + 8, 0xFFFFFFFF, 0xFFFFFFFE, 0x80000000, 2**20)
    piece.length = int(pick(rng, values)) & 0xFFFFFFFF
    text = f"a fragment of {true} bytes claims {piece.length}"
    return _done(tree, text, f"ok unreadable truncated frame_count no_pixel_data {CODEC}")


def parts(tree: Tree, rng: Rng) -> Damage:
    """Frames in several fragments, empty fragments, fragments that are gone, twice, in other order."""
    pieces = _pieces(tree)
    what = pick(rng, ("split", "split all", "empty", "gone", "twice", "order", "joined", "more", "no table"))
    words = f"ok frame_count {CODEC}"
    if what in ("split", "split all"):
        chosen = pieces[1:] if what == "split all" else [pick(rng, pieces[1:])]
        for piece in chosen:
            whole, at = bytes(piece.value), pieces.index(piece)  # type: ignore[arg-type]
            places = sorted({0, *(2 * int(rng.integers(1, len(whole) // 2)) for _ in range(3)), len(whole)})
            pieces[at : at + 1] = [Node(ITEM, b"", whole[a:b]) for a, b in pairwise(places)]
    elif what == "empty":
        for _ in range(int(rng.integers(1, 40))):
            pieces.insert(int(rng.integers(1, len(pieces) + 1)), Node(ITEM, b"", b""))
    elif what == "gone":
        del pieces[int(rng.integers(len(pieces)))]
    elif what == "twice":
        at = int(rng.integers(1, len(pieces)))
        pieces.insert(at, pieces[at])
    elif what == "order":
        pieces[1:] = [pieces[1:][i] for i in rng.permutation(len(pieces) - 1)]
    elif what == "joined":
        joined = b"".join(bytes(piece.value) for piece in pieces[1:])  # type: ignore[arg-type]
        pieces[1:] = [Node(ITEM, b"", joined)]
    elif what == "more":
        extra = pick(rng, (b"\xff\xd8\xff\xe0", b"\xff\x4f\xff\x51", b"\0\0", rng.bytes(30)))
        pieces.insert(int(rng.integers(1, len(pieces) + 1)), Node(ITEM, b"", extra))
    else:
        pieces[0].value = b""
        words = "ok"
    return _done(tree, f"fragments: {what}", words)


def offsets(tree: Tree, rng: Rng) -> Damage:
    """The basic offset table points elsewhere, is too long or short, or no table at all."""
    pieces = _pieces(tree)
    true, at = [], 0
    for piece in pieces[1:]:
        true.append(at)
        at += 8 + len(piece.value)
    what = pick(rng, ("true", "beyond", "descending", "equal", "few", "many", "odd", "garbage", "inside"))
    values = {
        "true": true, "beyond": [*true[:-1], 2**31], "descending": true[::-1], "equal": [0] * len(true),
        "few": true[:-1], "many": [*true, at], "inside": [offset + 4 for offset in true],
    }.get(what, true)  # fmt: skip
    table = struct.pack(f"{tree.order}{len(values)}I", *values)
    if what == "odd":
        table = table[: -int(pick(rng, (1, 2, 3)))]
    elif what == "garbage":
        table = rng.bytes(4 * int(rng.integers(1, 3000)))
    pieces[0].value = table
    if rng.random() < 0.3:  # and the fragments are split, so that the table is needed
        whole = bytes(pieces[1].value)  # type: ignore[arg-type]
        half = len(whole) // 4 * 2
        pieces[1:2] = [Node(ITEM, b"", whole[:half]), Node(ITEM, b"", whole[half:])]
        what += ", first frame in two fragments"
    return _done(tree, f"offset table: {what}", f"ok unreadable frame_count {CODEC}")


def extended(tree: Tree, rng: Rng) -> Damage:
    """An extended offset table whose 64-bit numbers lie, overlap, or are not as many as its lengths."""
    pieces = _pieces(tree)
    at, offsets_, lengths_ = 0, [], []
    for piece in pieces[1:]:
        offsets_.append(at)
        lengths_.append(len(piece.value))
        at += 8 + len(piece.value)
    what = pick(rng, ("true", "huge", "wrap", "overlap", "order", "fewer", "short", "zero", "odd", "padding"))
    if what == "huge":
        offsets_[-1] = 2**63
    elif what == "wrap":
        offsets_[-1], lengths_[-1] = 2**64 - 8, 2**64 - 1
    elif what == "overlap":
        offsets_[-1] = offsets_[0]
    elif what == "order":
        offsets_, lengths_ = offsets_[::-1], lengths_[::-1]
    elif what == "fewer":
        lengths_ = lengths_[:-1]
    elif what == "short":
        lengths_ = [n // 2 for n in lengths_]
    elif what == "zero":
        lengths_ = [0] * len(lengths_)
    elif what == "padding":
        lengths_ = [n - 1 for n in lengths_]
    tree.nodes[:] = [node for node in tree.nodes if node.tag not in (EXTENDED, LENGTHS)]
    for tag, values in ((EXTENDED, offsets_), (LENGTHS, lengths_)):
        raw = struct.pack(f"{tree.order}{len(values)}Q", *values)
        tree.insert(Node(tag, b"OV", raw[:-3] if what == "odd" else raw))
    pieces[0].value = b""
    return _done(tree, f"extended offset table: {what}", f"ok frame_count unreadable {CODEC}")


def sequence(tree: Tree, rng: Rng) -> Damage:
    """What stands between fragments is no fragment: no end, other items, an element, a nested item."""
    node, pieces = tree.get(PIXEL_DATA), _pieces(tree)
    what = pick(rng, ("no end", "other end", "element", "undefined", "long end", "delimiter"))
    if what == "no end":
        node.end = b""
    elif what == "other end":
        node.end = dicom_tree.head(tree, dicom_tree.ITEM_END, b"", 0)
    elif what == "long end":
        node.end = dicom_tree.head(tree, dicom_tree.SEQUENCE_END, b"", 0xFFFFFFFF)
    elif what == "element":
        pieces.insert(int(rng.integers(1, len(pieces))), Node(0x00280010, b"US", tree.short(9)))
    elif what == "undefined":
        piece = pick(rng, pieces[1:])
        piece.undefined = True
    else:
        pieces.insert(int(rng.integers(1, len(pieces))), Node(dicom_tree.SEQUENCE_END, b"", b""))
    words = f"ok unreadable truncated frame_count no_pixel_data {CODEC}"
    return _done(tree, f"between fragments: {what}", words)


def codestream(tree: Tree, rng: Rng) -> Damage:
    """The header inside one frame, or all of them, says something else than the file's."""
    pieces = _pieces(tree)
    chosen = pieces[1:] if rng.random() < 0.4 else [pick(rng, pieces[1:])]
    change = next(
        change
        for start, change in (
            (b"\xff\x4f\xff\x51", _jpeg_2000), (b"\xff\xd8\xff", _jpeg), (b"", _rle),
        )
        if bytes(chosen[0].value).startswith(start)  # type: ignore[arg-type]
    )  # fmt: skip
    seed = int(rng.integers(2**32))
    text = ""
    for piece in chosen:
        code = bytearray(piece.value)  # type: ignore[arg-type]
        text = change(code, type(rng)(type(rng.bit_generator)(seed)))
        piece.value = bytes(code) + b"\0" * (len(code) % 2)
    return _done(tree, f"{len(chosen)} frames: {text}", f"ok frame_count unreadable too_large {CODEC}")


def _jpeg_2000(code: bytearray, rng: Rng) -> str:
    """SIZ and COD by ISO/IEC 15444-1 Annex A; SIZ begins at byte 2."""
    fields = {
        "capabilities": (6, ">H"), "width": (8, ">I"), "height": (12, ">I"), "left": (16, ">I"),
        "top": (20, ">I"), "tile width": (24, ">I"), "tile height": (28, ">I"), "tile left": (32, ">I"),
        "tile top": (36, ">I"), "components": (40, ">H"), "depth": (42, ">B"), "step": (43, ">B"),
        "SIZ length": (4, ">H"),
    }  # fmt: skip
    cod = code.find(b"\xff\x52")
    fields |= {"layers": (cod + 6, ">H"), "colour transform": (cod + 8, ">B"), "levels": (cod + 9, ">B")}
    fields |= {"block": (cod + 10, ">B"), "style": (cod + 12, ">B"), "wavelet": (cod + 13, ">B")}
    return _number(code, fields, rng)


def _jpeg(code: bytearray, rng: Rng) -> str:
    """The frame header (ISO/IEC 10918-1 B.2.2), or a segment that is not there, or its length."""
    at = next(
        i for i in range(2, len(code) - 1) if code[i] == 0xFF and code[i + 1] in (0xC0, 0xC1, 0xC3, 0xF7)
    )
    what = int(rng.integers(6))
    if what == 0:  # another process than the syntax says
        code[at + 1] = int(pick(rng, (0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xF7, 0xC4)))
        return f"SOF is {code[at + 1]:02X}"
    if what == 1:
        segment = pick(
            rng,
            (
                b"\xff\xdc\0\x04\x7f\xff",
                b"\xff\xe1\xff\xff",
                b"\xff\xf8\0\x0d\1\0\1\0\0\0\0\0\0\0\0",
                b"\xff\xdd\0\4\0\1",
            ),
        )
        code[at:at] = segment
        return f"segment {segment[:4].hex()} before the frame header"
    if what == 2:
        del code[-int(rng.integers(2, 40)) :]
        return "cut before its end"
    if what == 3:
        code += bytes(code)
        return "twice"
    fields = {
        "length": (at + 2, ">H"), "precision": (at + 4, ">B"), "height": (at + 5, ">H"),
        "width": (at + 7, ">H"), "components": (at + 9, ">B"), "sampling": (at + 11, ">B"),
    }  # fmt: skip
    return _number(code, fields, rng)


def _rle(code: bytearray, rng: Rng) -> str:
    """PS3.5 Annex G: a count and fifteen offsets, then segments."""
    fields = {"segments": (0, "<I"), **{f"offset {i}": (4 * i, "<I") for i in (1, 2, 15)}}
    if rng.random() < 0.3:
        del code[64 + int(rng.integers(len(code) - 64)) :]
        return "RLE cut"
    if rng.random() < 0.2:
        code[64:] = b"\x81\0" * int(rng.integers(1, 3000))
        return "RLE of long runs"
    return _number(code, fields, rng)


def _number(code: bytearray, fields: dict[str, tuple[int, str]], rng: Rng) -> str:
    name = pick(rng, list(fields))
    at, form = fields[name]
    top = 2 ** (8 * struct.calcsize(form)) - 1
    old = struct.unpack_from(form, code, at)[0]
    new = int(pick(rng, (0, 1, max(0, old - 1), old + 1, 2 * old, top // 2, top))) & top
    struct.pack_into(form, code, at, new)
    return f"{name} {old} -> {new}"


MUTATORS: dict[str, Mutator] = {
    "fragment length": lengths,
    "fragments": parts,
    "offset table": offsets,
    "extended offsets": extended,
    "between fragments": sequence,
    "codestream": codestream,
}
