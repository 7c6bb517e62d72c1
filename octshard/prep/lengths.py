"""Lengths written as text, in headers and manifests: read where they can be read in one way only. Pure.

Exporters and people write `0.02\\0.02`, `[0.02, 0.02]`, `0,02 0,02`, `0.02 x 0.02 mm`; DICOM has the first.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from octshard import tsv
from octshard.imaging.volume import length_mm

SILENT = tsv.MISSING | {"varies by frame", "none", "unknown"}  # texts that say that there is no value
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
SEPARATOR = r"\s*[\\;|/×x{comma}]\s*|\s+"  # between two numbers
THOUSANDS = re.compile(r"[1-9]\d{0,2}(,\d{3})+")
DECIMAL_COMMA = r"[+-]?\d+,\d+"
WRAPPED = re.compile(r"[A-Za-z_.]+\d*\(([^()]*)\)")  # as Python prints a number: np.float64(0.02)
UNIT = re.compile(r"\s*([mu]m)(?![a-z])", re.IGNORECASE)
MM = {"mm": 1.0, "um": 1e-3}
LONGEST = 1024  # letters of a text that may be a length: the patterns take time in proportion to its square
SHOWN = 40  # letters of an unreadable text that are shown


class Reading(NamedTuple):
    """Lengths in mm, as many as were asked for or none; problem: what stands there instead, if anything."""

    mm: tuple[float, ...]
    problem: str = ""


def read(name: str, text: str, count: int, *, signed: bool = False) -> Reading:
    """The lengths in the value `text` of the field `name`. signed: a direction may be told by the sign.

    Zero is no problem: exporters write it for what they do not know.
    """
    try:
        numbers = parse(text, count)
    except ValueError:
        return Reading((), f"{name} {quote(text)}")
    lengths = [length_mm(abs(number) if signed else number) for number in numbers]
    mm = tuple(length for length in lengths if length is not None)
    if len(mm) == len(numbers):
        return Reading(mm)
    return Reading(()) if 0 in numbers else Reading((), f"{name} {quote(text)}")


def parse(text: str, count: int) -> tuple[float, ...]:
    """The `count` numbers of a text in mm, () if it is silent; ValueError for one with no meaning, or two.

    A comma parts two numbers or is a decimal point, whichever gives `count` numbers.
    """
    if len(text) > LONGEST:
        raise ValueError(text)
    plain = _plain(text)
    parts = re.split(SEPARATOR.format(comma=","), plain.lower())
    if plain.lower() in SILENT or SILENT.issuperset(parts):
        return ()
    units = {unit.lower() for unit in UNIT.findall(plain)} or {"mm"}
    bare = UNIT.sub("", plain)
    readings = {numbers for numbers in _readings(bare) if len(numbers) == count}
    if len(readings) != 1 or len(units) != 1:
        raise ValueError(text)
    factor = MM[units.pop()]
    return tuple(number * factor for number in readings.pop())


def quote(text: str) -> str:
    """An unreadable text for a message: as it is if it is made of digits and signs, else only its length."""
    plain = _plain(text[:LONGEST])
    if (
        len(text) <= LONGEST
        and re.fullmatch(r"[-+0-9.,;:/\\|()\s]*\d[-+0-9.,;:/\\|()\seE]*", plain)
        and len(plain) <= SHOWN
    ):
        return f"'{plain}'"
    return f"a text of {len(text)} letters"


def _plain(text: str) -> str:
    """Without what does not matter: padding, brackets, quotes, other forms of the same letters."""
    text = (
        unicodedata.normalize("NFKC", text.replace("\0", " ")).replace("\u2212", "-").replace("\u03bc", "u")
    )
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    text = WRAPPED.sub(r"\1", re.sub("['\"`]", "", text)).strip()
    return text.strip("[](){} \t\r\n").rstrip("\\;|/, \t\r\n")


def _readings(text: str) -> Iterator[tuple[float, ...]]:
    """The numbers of `text`, once for each meaning that its commas may have."""
    parts = re.split(SEPARATOR.format(comma=","), text)
    if not re.fullmatch(r"[\d,+-]*,[\d,+-]*", text) and all(map(NUMBER.fullmatch, parts)):
        yield tuple(map(float, parts))  # commas part numbers; not if there is nothing but digits and commas
    if "," not in text:
        return
    for parts in (re.split(SEPARATOR.format(comma=""), text), _joined_by_commas(text)):
        decimals = [part.replace(",", ".") for part in parts]
        if decimals and all(map(NUMBER.fullmatch, decimals)):
            yield tuple(map(float, decimals))
        if any(map(THOUSANDS.fullmatch, parts)):
            whole = [part.replace(",", "") for part in parts]
            if all(map(NUMBER.fullmatch, whole)):
                yield tuple(map(float, whole))


def _joined_by_commas(text: str) -> list[str]:
    """`0,02, 0,02` -> [0,02  0,02]: numbers with a decimal comma that commas part."""
    whole = re.fullmatch(rf"{DECIMAL_COMMA}(\s*,\s*{DECIMAL_COMMA})+", text)
    return re.findall(DECIMAL_COMMA, text) if whole else []
