"""Bytes on a local disk: whole files or none, and one line when the disk says no.

The local half of `store`. A killed writer leaves at most a file whose name ends in LEFTOVER.
"""

import contextlib
import errno
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from octshard.storage.errors import StoreError

FULL = (errno.ENOSPC, errno.EDQUOT)
NOWHERE = (errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)  # no file can stand at such a path
PARTIAL_SUFFIX = ".partial"  # ends the name of a file that is being written
OURS = re.compile(r"\..+\.\d+\.[0-9a-f]+" + re.escape(PARTIAL_SUFFIX))  # as `atomic_write` names it


def local_path(url: str) -> Path:
    """The path of a local URL."""
    return Path(url.removeprefix("file://"))


@contextlib.contextmanager
def atomic_write(url: str, *, new: bool) -> Iterator[BinaryIO]:
    """A file that appears whole; FileExistsError if it must be `new` and one stands there."""
    target = local_path(url)
    partial = target.with_name(f".{target.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}{PARTIAL_SUFFIX}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        opened = open(partial, "wb")  # noqa: SIM115 (closed below, whatever the block does)
    except OSError as error:
        raise StoreError(_os_line(url, error)) from error
    try:
        with opened:
            yield opened
            with one_line_errors(url):
                opened.flush()
                os.fsync(opened.fileno())
        with one_line_errors(url):
            if new:
                os.link(partial, target)  # unlike a rename, it refuses
            else:
                os.replace(partial, target)
            _sync_folder(target.parent)
    except OSError as error:
        # the block's own errors are the caller's, but for a disk that filled up under it
        if error.errno in FULL:
            raise StoreError(_os_line(url, error)) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def free_bytes(path: Path) -> int:
    """Free space where a file or folder is or would be."""
    there = path.absolute()
    with one_line_errors(str(path)):
        return shutil.disk_usage(next(at for at in (there, *there.parents) if at.exists())).free


def file_size(url: str) -> int:
    """Bytes of a file; FileNotFoundError if none is there, or something else, such as a folder or a pipe."""
    with one_line_errors(url):
        found = local_path(url).stat()
        if not stat.S_ISREG(found.st_mode):
            raise FileNotFoundError(errno.ENOENT, "no file", url)
    return found.st_size


def is_partial(name: str) -> bool:
    """True of the name of a half-written file of ours."""
    return bool(OURS.fullmatch(name))


def remove_partials(folder: Path) -> int:
    """Removes what killed writers left half-written, and nothing of anybody else's."""
    leftovers = [path for path in folder.iterdir() if is_partial(path.name)]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


@contextlib.contextmanager
def one_line_errors(url: str) -> Iterator[None]:
    """Turns an OSError into one line; FileNotFoundError and FileExistsError pass: callers decide by them."""
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        if error.errno in NOWHERE:
            raise FileNotFoundError(errno.ENOENT, error.strerror, url) from error
        raise StoreError(_os_line(url, error)) from error


def _os_line(url: str, error: OSError) -> str:
    if error.errno in FULL:
        return f"{url}: the disk is full; free some space and run the same command again"
    at = f" ({error.filename})" if error.filename and str(error.filename) != url else ""
    return f"{url}: {error.strerror or error}{at}"


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
