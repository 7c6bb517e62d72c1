"""The members of a ZIP as a walk has them: by their names, in its order, with the ZIP as their folder.

One ZIP's directory is in memory. A ZIP that cannot be read is a place with its problem, as a folder is.
"""

from collections.abc import Iterator

from octshard.prep.index.content import ZipMember
from octshard.prep.index.place import HIDDEN, Place, is_own, with_texts
from octshard.prep.release import companion_names, zip_directory
from octshard.prep.release.zip_directory import ZipEntry
from octshard.storage import store

TWICE = "another member of its ZIP has the same name"


def walk(url: str, zip_place: Place) -> Iterator[Place]:
    """Every member but octshard's own; of an empty ZIP the ZIP."""
    try:
        entries, refused = zip_directory.read(url)
    except FileNotFoundError:  # it went
        return
    except store.StoreError as error:
        if store.is_remote(url):
            raise
        yield zip_place._replace(problem=f"it cannot be read: {error}".replace(f"{url}: ", ""))
        return
    told = [entry for entry in entries if entry.name.endswith(companion_names.TEXTS)]
    texts = {entry.name.replace("\\", "/"): _version(entry) for entry in told}
    members: dict[str, ZipEntry] = {}
    places = []
    for entry in entries:
        name = entry.name.replace("\\", "/")
        if is_own(name.rpartition("/")[2]):
            continue
        problem = TWICE if name in members else _problem(name)
        member = ZipMember(members.setdefault(name, entry), members)
        version = with_texts(name, _version(entry), texts)
        places.append(Place(f"{zip_place.path}/{name}", entry.size, version, problem, member))
    for one in refused:
        path = f"{zip_place.path}/{one.member}" if one.member else zip_place.path
        places.append(Place(path, 0, zip_place.version, one.reason))
    yield from sorted(places, key=lambda place: place.key)
    if not places and not entries:
        yield zip_place


def _version(entry: ZipEntry) -> str:
    return f"{entry.size}-{entry.crc32:08x}"


def _problem(name: str) -> str:
    return HIDDEN if any(part.startswith(".") and part != "." for part in name.split("/")[:-1]) else ""
