"""Small folders that are whole or absent, as `store` has it of files.

Local: put together beside the target and renamed; an older one changes places with it in one call, where the
system has such a call. Remote, where folders have no name of their own: the file `last` is written last, and
a folder without it is none.
"""

import contextlib
import ctypes
import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from octshard.errors import UsageError
from octshard.storage import local, store

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux: fcntl.h, linux/fs.h


def check(url: str, known: frozenset[str], *, replace: bool) -> None:
    """UsageError unless `write` may put a folder there, StoreError if it could not. replace: one that holds
    names in `known` may go.
    """
    with local.store_errors(url):
        is_local = not store.is_remote(url)
        if is_local and (path := local.local_path(url)).exists() and not path.is_dir():
            raise UsageError(f"{url}: a file, want a folder that is not there yet")
        names = _all_names(url)
        if foreign := sorted(set(names) - known):
            raise UsageError(
                f"{url}: holds {foreign[0]!r}, which octshard did not write; want another folder"
            )
        if names and not replace:
            raise UsageError(
                f"{url}: is there already ({', '.join(names)}); want another folder, or --replace"
            )
        if is_local:
            target = local.local_path(url).resolve()
            local.check_writable(str(target.with_name(f".{target.name}")))


def write(url: str, files: Mapping[str, bytes], last: str, *, replace: bool) -> None:
    """Puts a folder of `files`, of which `last` is one, at `url`. replace: in place of the one that is there;
    else StoreError if one came in the meantime.
    """
    if store.is_remote(url):
        _write_remote(url, files, last)
        return
    target = local.local_path(url).absolute()
    with local.store_errors(url):
        target = target.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        with _staging(target) as staging:
            for name, data in files.items():
                with local.atomic_write(str(staging / name)) as file:
                    file.write(data)
            _move(staging, target, replace=replace)
        local.sync_folder(target.parent)


def _write_remote(url: str, files: Mapping[str, bytes], last: str) -> None:
    store.remove(store.join(url, last))
    for name in store.list_names(url):
        if name not in files:
            store.remove(store.join(url, name))
    for name in sorted(files, key=lambda name: name == last):
        store.write(store.join(url, name), files[name])


def _move(staging: Path, target: Path, *, replace: bool) -> None:
    """Puts the folder in the place of an empty one, of none, or of the old one, which goes.

    Where the two cannot change places, a kill between the renames leaves none.
    """
    if replace and target.is_dir() and _exchange(staging, target):
        return
    old = _partial(target)
    if replace and target.exists():
        os.rename(target, old)
    try:
        os.rename(staging, target)
    except OSError:
        if old.exists():
            os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Each has the other's name, at once; False where the system or the file system has no such call."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)  # glibc; macOS has none of that name
    if rename is None:
        return False
    names = os.fsencode(first), os.fsencode(second)
    return bool(rename(AT_FDCWD, names[0], AT_FDCWD, names[1], ctypes.c_uint(RENAME_EXCHANGE)) == 0)


@contextlib.contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """An empty folder beside `target`, locked against sweeps, and gone at the end."""
    staging = _partial(target)
    staging.mkdir()
    handle = os.open(staging, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # not every file system has locks; there nothing is swept
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield staging
    finally:
        os.close(handle)
        shutil.rmtree(staging, ignore_errors=True)


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}{local.PARTIAL_SUFFIX}")


def _sweep(target: Path) -> None:
    """Removes what killed writers of `target` left; what a living one writes is locked, and stays."""
    name = re.compile(re.escape(f".{target.name}.") + r"\d+\.[0-9a-f]{8}" + re.escape(local.PARTIAL_SUFFIX))
    for path in target.parent.iterdir():
        if not name.fullmatch(path.name) or not path.is_dir() or path.is_symlink():
            continue
        with contextlib.suppress(OSError):  # locked, gone, or not ours to remove
            handle = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(handle)


def _all_names(url: str) -> list[str]:
    """Of a local folder also hidden ones, which would go with it."""
    if store.is_remote(url):
        return store.list_names(url)
    path = local.local_path(url)
    with local.one_line_errors(url):
        return sorted(os.listdir(path)) if path.is_dir() else []
