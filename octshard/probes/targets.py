"""What is predicted: a column of labels -> classes, ordered classes or numbers, by what each row is about."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from octshard import tsv
from octshard.dataset.participants import PERSON_COLUMNS
from octshard.errors import UsageError
from octshard.probes import label_join
from octshard.probes.label_join import Join

CLASSES, NUMBERS, ORDINAL = "classes", "numbers", "ordinal"  # kinds
AUTO = "auto"
MAX_CLASSES = 20


@dataclass(frozen=True)
class TargetRequest:
    """The column, its kind or auto, the order of its classes where it is given. join: see `label_join`."""

    column: str
    kind: str = AUTO
    order: tuple[str, ...] = ()
    join: str = label_join.PARTICIPANT


@dataclass(frozen=True)
class Target:
    """The label of everything named: an index into `classes`, or, where there are none, a number.

    classes: in text order, or, if `ordered`, lowest first; missing: what is named without a value.
    """

    column: str
    classes: tuple[str, ...]
    value_of: Mapping[str, float]
    missing: frozenset[str] = frozenset()
    ordered: bool = False
    join: Join = Join()

    @property
    def kind(self) -> str:
        """classes, ordinal or numbers."""
        return NUMBERS if not self.classes else ORDINAL if self.ordered else CLASSES


@dataclass(frozen=True)
class _Cell:
    """line: of the table; name: what it is about; text: the value, not empty."""

    line: int
    name: str
    text: str


def parse(table: tsv.Table, request: TargetRequest) -> Target:
    """The target in a column; UsageError if there is none, or its values cannot be what is asked for.

    A name may occur again with the same value, or with none; with another it is an error.
    """
    join, names = label_join.names(table, request.join)
    values = _column(table, request)
    cells = [
        _Cell(line, name, text)
        for (line, _), name, text in zip(table.rows, names, values, strict=True)
        if name and text
    ]
    classes, ordered = _classes(cells, table.source, request)
    code_of = {name: float(i) for i, name in enumerate(classes)}
    value_of: dict[str, float] = {}
    first: dict[str, _Cell] = {}
    for cell in cells:
        value = code_of[cell.text] if classes else _number(cell, table.source, request.column)
        before = first.setdefault(cell.name, cell)
        if value_of.setdefault(cell.name, value) != value:
            raise _contradiction(before, cell, f"{table.source}: {join.level} {cell.name}", request)
    missing = frozenset(filter(None, names)) - frozenset(value_of)
    target = Target(request.column, classes, value_of, missing, ordered, join)
    _check_spread(target, table.source)
    return target


def number(text: str) -> float | None:
    """The finite number that `text` is, or None. 1_000 is a name, though Python reads it."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def _column(table: tsv.Table, request: TargetRequest) -> list[str]:
    """The values of the column; UsageError if it is none, or names what the rows are about."""
    column, join = request.column, request.join.lower()
    about = {*PERSON_COLUMNS, join, *(label_join.EYE_COLUMNS if join == label_join.EYE else ())}
    columns = [name for name in table.columns if name not in about]
    there = f"there are: {', '.join(columns) or 'none'}"
    if column.lower() in about:
        raise UsageError(
            f"{table.source}: {column} names what the rows are about, want a column of labels; {there}"
        )
    if column.lower() not in table.columns:
        close = difflib.get_close_matches(column, columns, 1)
        near = f"did you mean {close[0]}?" if close else f"{there}; want label=COLUMN"
        raise UsageError(f"{table.source}: no label column {column!r}; {near}")
    return table.column((column.lower(),))


def _classes(cells: Sequence[_Cell], source: str, request: TargetRequest) -> tuple[tuple[str, ...], bool]:
    """(classes, whether they are ordered); no classes for numbers."""
    distinct = tuple(sorted({cell.text for cell in cells}))
    kind = request.kind
    if kind == AUTO:
        kind = ORDINAL if request.order else NUMBERS if _are_numbers(distinct) else CLASSES
    if request.order and kind != ORDINAL:
        raise UsageError(f"order: has no effect on target={kind}, want target=ordinal, or no order")
    if kind == NUMBERS:
        return (), False
    if kind == ORDINAL:
        return _ordered(distinct, source, request), True
    _check_number_of_classes(distinct, source, request.column)
    return distinct, False


def _are_numbers(distinct: Sequence[str]) -> bool:
    """All numbers, and more than are taken for classes, or some not whole."""
    values = {number(text) for text in distinct}
    if not values or None in values:
        return False
    return len(values) > MAX_CLASSES or any(value is not None and not value.is_integer() for value in values)


def _ordered(distinct: tuple[str, ...], source: str, request: TargetRequest) -> tuple[str, ...]:
    """The given order, which must name every value once; without one, numbers in theirs."""
    subject = f"{source}: label {request.column}"
    order = request.order or _by_value(distinct, subject)
    if repeated := sorted({name for name in order if order.count(name) > 1}):
        raise UsageError(f"order: {repeated[0]!r} is named twice, want every class once")
    if unknown := [text for text in distinct if text not in order]:
        raise UsageError(
            f"{subject} has {_listed(unknown)}, which order does not name; want every class in it"
        )
    _check_number_of_classes(tuple(name for name in order if name in distinct), source, request.column)
    return order


def _by_value(distinct: Sequence[str], subject: str) -> tuple[str, ...]:
    """Classes that are numbers, lowest first."""
    text_of: dict[float, str] = {}
    for text in distinct:
        if (value := number(text)) is None:
            raise UsageError(
                f"{subject} has {_listed(distinct)}; want order=[LOWEST,...,HIGHEST] of its classes"
            )
        if text_of.setdefault(value, text) != text:
            raise UsageError(f"{subject} has {text_of[value]!r} and {text!r}, want one spelling of a number")
    return tuple(text_of[value] for value in sorted(text_of))


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - 3} more" if texts[3:] else ""
    return ", ".join(map(repr, texts[:3])) + more


def _number(cell: _Cell, source: str, column: str) -> float:
    value = number(cell.text)
    if value is None:
        raise UsageError(f"{source} line {cell.line}: {column} is {cell.text!r}, want a finite number")
    return value


def _contradiction(first: _Cell, second: _Cell, subject: str, request: TargetRequest) -> UsageError:
    other = "" if request.join == label_join.SCAN_COLUMNS[0] else ", or join=eye or join=key"
    return UsageError(
        f"{subject} has {request.column} {first.text!r} and {second.text!r} (lines {first.line} and "
        f"{second.line}), want one value{other}"
    )


def _check_number_of_classes(classes: tuple[str, ...], source: str, column: str) -> None:
    if len(classes) < 2:
        content = f"one value, {classes[0]!r}" if classes else "no value"
        raise UsageError(f"{source}: label {column} has {content}, want at least 2 classes")
    if len(classes) > MAX_CLASSES:
        are_numbers = all(number(value) is not None for value in classes)
        kind, advice = ("a number", "target=numbers, or ") if are_numbers else ("free text", "")
        raise UsageError(
            f"{source}: label {column} has {len(classes)} distinct values, it looks like {kind}; want "
            f"{advice}a categorical column of 2 to {MAX_CLASSES} classes, for example study_group"
        )


def _check_spread(target: Target, source: str) -> None:
    """UsageError for numbers that are all one."""
    values = sorted(set(target.value_of.values()))
    if target.kind == NUMBERS and len(values) < 2:
        content = f"one value, {values[0]:g}" if values else "no value"
        raise UsageError(f"{source}: label {target.column} has {content}, want numbers that differ")
