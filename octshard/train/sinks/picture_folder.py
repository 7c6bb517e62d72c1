"""RUN/pictures/NAME-SAMPLES.png: the last pictures of each name; on resume those after the checkpoint go."""

import re

from octshard.storage import store
from octshard.train.sinks.sink import Picture, Sink

FOLDER = "pictures"
FILE = re.compile(r"(?P<name>[a-z0-9-]+)-(?P<samples_seen>\d{12,})\.png")


class PictureFolder(Sink):
    """Writes pictures into `out` and keeps the newest `keep` of each name."""

    def __init__(self, out: str, keep: int) -> None:
        self._out, self._keep = out, keep

    def write_picture(self, picture: Picture) -> None:
        """Writes it, then removes the oldest of its name."""
        if not self._keep:
            return
        store.write(store.join(self._out, FOLDER, file_name(picture)), picture.png)
        files = sorted(_files(self._out, picture.name), key=_samples_seen)
        for name in files[: -self._keep]:
            store.remove(store.join(self._out, FOLDER, name))


def file_name(picture: Picture) -> str:
    """Twelve digits, so that a folder shows the files in their order."""
    name = f"{picture.name}-{picture.samples_seen:012d}.png"
    if not FILE.fullmatch(name):
        raise ValueError(f"picture {picture.name!r}: want lower case, digits and hyphens")
    return name


def remove_after(out: str, samples_seen: int) -> None:
    """Removes the pictures of what a resumed run has yet to see, and what a killed one left half-written."""
    store.remove_partials(store.join(out, FOLDER))
    for name in _files(out):
        if _samples_seen(name) > samples_seen:
            store.remove(store.join(out, FOLDER, name))


def _files(out: str, picture: str | None = None) -> list[str]:
    """The names of the pictures in `out`; what else lies in the folder is left alone."""
    matches = [FILE.fullmatch(name) for name in store.list_names(store.join(out, FOLDER))]
    return [match[0] for match in matches if match and picture in (None, match["name"])]


def _samples_seen(name: str) -> int:
    return int(name.removesuffix(".png").rsplit("-", 1)[1])
