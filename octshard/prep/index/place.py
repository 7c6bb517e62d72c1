"""A file where a walk finds it."""

from collections.abc import Mapping
from typing import NamedTuple

from octshard.prep.index.content import Content, StoredFile, ZipMember
from octshard.prep.release import companion_names
from octshard.prep.release.scan_path import OWN
from octshard.storage import store

Key = tuple[str, ...]
OWN_ENDS = ("lock", ".tsv", ".json", ".parquet", ".tar")  # of names that are not hidden, as in OWN
HIDDEN = "a hidden folder, which is not entered"


class Place(NamedTuple):
    """A file, or with a `problem` what cannot be read as one. A folder's path ends in `/`.

    member: where it lies in a ZIP, which no journal has.
    """

    path: str
    size: int
    version: str
    problem: str = ""
    member: ZipMember | None = None

    @property
    def key(self) -> Key:
        """By which places are ordered."""
        return tuple(self.path.split("/"))

    def content(self, root: str) -> Content:
        """Its bytes. root: the folder that paths begin at."""
        return self.member or StoredFile(store.join(root, self.path), self.size)


def with_texts(name: str, version: str, texts: Mapping[str, str]) -> str:
    """The version of a file with those of the texts in its folder that tell what it is."""
    return " ".join((version, *(texts[text] for text in companion_names.of(name) if text in texts)))


def is_own(name: str) -> bool:
    """True for a file that octshard writes; most names are told by their ends."""
    return (name[:1] == "." or name.lower().endswith(OWN_ENDS)) and bool(OWN.fullmatch(name))
