"""Bytes on a local disk: whole files or none, and errors of one line.

The local half of `store`. A killed writer leaves at most a file whose name ends in PARTIAL_SUFFIX.
"""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from octshard.storage.errors import NotAFile, StoreError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, a quota, or the limit on the size of a file
NO_FILE = (errno.EISDIR, errno.ENXIO)  # a folder; a pipe, a device or a socket
IMPOSSIBLE_PATH = (errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)  # no file can have such a path
PARTIAL_SUFFIX = ".partial"  # ends the name of a file that is being written
PARTIAL_NAME = re.compile(r"\..+\.\d+\.[0-9a-f]+" + re.escape(PARTIAL_SUFFIX))  # as `atomic_write` names it


def local_path(url: str) -> Path:
    """The path of a local URL."""
    return Path(url.removeprefix("file://"))


@contextlib.contextmanager
def atomic_write(url: str) -> Iterator[BinaryIO]:
    """A binary file that replaces the one at `url` when the block ends without error."""
    target = local_path(url)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file, partial = _create_partial(target)
    except OSError as error:
        raise StoreError(_os_line(url, error)) from error
    try:
        with file:
            yield file
            with one_line_errors(url):
                file.flush()
                os.fsync(file.fileno())
        with one_line_errors(url):
            os.replace(partial, target)
            sync_folder(target.parent)
    except OSError as error:
        # errors of the block pass unchanged, except a full disk
        if error.errno in FULL:
            raise StoreError(_os_line(url, error)) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def check_writable(url: str) -> None:
    """StoreError if `atomic_write` could not make or replace the file; leaves nothing but its folder."""
    target = local_path(url)
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), url)
        target.parent.mkdir(parents=True, exist_ok=True)
        file, partial = _create_partial(target)
        file.close()
        partial.unlink()
    except OSError as error:
        raise StoreError(_os_line(url, error)) from error


def free_bytes(path: Path) -> int:
    """Free bytes on the disk of a file or folder that exists or will be made."""
    full_path = path.absolute()
    with one_line_errors(str(path)):
        return shutil.disk_usage(
            next(folder for folder in (full_path, *full_path.parents) if folder.exists())
        ).free


def open_read(path: str | Path) -> BinaryIO:
    """A file, open to read; OSError for a folder, a pipe or a device, whose bytes might never come or end."""
    return open(path, "rb", opener=_open_file)


def open_handle(path: str | Path) -> int:
    """As `open_read`, the bare descriptor."""
    return _open_file(str(path), os.O_RDONLY | os.O_CLOEXEC)


def _open_file(path: str, flags: int) -> int:
    handle = os.open(path, flags | os.O_NONBLOCK)  # else the opening of a pipe waits for its writer
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return handle
    os.close(handle)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise OSError(errno.ENXIO, "a pipe or a device, want a file", path)


def file_size(url: str) -> int:
    """Bytes of a file; FileNotFoundError if there is none, or if it is a folder, a pipe or the like."""
    with one_line_errors(url):
        status = local_path(url).stat()
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(errno.ENOENT, "no file", url)
    return status.st_size


def is_partial(name: str) -> bool:
    """True for the name of a half-written file of `atomic_write`."""
    return bool(PARTIAL_NAME.fullmatch(name))


def remove_partials(folder: Path) -> int:
    """Removes half-written files that killed writers left, and no other file; returns how many.

    One that a living process writes is locked and stays, so a sweep needs no lock of its own.
    """
    try:
        names = [name for name in os.listdir(folder) if is_partial(name)]
    except OSError:  # what cannot be listed is not swept; whoever writes there will say why
        return 0
    return sum(_remove_unlocked(folder / name) for name in names)


def _remove_unlocked(path: Path) -> bool:
    try:
        with open(path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except OSError:  # locked, gone, or not ours to remove
        return False
    return True


def _create_partial(target: Path) -> tuple[BinaryIO, Path]:
    """A new file beside `target`, locked as long as it is open."""
    while True:
        partial = target.with_name(f".{target.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}{PARTIAL_SUFFIX}")
        file = open(partial, "wb")  # noqa: SIM115 (closed by the caller)
        with contextlib.suppress(OSError):  # not every file system has locks; there nothing is swept
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file, partial
        file.close()  # swept before it was locked


@contextlib.contextmanager
def one_line_errors(url: str) -> Iterator[None]:
    """Turns an OSError into a StoreError of one line; FileNotFoundError passes unchanged."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in IMPOSSIBLE_PATH:
            raise FileNotFoundError(errno.ENOENT, error.strerror, url) from error
        if error.errno in NO_FILE:
            raise NotAFile(_os_line(url, error)) from error
        raise StoreError(_os_line(url, error)) from error


@contextlib.contextmanager
def store_errors(url: str) -> Iterator[None]:
    """Turns any OSError into a StoreError of one line: for writers, to whom no file is missing."""
    try:
        yield
    except OSError as error:
        raise StoreError(_os_line(url, error)) from error


def _os_line(url: str, error: OSError) -> str:
    if error.errno == errno.EFBIG:
        return f"{url}: larger than a file may be here; raise the limit (ulimit -f) and run the command again"
    if error.errno in FULL:
        return f"{url}: the disk is full; free some space and run the same command again"
    at = f" ({error.filename})" if error.filename and str(error.filename) != url else ""
    return f"{url}: {error.strerror or error}{at}"


def sync_folder(folder: Path) -> None:
    """Returns when the names in `folder` are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
