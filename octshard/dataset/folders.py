"""The dataset folders below a URL: SHARDS/<device>, or one of them itself."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from octshard.dataset import tables
from octshard.storage import store

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Folders:
    """URLs of finished dataset folders, and names of unfinished ones beside them."""

    whole: tuple[str, ...]
    unfinished: tuple[str, ...]


def find(url: str) -> Folders:
    """`url` itself if it is a dataset, else all datasets directly below it; UsageError if there is none."""
    names = store.list_names(url)
    if tables.INFO in names:
        return Folders((url,), ())
    names_in = {name: store.list_names(store.join(url, name)) for name in names if not name.startswith(".")}
    whole = [name for name, files in names_in.items() if tables.INFO in files]
    if not whole:
        tables.read_info(url)  # raises, and says in one line what is there instead
    unfinished = tuple(name for name, files in names_in.items() if tables.PLAN in files and name not in whole)
    return Folders(tuple(store.join(url, name) for name in whole), unfinished)


def dataset_folders(urls: Iterable[str]) -> list[str]:
    """Every dataset folder of `urls`, which are datasets or folders of device folders, in that order.

    Unfinished ones are left out, with a warning.
    """
    folders: list[str] = []
    for url in urls:
        listing = find(url)
        folders += listing.whole
        if listing.unfinished:
            unfinished = ", ".join(listing.unfinished)
            logger.warning("%s: left out, as their build is not finished: %s", url, unfinished)
    return folders
