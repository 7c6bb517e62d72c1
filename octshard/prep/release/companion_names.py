"""Files that a scan needs beside it: by the ending of its name, the endings of theirs."""

TEXTS = (".txt", ".TXT", ".Txt")  # in a bucket or a ZIP these are three names
ENDINGS: dict[str, tuple[str, ...]] = {
    ".mhd": (".raw", ".zraw"),
    ".mha": (),
    ".nhdr": (".raw", ".raw.gz"),
    ".nrrd": (),
    ".hdr": (".img", ".img.gz"),
    ".hdr.gz": (".img", ".img.gz"),
    ".img": TEXTS,
    ".oct": TEXTS,
}
HEADERS = (".mhd", ".mha", ".nhdr", ".nrrd")  # of text, which may name the file of their values as they like


def may_need(path: str) -> bool:
    """True for a file that may need another one, of these names or as it says itself."""
    return _ending(path) in ENDINGS


def of(path: str) -> tuple[str, ...]:
    """Where what the file needs may lie, as programs name such files."""
    ending = _ending(path)
    return tuple(path.removesuffix(path[-len(ending) :]) + other for other in ENDINGS.get(ending, ()))


def is_header(path: str) -> bool:
    """True for a file that may itself say what the file beside it is called."""
    return _ending(path) in HEADERS


def _ending(path: str) -> str:
    _, dot, ending = path.rpartition(".")
    return ".hdr.gz" if path.lower().endswith(".hdr.gz") else dot + ending.lower()
