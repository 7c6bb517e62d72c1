"""Which ZIPs a release has, and which manifest row a member of one is the file of: by names alone."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from octshard.imaging.volume import DEVICES
from octshard.prep.release import device_name, folder_listing, scan_path
from octshard.prep.release.entry import Entry
from octshard.prep.release.scan_path import HOME, STRUCTURAL
from octshard.storage import store, transport

BELOW = (STRUCTURAL, HOME, f"{HOME}/{STRUCTURAL}")  # where releases keep their device folders
REQUESTS = 16  # at once: a store answers one in tens of milliseconds
NO_FOLDERS = (".dcm", ".tsv", ".csv", ".json", ".md", ".txt", ".html", ".parquet", ".tar")


@dataclass(frozen=True)
class MemberNames:
    """paths: (device, person folder, file name) -> manifest path; device or folder is empty where unique."""

    paths: Mapping[tuple[str, str, str], str]
    devices: frozenset[str]  # of the manifest, in lower case
    # the path of a folder that is one scan, or the end of one where that is unique -> its path
    folders: Mapping[str, str] = field(default_factory=dict)

    def path_of(self, url: str, name: str) -> str:
        """The manifest path of a member of the ZIP `url`, with any prefix; empty if there is none."""
        member = name.replace("\\", "/")
        folder, name = _tail(member)
        device = next(filter(None, (self._device_in(hint) for hint in (f"/{member}", *_hints(url)))), "")
        for key in ((device, folder, name), (device, "", name)):
            if key in self.paths:
                return self.paths[key]
        return self._path_in_folder(member) if self.folders else ""

    def _path_in_folder(self, member: str) -> str:
        """Of an image: the folder's path must end the member's, or the reverse. Empty for all else."""
        above, _, name = member.rpartition("/")
        if not folder_listing.is_image(name):
            return ""
        parts = above.split("/")
        ends = ("/".join(parts[i:]) for i in range(len(parts)))
        whole = next((end for end in ends if self.folders.get(end, "") == f"{end}/"), above)
        return self.folders[whole] + name if whole in self.folders else ""

    def _device_in(self, hint: str) -> str:
        """One of ours anywhere in the hint, or another of the manifest as a folder or the name of a ZIP."""
        parts = hint.lower().removesuffix(".zip").split("/")
        return device_in(hint) or next((part for part in parts if part in self.devices), "")


def find_zips(root: str) -> list[str]:
    """ZIPs in the root, in `BELOW`, and in the folders directly below these, whatever their names; sorted."""
    homes = [root, *(store.join(root, *folder.split("/")) for folder in BELOW)]
    inside = {home: store.list_names(home) for home in homes}
    folders = sorted(
        store.join(home, name)
        for home, names in inside.items()
        for name in names
        if not name.startswith(".") and not name.lower().endswith((".zip", *NO_FOLDERS))
    )
    with transport.thread_pool(REQUESTS) as threads:
        inside |= dict(zip(folders, threads.map(store.list_names, folders), strict=True))
    urls = {store.join(folder, name) for folder, names in inside.items() for name in names}
    return sorted(url for url in urls if url.lower().endswith(".zip"))


def member_names(entries: Sequence[Entry]) -> MemberNames:
    """How the files of these manifest rows may be called in ZIPs."""
    paths_by_name: dict[tuple[str, str, str], set[str]] = {}
    for entry in entries:
        if scan_path.is_folder(entry.path):
            continue
        for path, device in product(entry.files, {*_devices(entry), ""}):
            folder, name = _tail(path)
            for parent in (folder, ""):
                paths_by_name.setdefault((device, parent, name), set()).add(path)
    unique = {key: next(iter(paths)) for key, paths in paths_by_name.items() if len(paths) == 1 and key[2]}
    folders = {entry.path for entry in entries if scan_path.is_folder(entry.path)}
    return MemberNames(unique, frozenset().union(*map(_devices, entries)), _folders(folders))


def _folders(paths: Collection[str]) -> dict[str, str]:
    """Whole paths, and ends of paths that are of one folder alone."""
    by_end: dict[str, set[str]] = {}
    for path in paths:
        parts = path.rstrip("/").split("/")
        for i in range(len(parts)):
            by_end.setdefault("/".join(parts[i:]), set()).add(path)
    unique = {end: next(iter(owners)) for end, owners in by_end.items() if len(owners) == 1}
    return unique | {path.rstrip("/"): path for path in paths}


def _devices(entry: Entry) -> frozenset[str]:
    """What a ZIP may call the device of a row: as the manifest does, or as its path does."""
    folders = scan_path.folders_above(entry.path)
    by_path = device_name.of_scan(entry.path, "") or (folders[-2] if len(folders) > 1 else entry.device)
    return frozenset((entry.device.lower(), by_path.lower()))


def zip_device(url: str) -> str:
    """The device that the address of a ZIP names; empty if it names none of ours."""
    return next(filter(None, map(device_in, _hints(url))), "")


def device_in(text: str) -> str:
    """The first of our devices that is named in a text; empty if none is."""
    return next((device for device in DEVICES if device in text.lower()), "")


def _hints(url: str) -> tuple[str, str]:
    """Where the address of a ZIP may name a device: its folder, then its own name."""
    folder, file = _tail(url)
    return f"/{folder}/", file


def _tail(path: str) -> tuple[str, str]:
    parts = ["", *path.split("/")]
    return parts[-2], parts[-1]
