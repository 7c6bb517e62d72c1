"""A public data set as it is delivered: whose scan a file is, and in which split, by its path.

Of Harvard-FairVision (https://github.com/Harvard-Ophthalmology-AI-Lab/FairVision) and Harvard-GF
(https://github.com/Harvard-Ophthalmology-AI-Lab/Harvard-GF): one `data_06691.npz` a person, in folders
Training, Validation and Test, which users are told to rename to train, val and test. FairVision has such
folders for each of AMD, DR and Glaucoma, each with 10,000 people who are numbered anew.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from octshard.prep.index.layout_names import HARVARD_DR
from octshard.prep.index.path_pattern import PathPattern
from octshard.prep.release import zip_path
from octshard.prep.release.split_table import WORDS

DISEASES = ("amd", "dr", "glaucoma")
_FLAGS = re.DOTALL | re.ASCII | re.IGNORECASE
_PATH = re.compile(r"(?:.*/)?data_(?P<person>\d+)\.npz", _FLAGS)
# nobody says whether each split numbers its people anew, so its name is a part of theirs
_SPLIT_PATH = re.compile(r"(?:.*/)?(?:data_)?(?P<person>(?:(?:train|val|validation|test)_)?\d+)\.npz", _FLAGS)
_SPLIT = re.compile(r"(?:.*/)?(train|val|validation|test)_\d+\.npz", _FLAGS)


@dataclass(frozen=True)
class Layout(PathPattern):
    """As a pattern of paths. inside: the disease that the folder itself is of, or empty."""

    inside: str

    def match(self, path: str) -> Mapping[str, str] | None:
        """The person, by the disease's folder and the number."""
        match = self.regex.fullmatch(path)
        if match is None:
            return None
        disease, person = self.disease(path), match["person"].lower().replace("_", "-")
        return {"person": f"{disease}-{person}" if disease else person}

    def disease(self, path: str) -> str:
        """Of DISEASES, or empty: the nearest folder above that is called so."""
        return next((name for name in _folders(path) if name in DISEASES), self.inside)


def of(name: str, folder: str) -> Layout:
    """The layout of this name, one of `layout_names.OF_FILES`, of what lies below `folder`."""
    last = _folders(f"{folder.rstrip('/')}/")[0]  # not those above it: somebody's home may be called dr
    inside = last if last in DISEASES else ""
    return Layout(f"{name} {inside}", _SPLIT_PATH if name == HARVARD_DR else _PATH, inside)


def split(path: str) -> str:
    """train | val | test, or empty: by the file's name, or the nearest folder above that is called so."""
    if named := _SPLIT.fullmatch(path):
        return WORDS[named[1].lower()]
    return next((WORDS[name] for name in _folders(path) if name in WORDS), "")


def _folders(path: str) -> list[str]:
    """In lower case, the nearest first."""
    return [zip_path.stem(name) for name in path.lower().split("/")[-2::-1]]
