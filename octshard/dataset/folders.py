"""The dataset folders below a URL: SHARDS/<device>, or one of them itself."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from octshard.dataset import tables
from octshard.storage import store

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Folders:
    """URLs of finished dataset folders, names of unfinished ones beside them, and of finished ones whose name
    begins with a dot.
    """

    whole: tuple[str, ...]
    unfinished: tuple[str, ...]
    hidden: tuple[str, ...] = ()


def find(url: str, *, with_hidden: bool = False) -> Folders:
    """`url` itself if it is a dataset, else all datasets directly below it; UsageError if there is none.

    with_hidden: those whose name begins with a dot count as the others do.
    """
    names = store.list_names(url)
    if tables.INFO in names:
        return Folders((url,), ())
    names_in = {name: store.list_names(store.join(url, name)) for name in names}
    hidden = {name for name in names if name.startswith(".") and not with_hidden}
    whole = [name for name, files in names_in.items() if tables.INFO in files and name not in hidden]
    if not whole:
        tables.read_info(url)  # raises, and says in one line what is there instead
    unfinished = tuple(name for name, files in names_in.items() if tables.PLAN in files and name not in whole)
    return Folders(
        tuple(store.join(url, name) for name in whole),
        tuple(name for name in unfinished if name not in hidden),
        tuple(name for name in names if name in hidden and tables.INFO in names_in[name]),
    )


def dataset_folders(urls: Iterable[str], *, with_hidden: bool = False) -> list[str]:
    """Every dataset folder of `urls`, which are datasets or folders of device folders, in that order.

    Unfinished ones are left out, with a warning, and so are those with a dot before their name, but for
    with_hidden.
    """
    folders: list[str] = []
    for url in urls:
        listing = find(url, with_hidden=with_hidden)
        folders += listing.whole
        if listing.unfinished:
            unfinished = ", ".join(listing.unfinished)
            logger.warning("%s: left out, as their build is not finished: %s", url, unfinished)
        if listing.hidden:
            hidden = ", ".join(listing.hidden)
            logger.warning("%s: left out, as their name begins with a dot: %s", url, hidden)
    return folders
