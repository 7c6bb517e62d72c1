"""An expression over the columns of samples.parquet, which says what rows are meant, such as
`device == 'topcon_triton' and not 'saturated' in flags and spacing_in[0] < 0.1`.

It is a small part of Python's syntax, read as a tree and never run. Cells that hold nothing (None, empty
text, NaN) make every comparison false; `is None` asks for them.
"""

import ast
import difflib
import math
import operator
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn, get_type_hints

from octshard.dataset import visit_date
from octshard.dataset.row_columns import AXES
from octshard.dataset.tables import SampleRow
from octshard.errors import UsageError
from octshard.imaging.volume import Shape, Spacing

LONGEST = 1000  # characters
DEEPEST = 20  # conditions within conditions
SHOWN = 200  # characters of an expression in an error
TEXT, NUMBER, TRIPLE, WORDS, DATE = "text", "a number", "three numbers", "a list of words", "a date or days"
CONVERTED = (
    "{} is known only once a file is converted; before that there are {}; data.filter of octshard train "
    "takes all columns"
)
NOTHING = "None"  # the kind of the constant
_KINDS: dict[Any, str] = {
    str: TEXT,
    int: NUMBER,
    int | None: NUMBER,
    float | None: NUMBER,
    Spacing | None: TRIPLE,
    Shape | None: TRIPLE,
    tuple[str, ...]: WORDS,
}
KIND_OF = {name: _KINDS[hint] for name, hint in get_type_hints(SampleRow).items()} | {"acquired": DATE}
_EXAMPLE = {
    TEXT: "{} == 'TEXT'",
    NUMBER: "{} < 1",
    TRIPLE: "{0}[0], {0}[1] or {0}[2], along D, H, W",
    WORDS: "'WORD' in {}",
    DATE: "{} < '2024-01-31'",
}
_ORDERS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_NAMES = {
    ast.Call: "a call",
    ast.Attribute: "an attribute",
    ast.Lambda: "a lambda",
    ast.BinOp: "arithmetic (& and | are no and and or)",
    ast.IfExp: "if and else",
    ast.JoinedStr: "an f-string",
    ast.NamedExpr: "an assignment",
    ast.Subscript: "an index",
    ast.Constant: "a constant",
    ast.UnaryOp: "a sign or ~",
    **dict.fromkeys((ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp), "a comprehension"),
    **dict.fromkeys((ast.List, ast.Tuple, ast.Set, ast.Dict), "a collection"),
}
_WANT = "want columns compared with text in quotes or numbers, joined by and, or, not"

Condition = Callable[[Any], bool]  # of a row


@dataclass(frozen=True)
class RowFilter:
    """True for the rows that `text` means; empty text means all. Made by `parse`."""

    text: str
    _condition: Condition = field(repr=False, compare=False)

    def __call__(self, row: Any) -> bool:
        """row: with the columns that `text` names."""
        return self._condition(row)


class _Operand(NamedTuple):
    """One side of a comparison. cell: its value in a row. values: the constants of one that is no column."""

    kind: str
    text: str
    cell: Callable[[Any], Any]
    is_column: bool = False
    values: tuple[Any, ...] = ()
    is_collection: bool = False  # a tuple or list of constants


def parse(
    text: str, setting: str, columns: Collection[str] = KIND_OF.keys(), elsewhere: str = CONVERTED
) -> RowFilter:
    """The filter that `text` says; UsageError of one line, which begins with `setting`, for any other text.

    columns: those that may be used; elsewhere: what is said of another one, with places for it and for them.
    """
    text = text.strip()
    if not text:
        return RowFilter("", lambda row: True)
    return RowFilter(text, _Reader(setting, text, tuple(columns), elsewhere).read())


@dataclass(frozen=True)
class _Reader:
    setting: str
    text: str
    columns: tuple[str, ...]
    elsewhere: str

    def read(self) -> Condition:
        if len(self.text) > LONGEST:
            self._refuse(f"{len(self.text)} characters, want at most {LONGEST}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # on escapes such as '\d'
                tree = ast.parse(self.text, mode="eval")
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            problem = error.msg if isinstance(error, SyntaxError) else str(error) or "nested too deeply"
            self._refuse(f"not an expression ({problem}); {_WANT}")
        return self._condition(tree.body, 1)

    def _condition(self, node: ast.expr, depth: int) -> Condition:
        if depth > DEEPEST:
            self._refuse(f"more than {DEEPEST} conditions within each other, want fewer")
        if isinstance(node, ast.BoolOp):
            parts = [self._condition(value, depth + 1) for value in node.values]
            join = all if isinstance(node.op, ast.And) else any
            return lambda row: join(part(row) for part in parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            negated = self._condition(node.operand, depth + 1)
            return lambda row: not negated(row)
        if isinstance(node, ast.Compare):
            sides = [self._operand(side) for side in (node.left, *node.comparators)]
            links = [self._link(*link) for link in zip(sides, node.ops, sides[1:], strict=False)]
            return lambda row: all(link(row) for link in links)
        if isinstance(node, ast.Name):
            kind = self._kind(node.id)
            self._refuse(f"{node.id} alone is no condition, want {_EXAMPLE[kind].format(node.id)}")
        self._refuse(f"{self._shown(node)} is {_name(node)}; {_WANT}")

    def _operand(self, node: ast.expr) -> _Operand:
        if isinstance(node, ast.Name):
            return _Operand(self._kind(node.id), node.id, operator.attrgetter(node.id), is_column=True)
        if isinstance(node, ast.Subscript):
            return self._element(node)
        if isinstance(node, ast.Tuple | ast.List):
            return self._choices(node)
        value = self._constant(node)
        kind = NOTHING if value is None else TEXT if isinstance(value, str) else NUMBER
        return _Operand(kind, self._shown(node), lambda row: value, values=(value,))

    def _element(self, node: ast.Subscript) -> _Operand:
        """A number of a column of three."""
        text = self._shown(node)
        if not isinstance(node.value, ast.Name):
            self._refuse(f"{text} is an index of no column; {_WANT}")
        name = node.value.id
        if (kind := self._kind(name)) != TRIPLE:
            self._refuse(f"{text}: {name} is {kind}, which has no index; want {_EXAMPLE[kind].format(name)}")
        index = node.slice.value if isinstance(node.slice, ast.Constant) else None
        if type(index) is not int or index not in range(AXES):
            self._refuse(f"{text}: {name} is {kind}, want {_EXAMPLE[kind].format(name)}")

        def cell(row: Any) -> Any:
            numbers = getattr(row, name)
            return numbers[index] if numbers else None

        return _Operand(NUMBER, text, cell, is_column=True)

    def _choices(self, node: ast.Tuple | ast.List) -> _Operand:
        values, text = tuple(self._constant(item) for item in node.elts), self._shown(node)
        kinds = {TEXT if isinstance(value, str) else NUMBER for value in values}
        if None in values or len(kinds) != 1:
            self._refuse(f"{text}: want at least one text, or at least one number, and nothing else in it")
        return _Operand(kinds.pop(), text, lambda row: values, values=values, is_collection=True)

    def _constant(self, node: ast.expr) -> Any:
        """Text, a finite number, or None."""
        sign = 1
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            node, sign = node.operand, -1
        value = node.value if isinstance(node, ast.Constant) else ...
        if isinstance(value, int | float) and not isinstance(value, bool):
            if isinstance(value, float) and not math.isfinite(value):
                self._refuse(f"{self._shown(node)}: want a finite number")
            return sign * value
        if sign > 0 and (value is None or (isinstance(value, str) and value)):
            return value
        if value == "":
            self._refuse("'' compares with nothing: want COLUMN is None, which asks for empty cells")
        name = "neither text nor a number" if isinstance(node, ast.Constant) else _name(node)
        self._refuse(f"{self._shown(node)} is {name}; {_WANT}")

    def _link(self, left: _Operand, op: ast.cmpop, right: _Operand) -> Condition:
        """One comparison of two sides."""
        if NOTHING in (left.kind, right.kind):
            return self._emptiness(left, op, right)
        if not (left.is_column or right.is_column):
            self._refuse(f"{left.text} beside {right.text}: no column in it; {_WANT}")
        if isinstance(op, ast.In | ast.NotIn):
            return self._membership(left, right, negated=isinstance(op, ast.NotIn))
        for side in (left, right):
            if side.kind in (TRIPLE, WORDS):
                self._refuse(f"{side.text} is {side.kind}, want {_EXAMPLE[side.kind].format(side.text)}")
            if side.is_collection:
                self._refuse(f"{side.text} is a collection, want COLUMN in {side.text}")
        if (compare := _ORDERS.get(type(op))) is None:
            self._refuse(f"is compares with None alone, want {left.text} == {right.text}")
        left, right = self._alike(left, right)
        return _where_told(left, right, compare)

    def _emptiness(self, left: _Operand, op: ast.cmpop, right: _Operand) -> Condition:
        if not left.is_column or not isinstance(op, ast.Is | ast.IsNot | ast.Eq | ast.NotEq):
            self._refuse("None: want COLUMN is None, or COLUMN is not None")
        is_none = isinstance(op, ast.Is | ast.Eq)
        return lambda row: _is_empty(left.cell(row)) == is_none

    def _membership(self, left: _Operand, right: _Operand, *, negated: bool) -> Condition:
        if right.is_column and right.kind in (TEXT, WORDS, DATE):
            if left.kind != TEXT or left.is_collection:
                self._refuse(f"{left.text} in {right.text}: {right.text} is {right.kind}, want 'TEXT' in it")
        elif not right.is_collection or left.is_collection:
            text = f"{right.text} is {right.kind}"
            self._refuse(f"{text}; want a column of text or words, or constants as in ('A', 'B'), after in")
        else:
            left, right = self._alike(left, right)
        return _where_told(left, right, lambda one, all: (one not in all) if negated else (one in all))

    def _alike(self, left: _Operand, right: _Operand) -> tuple[_Operand, _Operand]:
        """Both sides as values that compare; UsageError if they are of different kinds."""
        if left.kind == DATE != right.kind:
            return self._dated(left, right), right
        if right.kind == DATE != left.kind:
            return left, self._dated(right, left)
        if left.kind in (TRIPLE, WORDS) or left.kind != right.kind:
            column, other = (left, right) if left.is_column else (right, left)
            want = _EXAMPLE[column.kind].format(column.text)
            self._refuse(f"{column.text} is {column.kind}, and {other.text} {other.kind}; want {want}")
        return left, right

    def _dated(self, column: _Operand, other: _Operand) -> _Operand:
        """The column `acquired`, as dates or as days, as the other side is; other cells count as empty."""
        odd = [value for value in other.values if isinstance(value, str) and visit_date.date(value) != value]
        if odd or (other.kind != NUMBER and not other.values):
            shown = repr(odd[0]) if odd else other.text
            self._refuse(f"{column.text} beside {shown:.99}: want a date 'YYYY-MM-DD', or a number of days")
        as_days = other.kind == NUMBER

        def cell(row: Any) -> Any:
            if as_days:
                return int(number) if (number := visit_date.days(column.cell(row))) else None
            return visit_date.date(column.cell(row))

        return column._replace(cell=cell)

    def _kind(self, name: str) -> str:
        """Of a column that may be used here."""
        if name in self.columns:
            return KIND_OF[name]
        if name in KIND_OF:
            self._refuse(self.elsewhere.format(name, ", ".join(self.columns)))
        close = difflib.get_close_matches(name, self.columns, 1)
        advice = f"did you mean {close[0]}?" if close else f"want one of {', '.join(self.columns)}"
        self._refuse(f"no column {name:.99}; {advice} (text stands in quotes)")

    def _shown(self, node: ast.expr) -> str:
        segment = ast.get_source_segment(self.text, node) or _name(node)
        return repr(segment)[1:-1][:SHOWN] if not segment.isprintable() else segment[:SHOWN]

    def _refuse(self, problem: str) -> NoReturn:
        text = self.text if len(self.text) <= SHOWN else self.text[:SHOWN] + "..."
        raise UsageError(f"{self.setting}={text!r}: {problem}")


def _where_told(left: _Operand, right: _Operand, compare: Callable[[Any, Any], bool]) -> Condition:
    """False where a side holds nothing. A list of words without words is a value: none of them is in it."""

    def condition(row: Any) -> bool:
        one, other = left.cell(row), right.cell(row)
        if _is_empty(one) or (_is_empty(other) and right.kind != WORDS):
            return False
        return compare(one, other)

    return condition


def _is_empty(value: Any) -> bool:
    return value is None or value == "" or value == () or value != value  # NaN


def _name(node: ast.expr) -> str:
    return _NAMES.get(type(node), f"of a kind that is not read ({type(node).__name__})")
