"""Files that a scan needs beside it: by the ending of its name, the endings of theirs."""

TEXTS = (".txt", ".TXT", ".Txt")  # in a bucket or a ZIP these are three names
ENDINGS = {
    ".mhd": (".raw", ".zraw"),
    ".nhdr": (".raw", ".raw.gz"),
    ".hdr": (".img", ".img.gz"),
    ".img": TEXTS,
    ".oct": TEXTS,
}


def may_need(path: str) -> bool:
    """True for a file that may need another one, of these names or as it says itself."""
    return _ending(path) in ENDINGS


def of(path: str) -> tuple[str, ...]:
    """Where what the file needs may lie, as programs name such files."""
    stem = path.rpartition(".")[0]
    return tuple(stem + other for other in ENDINGS.get(_ending(path), ()))


def _ending(path: str) -> str:
    _, dot, ending = path.rpartition(".")
    return dot + ending.lower()
