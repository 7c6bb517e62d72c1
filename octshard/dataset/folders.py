"""The dataset folders below a URL: SHARDS/<device>, or one of them itself."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from octshard.dataset import tables
from octshard.storage import store

log = logging.getLogger(__name__)


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


def dataset_folders(urls: Sequence[str]) -> list[str]:
    """Every dataset folder of `urls`, which are datasets or folders of device folders, in that order.

    A folder whose build is not finished is left out with a warning.
    """
    listings = {url: find(url) for url in urls}
    for url, listing in listings.items():
        if listing.unfinished:
            names = ", ".join(listing.unfinished)
            log.warning("%s: left out, as their build is not finished: %s", url, names)
    return [folder for url in urls for folder in listings[url].whole]
