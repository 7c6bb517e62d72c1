"""All files below a folder, those in ZIPs too, in an order that does not change; few names are in memory.

The order is that of paths split at `/`: what is in a folder stands together, after a file of its name. A
ZIP, known by the ending of its name, is a folder.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from octshard.prep.index import zip_walk
from octshard.prep.index.place import HIDDEN, Place, is_own, with_texts
from octshard.prep.release import companion_names, zip_path
from octshard.storage import store, transport
from octshard.storage.listing import Listed, entries

REQUESTS = 16  # remote folders that are listed ahead of their turn; a local one takes less than a thread


def walk(root: str) -> Iterator[Place]:
    """Every file below `root`, a folder or a ZIP, but octshard's own; what cannot be entered has a problem.

    A remote folder that cannot be listed is an error: it says nothing about what is in it.
    """
    if zip_path.home_of(root) != root:
        url = root.rstrip("/")
        yield from zip_walk.walk(url, Place(url.rpartition("/")[2], *store.size_and_etag(url)))
        return
    with transport.thread_pool(REQUESTS) as threads:
        stack = [_OpenFolder(root.rstrip("/"), "", _list(root), threads)]
        while stack:
            folder = stack[-1]
            entry = next(folder.names, None)
            if entry is None:
                stack.pop()
            elif not entry.is_folder:
                if not is_own(entry.name):
                    yield from _file(folder, entry)
            elif entry.name.startswith("."):
                yield Place(f"{folder.prefix}{entry.name}/", 0, "", HIDDEN)
            else:
                stack.append(folder.enter(entry.name))


def _file(folder: "_OpenFolder", entry: Listed) -> Iterator[Place]:
    version = with_texts(entry.name, entry.version, folder.texts)
    place = Place(folder.prefix + entry.name, entry.size, version, entry.problem)
    if entry.size and zip_path.is_name(entry.name):
        yield from zip_walk.walk(f"{folder.url}/{entry.name}", place)
    else:
        yield place


class _OpenFolder:
    """A folder whose names are being gone through; the next folders in it are listed ahead of their turn."""

    def __init__(self, url: str, prefix: str, listed: Sequence[Listed], threads: ThreadPoolExecutor) -> None:
        self.prefix, self.names = prefix, iter(listed)
        self.texts = {
            entry.name: entry.version for entry in listed if entry.name.endswith(companion_names.TEXTS)
        }
        self.url, self._threads = url, threads
        self._ahead: deque[Future[Sequence[Listed]]] | None = None
        if store.is_remote(url):
            self._ahead = deque()
            self._folders = iter([e.name for e in listed if e.is_folder and not e.name.startswith(".")])
            self._list_ahead(self._ahead)

    def enter(self, name: str) -> "_OpenFolder":
        """The next folder in it."""
        url = f"{self.url}/{name}"
        if self._ahead is None:
            return _OpenFolder(url, f"{self.prefix}{name}/", _list(url), self._threads)
        listed = self._ahead.popleft().result()
        self._list_ahead(self._ahead)
        return _OpenFolder(url, f"{self.prefix}{name}/", listed, self._threads)

    def _list_ahead(self, ahead: deque[Future[Sequence[Listed]]]) -> None:
        while len(ahead) < REQUESTS and (name := next(self._folders, None)) is not None:
            ahead.append(self._threads.submit(_list, f"{self.url}/{name}"))


def _list(url: str) -> Sequence[Listed]:
    """The names in a folder; of a local one that cannot be read, its problem as the only name."""
    try:
        return entries(url)
    except (FileNotFoundError, store.StoreError) as error:
        if store.is_remote(url):
            if isinstance(error, FileNotFoundError):  # the last object below it went
                return []
            raise
        reason = str(error.strerror) if isinstance(error, FileNotFoundError) else str(error)
        reason = reason.replace(f"{url}: ", "")  # one text for all such folders: they are counted by it
        return [Listed("", False, 0, "", f"the folder cannot be read: {reason}")]
