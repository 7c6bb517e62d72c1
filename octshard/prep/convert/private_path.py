"""The detail of a row for everybody, where paths are private: nothing in it may name a person.

What is not known to be ours is left out: a detail keeps words of our own texts (`public_words`) and numbers.
A file's own words, names and messages of libraries go, whoever put them in. Numbers that name somebody look
like others: they go where they stand within a name or a path, in quotes, in the path of this file, or where a
refusal says so.
"""

import re

from octshard.prep.convert.public_words import WORDS
from octshard.prep.release import scan_path
from octshard.prep.release.entry import Entry

LEFT_OUT = "..."
LEAST = 3  # letters of a part of a path that is looked for
QUOTED = re.compile(r"(?<!\w)(?:'[^']*'|\"[^\"]*\")(?!\w)")
BYTES = re.compile(r"(?<![\w.])[0-9a-f]{2}(?: [0-9a-f]{2})+(?![\w.])")  # first ones of a file, in hex
RUN = re.compile(r"\.\.\.(?:[\s,:;(\[]+\.\.\.[)\]]*)+")
NUMBER = r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
NUMBERS = re.compile(rf"{NUMBER}(?:,{NUMBER})*(?:%|mm|µm)?|0x[0-9a-f]+")
TAG = re.compile(r"[0-9A-Fa-f]{4},[0-9A-Fa-f]{4}")
DICOM_UID = re.compile(r"1\.2\.840\.10008(?:\.\d+)+")  # those of the standard
NAME_OF_SYSTEM = re.compile(r"SIG[A-Z]+|[A-Z]\w*Error|octshard\[[a-z]+|#?volume-\d+|#\d+|#")
PIECE = re.compile(r"([(\[<'\"]*)(.*?)([)\]>.,;:%'\"?]*)", re.DOTALL)


def public(detail: str, entry: Entry) -> str:
    """What of a detail names nobody; `source_id` where it has the path, and `...` for what is left out."""
    path = rf"(?<!\w){re.escape(entry.path)}(?!\w)" if entry.path else r"(?!)"
    pieces = [_public(piece, entry) for piece in re.split(path, detail)]
    return RUN.sub(LEFT_OUT, entry.source_id.join(pieces))


def _public(text: str, entry: Entry) -> str:
    """A text that does not have the whole path."""
    text = BYTES.sub(LEFT_OUT, QUOTED.sub(LEFT_OUT, text))
    text = re.sub(r"\S+", lambda found: _word(found[0]), text)
    *folders, name = scan_path.file_of(entry.path).split("/")
    parts = {*folders, name, name.partition(".")[0], *re.split(r"[\W_]+", entry.path)}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= LEAST:
            text = re.sub(rf"(?<!\w){re.escape(part)}(?!\w)", LEFT_OUT, text)
    return text


def _word(text: str) -> str:
    """What stands between two spaces, with the signs around it, if it is public."""
    if not re.search(r"\w", text):
        return text
    before, core, behind = PIECE.fullmatch(text).groups()  # type: ignore[union-attr]
    return text if _is_public(core) else before + LEFT_OUT + behind


def _is_public(core: str) -> bool:
    if any(form.fullmatch(core) for form in (NUMBERS, TAG, DICOM_UID, NAME_OF_SYSTEM)):
        return True
    words = re.split(r"[-='’]", re.sub(r"^[.@](?=[^\W\d])", "", core))  # of CRC-32, B-scans, a ZIP's
    if not all(word in WORDS or re.fullmatch(r"|s|A|B|\d\d?", word) for word in words):
        return False
    return not any(map(str.isdigit, words)) or any(word in WORDS for word in words)
