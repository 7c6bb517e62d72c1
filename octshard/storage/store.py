"""Bytes at URLs: local paths, file://, gs://, s3://, memory://. The only retry.

A write is atomic: readers see the whole object or none; a killed writer leaves nothing that looks finished.
A missing object is FileNotFoundError; any other failure is a StoreError of one line.
"""

import contextlib
import io
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import BinaryIO, cast

from octshard.storage import local, remote
from octshard.storage.client import Blob, Client
from octshard.storage.errors import OutOfRange, StoreError
from octshard.storage.local import local_path

AHEAD = 2**23  # a remote file is read in blocks of so many bytes


def is_remote(url: str) -> bool:
    """True for gs://, s3:// and memory://; false for local paths and file://."""
    return "://" in url and not url.startswith("file://")


def join(url: str, *parts: str) -> str:
    """`url` and the parts behind it, one slash between."""
    root = url.rstrip("/")
    return "/".join([root, *(part.strip("/") for part in parts)]) if root or url else "/".join(parts)


def read(url: str) -> bytes:
    """The whole object."""
    if is_remote(url):
        return remote.request(url, lambda client: client.get(url, 0, None, "").data)
    with local.one_line_errors(url):
        return local_path(url).read_bytes()


def map(url: str) -> memoryview:
    """The whole object, read-only; a local one is mapped, not copied, and must stay as it is meanwhile."""
    if is_remote(url):
        return memoryview(read(url))
    with local.one_line_errors(url), open(local_path(url), "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def read_range(url: str, start: int, stop: int) -> bytes:
    """Bytes [start, stop), exactly so many, else StoreError."""
    return get(url, start, stop).data


def get(url: str, start: int, stop: int) -> Blob:
    """Bytes [start, stop), exactly so many, else StoreError, and how many the object has in all."""
    if is_remote(url):
        piece = remote.read_range(url, start, stop)
    else:
        with local.one_line_errors(url), open(local_path(url), "rb") as file:
            file.seek(start)
            piece = Blob(file.read(max(0, stop - start)), os.fstat(file.fileno()).st_size, "")
    if len(piece.data) != max(0, stop - start):
        found = f"{len(piece.data)} came: the object is shorter"
        raise OutOfRange(f"{url}: bytes {start} to {stop} asked for, {found}")
    return piece


def open_read(url: str, ahead: int = AHEAD) -> BinaryIO:
    """A seekable binary file; a remote one is read in blocks of `ahead` bytes, so a big object is never held.

    Every block is of the object that stood there at the beginning, else StoreError.
    """
    if is_remote(url):
        return cast(BinaryIO, io.BufferedReader(remote.RemoteFile(url), ahead))
    with local.one_line_errors(url):
        return open(local_path(url), "rb")


def write(url: str, data: bytes) -> None:
    """Puts an object, atomically, over whatever was there."""
    if is_remote(url):
        remote.upload(url, io.BytesIO(data), len(data))
        return
    with open_write(url) as file:
        file.write(data)


def write_new(url: str, data: bytes) -> bool:
    """Puts an object only if none stands there; False, and nothing changed, if one does.

    Of several writers one wins. Emulators may ignore the condition: read it back to be sure.
    """
    if is_remote(url):
        return put_if_version(url, data, "") is not None
    try:
        with local.atomic_write(url, new=True) as file:
            file.write(data)
    except FileExistsError:
        return False
    return True


def read_version(url: str) -> tuple[bytes, str]:
    """A remote object and the version that it is."""
    piece = remote.request(url, lambda client: client.get(url, 0, None, ""))
    return piece.data, piece.version or etag(url)


def put_if_version(url: str, data: bytes, version: str) -> str | None:
    """Puts a remote object over that version only, '' being none at all; its new version.

    None, and nothing changed, if another version stands there.
    """
    tries = 0

    def put(client: Client) -> str:
        nonlocal tries
        tries += 1
        return client.put(url, data, version)

    try:
        return remote.request(url, put)
    except FileExistsError:
        if tries > 1:  # the reply to our own put may have been lost
            with contextlib.suppress(FileNotFoundError):
                found, now = read_version(url)
                return now if found == data else None
    except FileNotFoundError:
        pass  # gone since it was read
    return None


@contextlib.contextmanager
def open_write(url: str) -> Iterator[BinaryIO]:
    """A binary file that becomes the object at `url` when the block ends well; else nothing appears."""
    if not is_remote(url):
        with local.atomic_write(url, new=False) as file:
            yield file
        return
    try:
        with tempfile.TemporaryFile(prefix="octshard-") as spool:  # nameless: a kill leaves nothing
            yield cast(BinaryIO, spool)
            remote.upload(url, cast(BinaryIO, spool), spool.seek(0, os.SEEK_END))
    except OSError as error:
        if error.errno in local.FULL:
            where = tempfile.gettempdir()
            raise StoreError(
                f"{url}: {where}, where it is put together, is full; free some space or set TMPDIR"
            ) from error
        raise


def exists(url: str) -> bool:
    """True if an object or a folder stands there."""
    if not is_remote(url):
        return local_path(url).exists()
    try:
        return bool(remote.request(url, lambda client: client.fs.info(url)))
    except FileNotFoundError:
        return False


def size(url: str) -> int:
    """Bytes of the object."""
    if is_remote(url):
        return remote.request(url, lambda client: client.head(url).size)
    with local.one_line_errors(url):
        return local_path(url).stat().st_size


def etag(url: str) -> str:
    """A short text that changes when the object does (remote: generation or etag; local: size, mtime)."""
    if is_remote(url):
        return remote.request(url, lambda client: client.head(url).version)
    with local.one_line_errors(url):
        stat = local_path(url).stat()
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def free_bytes(url: str) -> int | None:
    """Free space where a local target is or would be; None for a remote one, which has no end."""
    if is_remote(url):
        return None
    return local.free_bytes(local_path(url))


def list_names(url: str) -> list[str]:
    """Sorted names of a folder's direct children, half-written files left out; [] where there is none."""
    if is_remote(url):
        try:
            found = remote.request(url, lambda client: client.fs.ls(url, detail=False, refresh=True))
        except FileNotFoundError:
            return []
        paths = {str(name).strip("/") for name in found} - {url.split("://", 1)[1].strip("/")}
        return sorted({path.rsplit("/", 1)[-1] for path in paths})
    folder = local_path(url)
    if not folder.is_dir():
        return []
    with local.one_line_errors(url):
        return sorted(name for name in os.listdir(folder) if not local.is_partial(name))


def copy(source: str, target: str) -> None:
    """Copies one object, streaming, atomically."""
    with open_read(source) as reading, open_write(target) as writing:
        shutil.copyfileobj(reading, writing, 2**22)


def remove(url: str) -> None:
    """Removes one object; none there is fine."""
    try:
        if is_remote(url):
            remote.request(url, lambda client: client.fs.rm_file(url))
        else:
            with local.one_line_errors(url):
                local_path(url).unlink()
    except FileNotFoundError:
        pass


def remove_partials(url: str) -> int:
    """Removes what killed writers left half-written in a local folder; call it under the folder's lock."""
    if is_remote(url) or not local_path(url).is_dir():
        return 0
    return local.remove_partials(local_path(url))
