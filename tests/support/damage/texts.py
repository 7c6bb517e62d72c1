"""Damage to text that is ours or a release's: JSON by its values and its bytes, tables by lines and cells."""

import copy
import json
from typing import Any, NamedTuple

from tests.support.damage.case import Rng, pick

VALUES = (
    None, True, -1, 0, 2**63, 10**40, 1.5, 1e308, float("nan"), float("inf"), "", "x" * 5000, "\x1b[31m\n",
    "\ud800", [], [None], {}, {"a": 1}, [[[]]], "../../etc/passwd", "0", [1, 2, 3],
)  # fmt: skip


def damaged_json(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """A JSON text with a value, a key or its bytes changed."""
    what = pick(rng, ("value", "value", "value", "gone", "key", "deep", "bytes", "cut", "other", "numbers"))
    content = json.loads(data)
    if what in ("value", "gone", "key"):
        return _edited(content, what, rng)
    if what == "deep":
        depth = int(pick(rng, (50, 5_000, 200_000)))
        opened, closed = pick(rng, ((b"[", b"]"), (b'{"a":', b"}")))
        nest = opened * depth + b"1" + closed * depth
        text = nest if rng.random() < 0.5 else data.rstrip()[:-1] + b', "deep": ' + nest + b"}"
        return f"{depth} deep", text
    if what == "cut":
        stop = int(rng.integers(len(data)))
        return f"cut at {stop}", data[:stop]
    if what == "other":
        text = pick(rng, (b"", b"null", b"[]", b"{}", b"7", b'"text"', b"true", b"[{}]", b"\0" * 100))
        return f"{text[:10]!r} instead", text
    if what == "numbers":
        number = pick(rng, (b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"01", b"0x1"))
        return f"{number[:10]!r} in it", data.rstrip()[:-1] + b', "n": ' + number + b"}"
    utf_16 = data.decode().encode("utf-16")
    text = pick(
        rng,
        (
            b"\xef\xbb\xbf" + data,
            utf_16,
            b"\xff" + data,
            data + data,
            data + b"\0",
            data[:1] + b"\0" + data[1:],
        ),
    )
    return f"bytes {text[:8]!r}..", text


def _edited(content: Any, what: str, rng: Rng) -> tuple[str, bytes]:
    """One place of the tree is another value, gone, or under another key."""
    tree = copy.deepcopy(content)
    holders = [holder for holder in _holders(tree) if len(holder)]
    holder = pick(rng, holders)
    key = pick(rng, list(holder)) if isinstance(holder, dict) else int(rng.integers(len(holder)))
    if what == "gone":
        del holder[key]
    elif what == "key" and isinstance(holder, dict):
        holder[str(pick(rng, ("", "x", "__class__", str(key) + " ", str(key).upper())))] = holder.pop(key)
    else:
        holder[key] = pick(rng, VALUES)
    text = json.dumps(tree, indent=1).encode()
    return f"{key!r} {what} {str(holder)[:60]!r}", text


def _holders(node: Any) -> list[Any]:
    """All objects and lists of a JSON tree."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    own = [node] if isinstance(node, dict | list) else []
    return [*own, *(inner for child in children for inner in _holders(child))]


SAME_PERSON = ("1001", "1000")  # whom some of the cells name too, as numbers written in other ways


class TableDamage(NamedTuple):
    """A damaged table; touched: the first cells of the lines whose meaning may have changed."""

    text: str
    data: bytes
    touched: frozenset[str]


CELLS = (
    b'"', b'""', b'"x', b'x"', b'"a\tb"', b'a"b"c', b"\t", b"\t\t\t", b"\r", b"\n", b"\r\n", b"\0",
    b"\xff\xfe", b"\x1b[31m", b"\x0c", b"\x85", "\u2028".encode(), b"x" * 200_000, b" ", b"NA", b"nan",
    b"=1+1", b"test", b"train", b"1001", b"01001", b"1001.0", b"1e3", "\ufeff".encode(), "１００１".encode(),
    b"'", b",", b";", b"#",
)  # fmt: skip


def damaged_table(data: bytes, rng: Rng) -> TableDamage:
    """A TSV with a cell, a line, its header or its bytes changed."""
    lines = data.rstrip(b"\n").split(b"\n")
    everybody = frozenset(line.split(b"\t")[0].decode() for line in lines[1:])
    what = pick(rng, ("cell", "cell", "cell", "inside", "line", "header", "column", "ends", "bytes", "cut"))
    at = int(rng.integers(1, len(lines)))
    cells = lines[at].split(b"\t")
    person = frozenset({cells[0].decode()})
    if what in ("cell", "inside"):
        place, value = int(rng.integers(len(cells))), pick(rng, CELLS)
        half = len(cells[place]) // 2
        cells[place] = value if what == "cell" else cells[place][:half] + value + cells[place][half:]
        if place == 0:
            person |= {value.decode("utf-8", "replace"), *SAME_PERSON}
        text = f"line {at + 1} cell {place}: {value[:12]!r}, {what}"
        lines[at] = b"\t".join(cells)
        return TableDamage(text, b"\n".join(lines) + b"\n", person)
    if what == "line":
        change = pick(rng, ("twice", "gone", "short", "long", "blank", "swapped"))
        lines[at : at + 1] = {
            "twice": [lines[at], lines[at]], "gone": [], "short": [b"\t".join(cells[:-1])],
            "blank": [b"", lines[at]], "long": [lines[at] + b"\textra"], "swapped": [b"\t".join(cells[::-1])],
        }[change]  # fmt: skip
        return TableDamage(f"line {at + 1} {change}", b"\n".join(lines) + b"\n", person)
    if what in ("header", "column"):
        heads = lines[0].split(b"\t")
        place = int(rng.integers(len(heads)))
        heads[place] = pick(
            rng,
            (b"", heads[place] + b" ", heads[place].upper(), heads[0], b'"' + heads[place], b"x", b"split"),
        )
        lines[0] = b"\t".join(heads) if what == "header" else b"\t".join(heads[::-1])
        return TableDamage(f"{what} {place}: {heads[place]!r}", b"\n".join(lines) + b"\n", everybody)
    if what == "ends":
        end = pick(rng, (b"\r", b"\r\n", b"\n\n", b"\n\r", b" \n", b"\t\n"))
        return TableDamage(f"lines end in {end!r}", end.join(lines) + end, frozenset())
    if what == "cut":
        stop = int(rng.integers(len(data)))
        cut = frozenset(line.split(b"\t")[0].decode() for line in data[:stop].split(b"\n")[1:-1])
        return TableDamage(f"cut at {stop}", data[:stop], everybody - cut)
    other = pick(
        rng,
        (
            data.decode().encode("utf-16"),
            b"\xef\xbb\xbf" * 2 + data,
            b"",
            b"\n" * 50,
            data.replace(b"\t", b","),
        ),
    )
    return TableDamage(f"bytes {other[:8]!r}", other, everybody)
