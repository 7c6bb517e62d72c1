"""A manifest that prep index wrote may be replaced by it; any other table of that name is somebody's work."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from octshard.errors import UsageError
from octshard.storage import json_object, store

INFO = "manifest.json"  # in the journal: of which folder the manifest is, and the digests of what was written


def beside(out: str, kind: str) -> str:
    """A hidden name beside the manifest."""
    parent, slash, name = out.rpartition("/")
    return f"{parent}{slash}.{name}.{kind}"


def check(out: str, folder: str, journal: str) -> None:
    """UsageError if there is a table at `out` that is not as an index of `folder` wrote it."""
    if not store.exists(out):
        return
    info = _info(journal)
    digest = hashlib.sha256(store.read(out)).hexdigest()
    if info.get("folder", folder) != folder:
        raise UsageError(f"{out}: it lists {info['folder']}, not {folder}; name another --out")
    if digest not in info.get("sha256", ()):
        text = "was changed since prep index wrote it" if info else "is not of prep index"
        raise UsageError(f"{out}: it {text}, and would be replaced; move it away, or name another --out")


def folder_of(journal: str) -> str:
    """The folder that the manifest of this journal lists; empty where none tells."""
    return str(_info(journal).get("folder", ""))


def write(out: str, folder: str, journal: str, lines: Iterable[str]) -> None:
    """Puts the manifest, atomically; a run that is killed meanwhile leaves the old one or the new one."""
    digest, before = hashlib.sha256(), _info(journal).get("sha256", [])
    with store.open_write(out) as file:
        for line in lines:
            data = line.encode()
            digest.update(data)
            file.write(data)
        _put_info(
            journal, folder, [*before[-1:], digest.hexdigest()]
        )  # before either of the two stands there
    _put_info(journal, folder, [digest.hexdigest()])


def note(journal: str, made_of: str, summary: Mapping[str, Any]) -> None:
    """Keeps what is in the table, until it is another one."""
    record = {**_info(journal), "made_of": made_of, "summary": summary}
    store.write(store.join(journal, INFO), json.dumps(record).encode())


class Note(NamedTuple):
    """As `note` keeps it."""

    made_of: str
    summary: Mapping[str, Any]


def read_note(out: str, journal: str) -> Note | None:
    """What is in the table at `out`, if it is there and somebody noted it."""
    info = _info(journal)
    if not isinstance(info.get("summary"), dict) or not store.exists(out):
        return None
    return Note(str(info.get("made_of")), info["summary"])


def _info(journal: str) -> dict[str, Any]:
    try:
        return json_object.read(store.join(journal, INFO))
    except (FileNotFoundError, json_object.DamagedJson):
        return {}


def _put_info(journal: str, folder: str, digests: list[str]) -> None:
    text = json.dumps({"folder": folder, "sha256": digests}, indent=1, sort_keys=True)
    store.write(store.join(journal, INFO), text.encode() + b"\n")
