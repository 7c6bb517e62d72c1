"""Paths that lead into a ZIP as into a folder, as prep index writes them: `visits/a.zip/P1/scan.dcm`."""

from octshard.storage import local, store

ENDING = ".zip"


def candidates(path: str) -> list[str]:
    """Paths of what is called as a ZIP above its end, the outermost first; which one is a file, names do not
    say: the others are folders.
    """
    parts = path.split("/")
    return ["/".join(parts[:place]) for place, part in enumerate(parts[:-1], start=1) if is_name(part)]


def is_name(name: str) -> bool:
    """True for the name of a ZIP, which is a name and its ending."""
    return name.lower().endswith(ENDING) and len(name) > len(ENDING)


def stem(name: str) -> str:
    """The name of a folder, or of a ZIP that stands for one."""
    return name[: -len(ENDING)] if is_name(name) else name


def is_file(url: str) -> bool:
    """True if there is a file, and no folder that is called like a ZIP."""
    try:
        return (store.size(url) if store.is_remote(url) else local.file_size(url)) >= 0
    except (FileNotFoundError, store.NotAFile):
        return False


def home_of(url: str) -> str:
    """Where the paths of a manifest of `url` begin: of a ZIP the folder that it lies in, else itself."""
    plain = url.rstrip("/")
    parent, slash, name = plain.rpartition("/")
    return (parent or slash) if is_name(name) and is_file(plain) else url
