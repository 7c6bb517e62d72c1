"""A pattern that a given path has the form of: for messages, so that somebody can begin with it. Pure."""

import re

from octshard.dataset import visit_date
from octshard.dataset.eyes import EYES
from octshard.prep.index import person
from octshard.prep.release import file_name

_PARTS = re.compile(r"([_ ]+|(?<=[^\W\d])-)")  # what stands between the words of a name, not in a date
_STARS = re.compile(r"\*(?:[_\- ]+\*)+")


def of_path(path: str) -> str:
    """Its person is the lowest folder that may be one, else the first word of the name that has a digit."""
    *folders, name = path.split("/")
    people = [i for i, folder in enumerate(folders) if not _is_odd(folder)][-1:]
    parts = ["{person}" if [i] == people else _field(folder) or "*" for i, folder in enumerate(folders)]
    end = next(
        (match.start() for match in file_name.SUFFIX.finditer(name) if match.end() == len(name)), len(name)
    )
    words = _PARTS.split(name[:end])
    if not any(words[::2]):
        words = [name[:end]]
    begin = 0 if people else _person_at(words)
    for i in range(0, len(words), 2):
        before = [*parts, *words[:i]]
        field = "{person}" if i == begin and not people else _field(words[i])
        if i < begin:
            words[i] = words[i] if words[i].isalnum() else "*"
        elif not field or field in before or ("*" in words[:i] and i + 1 < len(words)):
            words[i] = "*"  # a field between two stars may be found in another place
        else:
            words[i] = field
    return "/".join([*parts, _STARS.sub("*", "".join(words)) + name[end:]])


def advice(path: str, *, dicom: bool) -> str:
    """What to give, with a pattern for this path; dicom: PatientID may tell who it is."""
    return f"give --pattern, such as '{of_path(path)}' for {path}" + (
        ", or --person-from dicom" if dicom else ""
    )


def _is_odd(folder: str) -> bool:
    return bool(person.looks_like(folder)) or folder.lower() in person.NO_PEOPLE


def _field(word: str) -> str:
    return "{eye}" if word.lower() in EYES else "{date}" if visit_date.date(word) else ""


def _person_at(words: list[str]) -> int:
    candidates = [i for i in range(0, len(words), 2) if words[i] and words[i].lower() not in EYES]
    return next(
        (i for i in candidates if re.search(r"\d", words[i])),
        (candidates or [words.index(max(words[::2], key=len))])[0],
    )
