"""Who a participant's id means: a number written in other ways is one id, in every table.

Tables that went through a spreadsheet or a data frame call one person 1001, 1001.0, 01001 or 1.001E+03. Ids
are compared as `canonical` writes them, and stored as `spellings` says.
"""

import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache

from octshard import tsv
from octshard.errors import UsageError

# what other tables than a release's call the person
PERSON_COLUMNS = (*tsv.PERSON, "participant", "patient_id", "patientid", "patient", "subject_id", "subject")
# a whole number, as text or as a printed float; 12e3 is text, as it may be an id in hexadecimal digits
_NUMBER = re.compile(r"\+?\d+(\.0*)?|\+?\d+(\.\d*[eE]\+?|[eE]\+)\d{1,2}", re.ASCII)


@lru_cache(maxsize=2**17)
def canonical(participant: str) -> str:
    """An id as it is compared: a whole number in plain digits, other text without invisible characters."""
    normal = unicodedata.normalize("NFKC", participant)
    text = "".join(char for char in normal if unicodedata.category(char) != "Cf").strip()
    if not _NUMBER.fullmatch(text):
        return text
    digits, _, fraction = format(Decimal(text), "f").partition(".")
    return text if fraction.strip("0") else digits.lstrip("0") or "0"


def spellings(participants: Iterable[str]) -> dict[str, str]:
    """Canonical id -> how it is stored: as it is spelled, if it is spelled in one way that a person writes.

    The zeros before a number are kept so; of several spellings, and of one that a program made of a number
    (1001.0), the canonical id is stored.
    """
    texts: dict[str, set[str]] = {}
    for text in participants:
        texts.setdefault(canonical(text), set()).add(text)
    return {
        person: min(forms) if len(forms) == 1 and min(forms).lstrip("0") == person.lstrip("0") else person
        for person, forms in texts.items()
    }


def row_participants(table: tsv.Table, columns: tuple[str, ...] = tsv.PERSON) -> list[str]:
    """Each row's canonical id in a table of participants, empty where it names nobody.

    UsageError if two rows spell one id in two ways: they may be two people.
    """
    first_row: dict[str, tuple[int, str]] = {}
    people = []
    for (line, _), text in zip(table.rows, table.column(columns), strict=True):
        person = canonical(text)
        people.append(person)
        first_line, first_text = first_row.setdefault(person, (line, text))
        if person and text != first_text:
            raise UsageError(
                f"{table.source}: lines {first_line} and {line} call participant {person} {first_text!r} and "
                f"{text!r}, want one spelling, or another id if they are two people"
            )
    return people
