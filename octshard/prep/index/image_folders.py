"""Folders whose images are the B-scans of one scan, found among the files of a walk.

The rule is that of `prep shard`, and it wants LEAST images: names that differ in one number. What images show
is not looked at, so nobody's folder is listed unless that was asked for.
"""

from collections.abc import Iterable

from octshard.prep.index.look import IMAGE, OTHER, SCAN, Finding
from octshard.prep.index.place import Place
from octshard.prep.readers import image_series
from octshard.prep.refusals import Refused
from octshard.prep.release import folder_listing

LEAST = 3  # images of a folder that is one scan; a manifest may name one of fewer
FORMAT, SINGLE = "images", "image"  # of a folder, and of an image alone, as readers are called
OF_ITSELF = "tiff"  # a format whose single pages are scans of one B-scan, unless their folder is a scan


class SeriesFolders:
    """Counts folders that are one scan, in a walk; the names of images in open folders are in memory."""

    def __init__(self) -> None:
        self.closed: dict[str, int] = {}  # images in each
        self._open: list[tuple[str, list[str]]] = []

    def add(self, path: str) -> None:
        """The next image of the walk."""
        folder = folder_of(path)
        while self._open and not folder.startswith(self._open[-1][0]):
            self._close()
        if not self._open or self._open[-1][0] != folder:
            self._open.append((folder, []))
        self._open[-1][1].append(path[len(folder) :])

    def finish(self) -> dict[str, int]:
        """All of them; to be called behind the last image."""
        while self._open:
            self._close()
        return self.closed

    def _close(self) -> None:
        folder, names = self._open.pop()
        if folder and is_series(names):
            self.closed[folder] = len(names)


def find(findings: Iterable[tuple[Place, Finding]]) -> dict[str, int]:
    """Folders that are one scan, and how many images are in each."""
    folders = SeriesFolders()
    for place, finding in findings:
        if finding.kind == IMAGE:
            folders.add(place.path)
    return folders.finish()


def is_series(names: Iterable[str]) -> bool:
    """True if these names are those of the B-scans of one scan, of LEAST images or more."""
    images = [name for name in names if folder_listing.is_image(name)]
    try:
        return len(images) >= LEAST and len(image_series.series_of(images).names) >= LEAST
    except Refused:
        return False


def folder_of(path: str) -> str:
    """The folder that a file lies in, with the / at its end; empty for the first of the walk."""
    return path[: path.rfind("/") + 1]


def as_listed(
    place: Place, finding: Finding, folders: dict[str, int], singles: bool
) -> tuple[Place, Finding] | None:
    """A finding as it is listed: an image for its folder once, and then not any more; others as they are.

    folders: of `find`; one that is listed has 0 images left, and the size of its place is how many they were.
    singles: an image of no such folder is a scan of one B-scan.
    """
    if finding.kind != IMAGE:
        return place, finding
    folder = folder_of(place.path)
    if folder not in folders:
        if finding.what == OF_ITSELF:
            return place, finding._replace(kind=SCAN)
        return place, finding._replace(kind=SCAN, what=SINGLE) if singles else finding._replace(kind=OTHER)
    images, folders[folder] = folders[folder], 0
    return (Place(folder, images, ""), Finding(SCAN, FORMAT)) if images else None
