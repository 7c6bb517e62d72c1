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
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

from octshard.storage import local, remote
from octshard.storage.client import Blob, Client, call
from octshard.storage.errors import NotAFile as NotAFile
from octshard.storage.errors import OutOfRange, StoreError
from octshard.storage.local import local_path

BLOCK_BYTES = 2**23  # of each read of a remote file
SAME_TRIES = 4  # at a range that comes altered


def is_remote(url: str) -> bool:
    """True for gs://, s3:// and memory://; false for local paths and file://."""
    return "://" in url and not url.startswith("file://")


def join(url: str, *parts: str) -> str:
    """`url` and the parts, with one slash between them."""
    root = url.rstrip("/")
    return "/".join([root, *(part.strip("/") for part in parts)]) if root or url else "/".join(parts)


def read(url: str) -> bytes:
    """The whole object."""
    if is_remote(url):
        return remote.read(url).data
    with local.one_line_errors(url), local.open_read(local_path(url)) as file:
        return file.read()


def read_checked(url: str, flaw: Callable[[bytes], str]) -> tuple[bytes, str]:
    """The whole object, and the flaw of its bytes, empty if there is none.

    A remote one with a flaw is read once more, so that bytes altered on their way are not called damaged.
    """
    data = read(url)
    if is_remote(url) and flaw(data):
        data = read(url)
    return data, flaw(data)


def map(url: str) -> memoryview:
    """The whole object, read-only; a local file is mapped, not copied, and must not change while in use."""
    if is_remote(url):
        return memoryview(read(url))
    with local.one_line_errors(url), local.open_read(local_path(url)) as file:
        if os.fstat(file.fileno()).st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def read_range(url: str, start: int, stop: int) -> bytes:
    """Bytes [start, stop), exactly stop - start of them, else StoreError."""
    return get(url, start, stop).data


def read_range_twice(url: str, start: int, stop: int) -> bytes:
    """As `read_range`, for bytes without a checksum: of a remote object twice, until two replies agree."""
    data = read_range(url, start, stop)
    if not is_remote(url):
        return data
    for _ in range(SAME_TRIES):
        before, data = data, read_range(url, start, stop)
        if data == before:
            return data
    raise StoreError(f"{url}: bytes {start} to {stop} are others at each of {SAME_TRIES + 1} tries")


def get(url: str, start: int, stop: int) -> Blob:
    """Bytes [start, stop), exactly stop - start of them, else StoreError, and the size of the object."""
    if is_remote(url):
        blob = remote.read_range(url, start, stop)
    else:
        with local.one_line_errors(url), local.open_read(local_path(url)) as file:
            file.seek(start)
            size = os.fstat(file.fileno()).st_size
            blob = Blob(file.read(max(0, min(stop, size) - start)), size, "")
    if len(blob.data) != max(0, stop - start):
        raise OutOfRange(
            f"{url}: bytes {start} to {stop} asked for, {len(blob.data)} came: the object is shorter"
        )
    return blob


def open_read(url: str, block_bytes: int = BLOCK_BYTES) -> BinaryIO:
    """A seekable binary file; a remote one is read in blocks, so that a large object is never in memory.

    All blocks are of the version that existed at opening; if it changes, StoreError.
    """
    if is_remote(url):
        return cast(BinaryIO, io.BufferedReader(remote.RemoteFile(url), block_bytes))
    with local.one_line_errors(url):
        return local.open_read(local_path(url))


def write(url: str, data: bytes) -> None:
    """Puts an object, atomically, and replaces any that was there."""
    if is_remote(url):
        remote.upload(url, io.BytesIO(data), len(data))
        return
    with open_write(url) as file:
        file.write(data)


def read_version(url: str) -> tuple[bytes, str]:
    """A remote object and its version."""
    blob = remote.read(url)
    return blob.data, blob.version or etag(url)


def put_if_version(url: str, data: bytes, version: str) -> str | None:
    """Puts a remote object only over that version ('': only if there is no object), and returns the new one.

    None, and nothing is changed, if another version is there. Unimplemented if the store refuses conditions;
    one that ignores them is found out by `conditions.heeded`.
    """
    attempts = 0

    def put(client: Client) -> str:
        nonlocal attempts
        attempts += 1
        return client.put(url, data, version)

    try:
        return remote.change(url, put)
    except FileExistsError:
        if attempts > 1:  # the reply to an earlier attempt may have been lost
            with contextlib.suppress(FileNotFoundError):
                data_now, version_now = read_version(url)
                return version_now if data_now == data else None
    except FileNotFoundError:
        pass  # gone since it was read
    return None


@contextlib.contextmanager
def open_write(url: str) -> Iterator[BinaryIO]:
    """A binary file that becomes the object at `url` if the block ends without error, else it is dropped."""
    if not is_remote(url):
        with local.atomic_write(url) as file:
            yield file
        return
    try:
        with tempfile.TemporaryFile(prefix="octshard-") as spool:  # without a name: a kill leaves nothing
            yield cast(BinaryIO, spool)
            remote.upload(url, cast(BinaryIO, spool), spool.seek(0, os.SEEK_END))
    except OSError as error:
        if error.errno in local.FULL:
            folder = tempfile.gettempdir()
            raise StoreError(
                f"{url}: {folder}, where it is put together, is full; free some space or set TMPDIR"
            ) from error
        raise


def check_writable(url: str) -> None:
    """StoreError if a local file cannot be written there; of a remote one nothing is known before."""
    if not is_remote(url):
        local.check_writable(url)


def exists(url: str) -> bool:
    """True if there is an object or a folder."""
    if not is_remote(url):
        return local_path(url).exists()
    try:
        return bool(remote.request(url, lambda client: call(client.fs, "info", url)))
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
        return size_and_etag(url)[1]
    with local.one_line_errors(url):
        stat = local_path(url).stat()
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def size_and_etag(url: str) -> tuple[int, str]:
    """Both, of a remote object by one request."""
    if is_remote(url):
        head = remote.request(url, lambda client: client.head(url))
        return head.size, head.version
    return size(url), etag(url)


def is_newer(url: str, other: str) -> bool:
    """True if a local file was changed after `other`; False for remote ones, where nobody changes bytes."""
    if is_remote(url):
        return False
    with local.one_line_errors(url):
        return local_path(url).stat().st_mtime_ns > local_path(other).stat().st_mtime_ns


def free_bytes(url: str) -> int | None:
    """Free bytes on the disk of a local target that exists or will be made; None for a remote one."""
    if is_remote(url):
        return None
    return local.free_bytes(local_path(url))


def list_names(url: str) -> list[str]:
    """Sorted names of a folder's direct children, without half-written files; [] if there is no folder."""
    if is_remote(url):
        try:
            entries = remote.request(url, lambda client: _list(client, url))
        except FileNotFoundError:
            return []
        paths = {str(name).strip("/") for name in entries} - {url.split("://", 1)[1].strip("/")}
        return sorted({path.rsplit("/", 1)[-1] for path in paths})
    folder = local_path(url)
    if not folder.is_dir():
        return []
    with local.one_line_errors(url):
        return sorted(name for name in os.listdir(folder) if not local.is_partial(name))


def _list(client: Client, url: str) -> list[str]:
    return list(call(client.fs, "ls", url, detail=False, refresh=True))


def copy(source: str, target: str) -> None:
    """Copies one object, streaming, atomically."""
    with open_read(source) as source_file, open_write(target) as target_file:
        shutil.copyfileobj(source_file, target_file, 2**22)


def remove(url: str) -> None:
    """Removes one object, if there is one."""
    try:
        if is_remote(url):
            remote.change(url, lambda client: call(client.fs, "rm_file", url))
        else:
            with local.one_line_errors(url):
                local_path(url).unlink()
    except FileNotFoundError:
        pass


def remove_partials(url: str) -> int:
    """Removes half-written files that killed writers left in a local folder, and none that one still writes.

    Returns how many; always 0 for a remote folder.
    """
    if is_remote(url) or not local_path(url).is_dir():
        return 0
    return local.remove_partials(local_path(url))
