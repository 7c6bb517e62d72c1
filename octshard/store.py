"""Bytes at URLs: local paths, file://, gs://, s3://, memory://. The only retry.

A write is atomic: readers see the whole object or none; a killed writer leaves nothing that looks finished.
A missing object is FileNotFoundError; any other failure is a StoreError of one line.
"""

import contextlib
import errno
import io
import mmap
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeVar, cast

from octshard import cloud, disk
from octshard.cloud import Client, Piece
from octshard.disk import local_path
from octshard.fault import PastTheEnd, StoreError, kind_of, one_line

Result = TypeVar("Result")
_STANDING: set[str] = set()  # buckets known to exist

ATTEMPTS = 6  # a transient fault is tried so often: with full jitter up to 0.5, 1, 2, 4, 8 s between
AHEAD = 2**23  # a remote file is read in blocks of so many bytes
ADVICE = {
    "gs": "run `gcloud auth application-default login`, set GOOGLE_APPLICATION_CREDENTIALS, or ask its owner",
    "s3": "set AWS_PROFILE or AWS_ACCESS_KEY_ID, or ask its owner",
}


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
        return _remote(url, lambda client: client.get(url, 0, None, "").data)
    with disk.one_line_errors(url):
        return local_path(url).read_bytes()


def view(url: str) -> memoryview:
    """The whole object, read-only; a local one is mapped, not copied, and must stay as it is meanwhile."""
    if is_remote(url):
        return memoryview(read(url))
    with disk.one_line_errors(url), open(local_path(url), "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def read_range(url: str, start: int, stop: int) -> bytes:
    """Bytes [start, stop), exactly so many, else StoreError."""
    return read_piece(url, start, stop).data


def read_piece(url: str, start: int, stop: int) -> Piece:
    """Bytes [start, stop), exactly so many, else StoreError, and how many the object has in all."""
    if is_remote(url):
        piece = _read_remote(url, start, stop)
    else:
        with disk.one_line_errors(url), open(local_path(url), "rb") as file:
            file.seek(start)
            piece = Piece(file.read(max(0, stop - start)), os.fstat(file.fileno()).st_size, "")
    if len(piece.data) != max(0, stop - start):
        found = f"{len(piece.data)} came: the object is shorter"
        raise PastTheEnd(f"{url}: bytes {start} to {stop} asked for, {found}")
    return piece


def open_read(url: str, ahead: int = AHEAD) -> BinaryIO:
    """A seekable binary file; a remote one is read in blocks of `ahead` bytes, so a big object is never held.

    Every block is of the object that stood there at the beginning, else StoreError.
    """
    if is_remote(url):
        return cast(BinaryIO, io.BufferedReader(_Ranges(url), ahead))
    with disk.one_line_errors(url):
        return open(local_path(url), "rb")


def write(url: str, data: bytes) -> None:
    """Puts an object, atomically, over whatever was there."""
    if is_remote(url):
        _upload(url, io.BytesIO(data), len(data))
        return
    with create(url) as file:
        file.write(data)


def write_new(url: str, data: bytes) -> bool:
    """Puts an object only if none stands there; False, and nothing changed, if one does.

    Of several writers one wins. Emulators may ignore the condition: read it back to be sure.
    """
    if is_remote(url):
        return replace(url, data, "") is not None
    try:
        with disk.written(url, new=True) as file:
            file.write(data)
    except FileExistsError:
        return False
    return True


def read_version(url: str) -> tuple[bytes, str]:
    """A remote object and the version that it is."""
    piece = _remote(url, lambda client: client.get(url, 0, None, ""))
    return piece.data, piece.version or etag(url)


def replace(url: str, data: bytes, version: str) -> str | None:
    """Puts a remote object over that version only, '' being none at all; its new version.

    None, and nothing changed, if another version stands there.
    """
    tries = 0

    def put(client: Client) -> str:
        nonlocal tries
        tries += 1
        return client.put(url, data, version)

    try:
        return _remote(url, put)
    except FileExistsError:
        if tries > 1:  # the reply to our own put may have been lost
            with contextlib.suppress(FileNotFoundError):
                found, now = read_version(url)
                return now if found == data else None
    except FileNotFoundError:
        pass  # gone since it was read
    return None


@contextlib.contextmanager
def create(url: str) -> Iterator[BinaryIO]:
    """A binary file that becomes the object at `url` when the block ends well; else nothing appears."""
    if not is_remote(url):
        with disk.written(url, new=False) as file:
            yield file
        return
    try:
        with tempfile.TemporaryFile(prefix="octshard-") as spool:  # nameless: a kill leaves nothing
            yield cast(BinaryIO, spool)
            _upload(url, cast(BinaryIO, spool), spool.seek(0, os.SEEK_END))
    except OSError as error:
        if error.errno in disk.FULL:
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
        return bool(_remote(url, lambda client: client.fs.info(url)))
    except FileNotFoundError:
        return False


def size(url: str) -> int:
    """Bytes of the object."""
    if is_remote(url):
        return _remote(url, lambda client: client.head(url).size)
    with disk.one_line_errors(url):
        return local_path(url).stat().st_size


def etag(url: str) -> str:
    """A short text that changes when the object does (remote: generation or etag; local: size, mtime)."""
    if is_remote(url):
        return _remote(url, lambda client: client.head(url).version)
    with disk.one_line_errors(url):
        stat = local_path(url).stat()
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def free_bytes(url: str) -> int | None:
    """Free space where a local target is or would be; None for a remote one, which has no end."""
    if is_remote(url):
        return None
    return disk.free_bytes(local_path(url))


def list_names(url: str) -> list[str]:
    """Sorted names of a folder's direct children, half-written files left out; [] where there is none."""
    if is_remote(url):
        try:
            found = _remote(url, lambda client: client.fs.ls(url, detail=False, refresh=True))
        except FileNotFoundError:
            return []
        paths = {str(name).strip("/") for name in found} - {url.split("://", 1)[1].strip("/")}
        return sorted({path.rsplit("/", 1)[-1] for path in paths})
    folder = local_path(url)
    if not folder.is_dir():
        return []
    with disk.one_line_errors(url):
        return sorted(name for name in os.listdir(folder) if not disk.is_leftover(name))


def copy(source: str, target: str) -> None:
    """Copies one object, streaming, atomically."""
    with open_read(source) as reading, create(target) as writing:
        shutil.copyfileobj(reading, writing, 2**22)


def remove(url: str) -> None:
    """Removes one object; none there is fine."""
    try:
        if is_remote(url):
            _remote(url, lambda client: client.fs.rm_file(url))
        else:
            with disk.one_line_errors(url):
                local_path(url).unlink()
    except FileNotFoundError:
        pass


def sweep(url: str) -> int:
    """Removes what killed writers left half-written in a local folder; call it under the folder's lock."""
    if is_remote(url) or not local_path(url).is_dir():
        return 0
    return disk.sweep(local_path(url))


def _read_remote(url: str, start: int, stop: int) -> Piece:
    if stop <= start:
        return Piece(b"", 0, "")
    try:
        return _remote(url, lambda client: client.get(url, start, stop, ""))
    except PastTheEnd:
        return Piece(b"", 0, "")


class _Ranges(io.RawIOBase):
    """One remote object as a raw file: every read is one range, of the version that was found at first."""

    def __init__(self, url: str) -> None:
        head = _remote(url, lambda client: client.head(url))
        self._url, self._size, self._version, self._at = url, head.size, head.version, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        at = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence] + offset
        if at < 0:
            raise OSError(errno.EINVAL, f"{self._url}: byte {at} is before the beginning")  # as a file does
        self._at = at
        return at

    def readinto(self, buffer: Any) -> int:
        into = memoryview(buffer).cast("B")
        data = self._read(min(self._at + len(into), self._size))
        into[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self._read(self._size)

    def _read(self, stop: int) -> bytes:
        start, url = self._at, self._url
        if stop <= start:
            return b""
        try:
            piece = _remote(url, lambda client: client.get(url, start, stop, self._version))
        except (FileNotFoundError, FileExistsError, PastTheEnd):
            piece = None
        if piece is None or piece.size != self._size:
            raise StoreError(f"{url}: the object changed while it was read; run again when it is at rest")
        self._at += len(piece.data)
        return piece.data


def _upload(url: str, file: BinaryIO, size: int) -> None:
    """Puts a file's bytes, in parts if they are many."""
    file.seek(0)
    try:
        if size > cloud.PART:
            cloud.client(url).upload(url, file, size, lambda act: _remote(url, lambda _: act()))
        else:
            data = file.read()
            _remote(url, lambda client: client.put(url, data, None))
    except FileNotFoundError as error:
        raise StoreError(_no_bucket(url)) from error


def _remote(url: str, act: Callable[[Client], Result]) -> Result:
    """`act(client)` with bounded, jittered retries of transient faults; the only retry in octshard."""
    try:
        return _tried(url, act)
    except FileNotFoundError as error:
        if not _bucket_stands(url):
            raise StoreError(_no_bucket(url)) from error
        raise


def _tried(url: str, act: Callable[[Client], Result]) -> Result:
    client = cloud.client(url)
    for attempt in range(ATTEMPTS):
        try:
            return act(client)
        except Exception as error:  # cloud libraries raise kinds of their own; `kind_of` sorts them
            if (kind := kind_of(error)) != "transient":
                raise _verdict(url, kind, error) from error
            if attempt == ATTEMPTS - 1:
                raise StoreError(f"{url}: gave up after {ATTEMPTS} attempts: {one_line(error)}") from error
        time.sleep(random.uniform(0, 0.5 * 2**attempt))
    raise AssertionError("unreachable")


def _verdict(url: str, kind: str, error: Exception) -> Exception:
    """What a caller is told of a failure that no other attempt would mend."""
    if kind == "absent":
        return FileNotFoundError(errno.ENOENT, "no such object", url)
    if kind == "taken":
        return FileExistsError(errno.EEXIST, "another version stands there", url)
    if kind == "past the end":
        return PastTheEnd(f"{url}: bytes asked for that lie behind its end")
    if kind == "refused":
        scheme, bucket = url.split("://", 1)[0].replace("gcs", "gs"), cloud.places(url)[0]
        who = f"{scheme}://{bucket} does not let {cloud.client(url).account()} do this"
        return StoreError(f"{url}: {who} ({one_line(error)}); {ADVICE.get(scheme, 'ask its owner')}")
    return StoreError(f"{url}: {type(error).__name__}: {one_line(error)}")


def _bucket_stands(url: str) -> bool:
    """False only if the store says that there is no such bucket; asked once for each that stands."""
    place = "/".join(url.split("/", 3)[:3])
    if place in _STANDING:
        return True
    try:
        _tried(url, lambda client: client.bucket(url))
    except FileNotFoundError:
        return False
    except StoreError:
        return True  # who may not list a bucket may still read what is in it
    _STANDING.add(place)
    return True


def _no_bucket(url: str) -> str:
    return f"{url}: no bucket {cloud.places(url)[0]}, want one that exists and that you may use"
