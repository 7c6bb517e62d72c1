"""Folders whose images are the B-scans of one scan, found among the files of a walk.

The rule is that of `prep shard`, and it wants LEAST images: names that differ in one number. What images show
is not looked at, so nobody's folder is listed unless that was asked for.
"""

from collections.abc import Iterable

from octshard.prep.index.look import IMAGE, OTHER, SCAN, UNREAD, Finding
from octshard.prep.index.place import Place
from octshard.prep.readers import image_series
from octshard.prep.refusals import Refused
from octshard.prep.release import folder_listing

LEAST = 3  # images of a folder that is one scan; a manifest may name one of fewer
FORMAT, SINGLE = "images", "image"  # of a folder, and of an image alone, as readers are called
OF_ITSELF = "tiff"  # a format whose single pages are scans of one B-scan, unless their folder is a scan
HOME = "numbered images in the folder itself have no folder of their own; index the folder above it"
FEW = (
    f"2 numbered images, want {LEAST} to take a folder for a scan; a manifest may name it, with / at its end"
)
PROBLEMS = {  # of folders, by the reason for which prep shard would refuse them
    "several_volumes": "images of several series in one folder, want a folder for each",
    "frame_order": "names of images that do not count B-scans by one number; rename them, as b001.png",
}


class SeriesFolders:
    """Folders of images in a walk: those that are one scan, with the number of their images, and why others
    are none; the names of images in open folders are in memory.
    """

    def __init__(self) -> None:
        self.closed: dict[str, int] = {}  # images in each
        self.problems: dict[str, str] = {}
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
        problem = _problem(names)
        if folder and not problem:
            self.closed[folder] = len(names)
        elif problem != OTHER:
            self.problems[folder] = problem or HOME


def find(findings: Iterable[tuple[Place, Finding]]) -> SeriesFolders:
    """All folders of images."""
    folders = SeriesFolders()
    for place, finding in findings:
        if finding.kind == IMAGE:
            folders.add(place.path)
    folders.finish()
    return folders


def is_series(names: Iterable[str]) -> bool:
    """True if these names are those of the B-scans of one scan, of LEAST images or more."""
    return not _problem(names)


def _problem(names: Iterable[str]) -> str:
    """Why they are none: empty if they are one, OTHER for what need not be a scan at all."""
    images = [name for name in names if folder_listing.is_image(name)]
    try:
        series = image_series.series_of(images).names
    except Refused as refusal:
        return PROBLEMS.get(refusal.reason, OTHER) if len(images) >= LEAST else OTHER
    return "" if len(series) >= LEAST else FEW if len(series) == len(images) > 1 else OTHER


def folder_of(path: str) -> str:
    """The folder that a file lies in, with the / at its end; empty for the first of the walk."""
    return path[: path.rfind("/") + 1]


def as_listed(
    place: Place, finding: Finding, folders: SeriesFolders, singles: bool
) -> tuple[Place, Finding] | None:
    """A finding as it is listed: an image for its folder once, and then not any more; others as they are.

    folders: of `find`; one that is listed has 0 images left, and the size of its place is how many they were;
    of one that cannot be, the problem is said once. singles: an image of no such folder is one B-scan.
    """
    if finding.kind != IMAGE:
        return place, finding
    folder = folder_of(place.path)
    if folder not in folders.closed:
        if finding.what == OF_ITSELF:
            return place, finding._replace(kind=SCAN)
        if singles:
            return place, finding._replace(kind=SCAN, what=SINGLE)
        if folder not in folders.problems:
            return place, finding._replace(kind=OTHER)
        problem, folders.problems[folder] = folders.problems[folder], ""
        return (place._replace(path=folder or place.path), Finding(UNREAD, problem)) if problem else None
    images, folders.closed[folder] = folders.closed[folder], 0
    return (Place(folder, images, ""), Finding(SCAN, FORMAT)) if images else None
