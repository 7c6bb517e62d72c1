"""Files of a release in memory, and manifest rows for them."""

from collections.abc import Mapping
from dataclasses import dataclass

from octshard.prep.release import folder_listing
from octshard.prep.release.entry import Entry
from octshard.prep.release.folder_listing import Image
from octshard.prep.release.source import Fingerprint
from tests.support.made_release import scan


@dataclass(frozen=True)
class MemorySource:
    """Files by manifest path."""

    files: Mapping[str, bytes]

    def read(self, entry: Entry) -> bytes:
        inside = [path for path in self.files if path.rpartition("/")[0] + "/" == entry.path]
        if inside:  # as a folder that is one scan
            images = [Image(path.rpartition("/")[2], len(self.files[path])) for path in inside]
            return folder_listing.write(image for image in images if folder_listing.is_image(image.name))
        if entry.path not in self.files:
            raise FileNotFoundError(entry.path)
        return self.files[entry.path]

    def has(self, path: str) -> bool:
        return path in self.files

    def fingerprint(self, path: str) -> Fingerprint:
        if path not in self.files:
            raise FileNotFoundError(path)
        return Fingerprint(len(self.files[path]), None, "")


def entry(path: str) -> Entry:
    """A manifest row that says nothing of sizes and spacing, of the file of `made_release.scan`."""
    names = {"participant": "1001", "device": "topcon_triton", "manufacturer": "Topcon", "model": "Triton"}
    more = {"protocol": "macula", "region": "Macula", "eye": "L", "sop_instance_uid": scan().sop_instance_uid}
    return Entry(**names, **more, frames=None, rows=None, cols=None, pixel_mm=None, slice_mm=None, path=path)
