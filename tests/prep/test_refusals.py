"""Every reason and every flag that the code can raise has a sentence that says what it means."""

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

from octshard.prep import refusals
from octshard.prep.refusals import FLAG_MEANS, LONGEST, REASON_MEANS, REASONS, Refused

FLAG = re.compile(r"constant|saturated|[a-z*]+(_[a-z0-9*]+)+")
EVERY_WAY = """
flags = ["one_a"] if x else []
flags += ("two_b",)
flags.append("three_c" if y else "four_d")
flags.add(f"five_{z}_e")
def header_flags():
    facts = {"six_f": True}
    return ["seven_g"]
row = Row(flags=(*flags, "eight_h"))
Resolved(a, (*flags, "nine_i"))
other = ["not a flag", "column_name"]
print(flags, known["flags_of"], "no_flag")
"""


def test_every_reason_has_a_meaning_and_every_flag_of_the_code_too() -> None:
    assert set(REASON_MEANS) == set(REASONS)
    files = [path for path in Path(refusals.__file__).parent.rglob("*.py") if path.stem != "refusals"]
    flags = {flag for path in files for flag in flags_in(path.read_text())}
    assert {"constant", "geometry_unknown", "slice_step_unknown", "implausible_*_spacing"} <= flags
    for flag in flags:
        pattern = re.compile(flag.replace("*", "[a-z_]+"))
        assert any(map(pattern.fullmatch, FLAG_MEANS)), f"flag {flag} has no meaning in refusals.py"


def test_meanings_are_sentences_of_one_line() -> None:
    for text in (*REASON_MEANS.values(), *FLAG_MEANS.values()):
        assert re.fullmatch(r"[A-Z][^\n]+\.", text), text


def test_the_hunt_for_flags_sees_every_way_of_raising_one() -> None:
    assert flags_in(EVERY_WAY) == {
        "one_a", "two_b", "three_c", "four_d", "five_*_e", "six_f", "seven_g", "eight_h", "nine_i",
    }  # fmt: skip


def flags_in(code: str) -> set[str]:
    """The words that code may raise as flags; an f-string as a pattern.

    They are assigned or added to a name with `flag` in it, stand beside `*flags`, or lie in a list or dict of
    a function named after them (or of `_step`, which returns some beside a number).
    """
    places: list[ast.AST] = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            places += [node.value] if any(map(flaggy, targets)) else []
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and flaggy(node.func.value):
            places += node.args if node.func.attr in ("append", "add", "extend", "update") else []
        elif isinstance(node, ast.keyword) and node.arg and "flag" in node.arg:
            places.append(node.value)
        elif isinstance(node, ast.FunctionDef) and ("flag" in node.name or node.name == "_step"):
            places += [part for part in ast.walk(node) if isinstance(part, ast.List | ast.Dict)]
        elif isinstance(node, ast.List | ast.Tuple | ast.Set):
            places += [node] if any(isinstance(e, ast.Starred) and flaggy(e.value) for e in node.elts) else []
    return {text for place in places for text in words_in(place) if FLAG.fullmatch(text)}


def flaggy(node: ast.AST) -> bool:
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return "flag" in name.lower()


def words_in(place: ast.AST) -> Iterator[str]:
    if isinstance(place, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in place.values)
    elif isinstance(place, ast.Constant) and isinstance(place.value, str):
        yield place.value
    elif not isinstance(place, ast.Subscript):  # row["flags"] is a key, not a flag
        for child in place.args if isinstance(place, ast.Call) else ast.iter_child_nodes(place):
            yield from words_in(child)


def test_a_detail_that_quotes_a_file_is_cut() -> None:
    assert Refused("unreadable", "x" * LONGEST).detail == "x" * LONGEST
    cut = Refused("unreadable", "x" * 70_000)
    assert (len(cut.detail), cut.detail[-6:], str(cut)) == (LONGEST, "xx ...", f"unreadable: {cut.detail}")
    assert pickle.loads(pickle.dumps(cut)).detail == cut.detail


def test_private_words_are_gone_however_long_odd_or_wrapped_they_are() -> None:
    for name in ("Meier, Hans", "Meier\u202e\n\x1bHans", "Meier" * 500, "Meier\\Hans"):
        inner = Refused("unreadable", f"array {name} is torn", (name,))
        for refusal in (
            inner,
            inner.behind("page 1: "),
            pickle.loads(pickle.dumps(inner.behind(f"{name}: ", (name,)))),
        ):
            assert "Meier" in refusal.detail
            assert len(refusal.detail) <= LONGEST
            assert "Meier" not in refusal.public
            assert refusal.public.endswith("array ... is torn")
    assert inner.behind("header: ", reason="truncated").reason == "truncated"
