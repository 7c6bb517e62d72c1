"""RUN/pictures/NAME-SAMPLES.png: the last pictures of each name; on resume those after the checkpoint go."""

import re

from octshard.storage import store
from octshard.train.sinks.sink import Picture, Sink

FOLDER = "pictures"
FILE = re.compile(r"(?P<name>[a-z0-9-]+)-(?P<samples_seen>\d{12,})\.png")


class PictureFolder(Sink):
    """Writes pictures into `out` and keeps the newest `keep` of each name.

    samples_seen: where the run goes on; pictures of what it has yet to see go first.
    """

    def __init__(self, out: str, keep: int, samples_seen: int) -> None:
        self._out, self._keep = out, keep
        self._resumed_at: int | None = samples_seen

    def write_picture(self, picture: Picture) -> None:
        """Writes it, then removes the oldest of its name."""
        self.flush()
        store.write(store.join(self._out, FOLDER, file_name(picture)), picture.png)
        files = sorted(_files(self._out, picture.name), key=_samples_seen)
        for name in files[: -self._keep]:
            store.remove(store.join(self._out, FOLDER, name))

    def flush(self) -> None:
        """Every picture stands as soon as it is written; but what a killed run left goes."""
        if self._resumed_at is None:
            return
        store.remove_partials(store.join(self._out, FOLDER))
        for name in _files(self._out):
            if _samples_seen(name) > self._resumed_at:
                store.remove(store.join(self._out, FOLDER, name))
        self._resumed_at = None

    def close(self, exit_code: int) -> None:
        """As `flush`."""
        self.flush()


def file_name(picture: Picture) -> str:
    """Twelve digits, so that a folder shows the files in their order."""
    name = f"{picture.name}-{picture.samples_seen:012d}.png"
    if not FILE.fullmatch(name):
        raise ValueError(f"picture {picture.name!r}: want lower case, digits and hyphens")
    return name


def _files(out: str, picture: str | None = None) -> list[str]:
    """The names of the pictures in `out`; what else lies in the folder is left alone."""
    matches = [FILE.fullmatch(name) for name in store.list_names(store.join(out, FOLDER))]
    return [match[0] for match in matches if match and picture in (None, match["name"])]


def _samples_seen(name: str) -> int:
    return int(name.removesuffix(".png").rsplit("-", 1)[1])
