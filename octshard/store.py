"""Bytes at URLs: local paths, file://, gs://, s3://, memory://. The only cloud import and the only retry.

A write is atomic: readers see the whole object or none; a killed writer leaves nothing that looks finished.
A missing object is FileNotFoundError; any other failure is a StoreError of one line.
"""

import contextlib
import errno
import logging
import os
import random
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from octshard.errors import OctshardError

Result = TypeVar("Result")

ATTEMPTS = 6  # a transient fault is tried so often: with full jitter up to 0.5, 1, 2, 4, 8 s between
FULL = (errno.ENOSPC, errno.EDQUOT)
LEFTOVER = ".partial"  # ends the name of a local file that is being written


class StoreError(OctshardError):
    """A store did not do what was asked, after bounded retries."""


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
        return _remote(url, lambda fs: cast(bytes, fs.cat_file(url)))
    with _local_errors(url):
        return local_path(url).read_bytes()


def read_range(url: str, start: int, stop: int) -> bytes:
    """Bytes [start, stop), exactly so many, else StoreError."""
    if is_remote(url):
        data = _remote(url, lambda fs: cast(bytes, fs.cat_file(url, start=start, end=stop)))
    else:
        with _local_errors(url), open(local_path(url), "rb") as file:
            file.seek(start)
            data = file.read(stop - start)
    if len(data) != stop - start:
        raise StoreError(f"{url}: bytes {start} to {stop} asked for, {len(data)} came: the object is shorter")
    return data


def open_read(url: str) -> BinaryIO:
    """A seekable binary file; a remote one is read by ranges of 8 MiB, so a big object is never held."""
    if is_remote(url):
        return cast(
            BinaryIO, _remote(url, lambda fs: fs.open(url, "rb", block_size=2**23, cache_type="readahead"))
        )
    with _local_errors(url):
        return open(local_path(url), "rb")


def write(url: str, data: bytes) -> None:
    """Puts an object, atomically, over whatever was there."""
    if is_remote(url):
        _remote_put(url, lambda fs: fs.pipe_file(url, data))
        return
    with create(url) as file:
        file.write(data)


def write_new(url: str, data: bytes) -> bool:
    """Puts a remote object only if none stands there; False, and nothing changed, if one does.

    Emulators may ignore the condition, and a lost reply may deny our own object: read it back to be sure.
    """
    try:
        _remote_put(url, lambda fs: fs.pipe_file(url, data, mode="create"))
    except FileExistsError:
        return False
    return True


@contextlib.contextmanager
def create(url: str) -> Iterator[BinaryIO]:
    """A binary file that becomes the object at `url` when the block ends well; else nothing appears."""
    if is_remote(url):
        with tempfile.NamedTemporaryFile(prefix="octshard-") as file:
            yield cast(BinaryIO, file)
            file.flush()
            _remote_put(url, lambda fs: fs.put_file(file.name, url))
        return
    target = local_path(url)
    partial = target.with_name(f".{target.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}{LEFTOVER}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        opened = open(partial, "wb")  # noqa: SIM115 (closed below, whatever the block does)
    except OSError as error:
        raise StoreError(_os_line(url, error)) from error
    try:
        with opened:
            yield opened
            with _local_errors(url):
                opened.flush()
                os.fsync(opened.fileno())
        with _local_errors(url):
            os.replace(partial, target)
            _sync_folder(target.parent)
    except OSError as error:
        # the block's own errors are the caller's, but for a disk that filled up under it
        if error.errno in FULL:
            raise StoreError(_os_line(url, error)) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def exists(url: str) -> bool:
    """True if an object (or local folder) stands there."""
    if is_remote(url):
        return bool(_remote(url, lambda fs: fs.exists(url)))
    return local_path(url).exists()


def size(url: str) -> int:
    """Bytes of the object."""
    if is_remote(url):
        return int(_remote(url, lambda fs: fs.info(url))["size"])
    with _local_errors(url):
        return local_path(url).stat().st_size


def etag(url: str) -> str:
    """A short text that changes when the object does (remote: etag or generation; local: size, mtime)."""
    if is_remote(url):
        info = _remote(url, lambda fs: fs.info(url))
        known = (info.get(name) for name in ("ETag", "etag", "generation", "md5Hash", "created"))
        return next((str(value) for value in known if value), str(info["size"]))
    with _local_errors(url):
        stat = local_path(url).stat()
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def list_names(url: str) -> list[str]:
    """Sorted names of a folder's direct children, half-written files left out; [] where there is none."""
    if is_remote(url):
        try:
            found = _remote(url, lambda fs: fs.ls(url, detail=False, refresh=True))
        except FileNotFoundError:
            return []
        names = {
            str(name).rstrip("/").rsplit("/", 1)[-1] for name in found if str(name).rstrip("/") != _bare(url)
        }
        return sorted(names)
    folder = local_path(url)
    if not folder.is_dir():
        return []
    with _local_errors(url):
        return sorted(name for name in os.listdir(folder) if not name.endswith(LEFTOVER))


def copy(source: str, target: str) -> None:
    """Copies one object, streaming, atomically."""
    with open_read(source) as reading, create(target) as writing:
        shutil.copyfileobj(reading, writing, 2**22)


def remove(url: str) -> None:
    """Removes one object; none there is fine."""
    try:
        if is_remote(url):
            _remote(url, lambda fs: fs.rm_file(url))
        else:
            with _local_errors(url):
                local_path(url).unlink()
    except FileNotFoundError:
        pass


def sweep(url: str) -> int:
    """Removes what killed writers left half-written in a local folder; call it under the folder's lock."""
    if is_remote(url) or not local_path(url).is_dir():
        return 0
    leftovers = [path for path in local_path(url).iterdir() if path.name.endswith(LEFTOVER)]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


@contextlib.contextmanager
def _local_errors(url: str) -> Iterator[None]:
    """Turns an OSError into one line; FileNotFoundError passes, because callers decide by it."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(_os_line(url, error)) from error


def _os_line(url: str, error: OSError) -> str:
    if error.errno in FULL:
        return f"{url}: the disk is full; free some space and run the same command again"
    at = f" ({error.filename})" if error.filename and str(error.filename) != url else ""
    return f"{url}: {error.strerror or error}{at}"


def _remote_put(url: str, act: Callable[[Any], Any]) -> None:
    """A write; there a missing object can only mean a missing bucket."""
    try:
        _remote(url, act)
    except FileNotFoundError as error:
        raise StoreError(f"{url}: no such bucket, want one that exists and that you may write to") from error


def _remote(url: str, act: Callable[[Any], Result]) -> Result:
    """`act(filesystem)` with bounded, jittered retries of transient faults; the only retry in octshard."""
    fs = _filesystem(url.split("://", 1)[0])
    for attempt in range(ATTEMPTS):
        try:
            return act(fs)
        except (FileNotFoundError, FileExistsError):
            raise
        except Exception as error:  # cloud clients raise kinds of their own; `_is_transient` sorts them
            if not _is_transient(error):
                raise StoreError(f"{url}: {type(error).__name__}: {_one_line(error)}") from error
            if attempt == ATTEMPTS - 1:
                raise StoreError(f"{url}: gave up after {ATTEMPTS} attempts: {_one_line(error)}") from error
        time.sleep(random.uniform(0, 0.5 * 2**attempt))
    raise AssertionError("unreachable")


def _is_transient(error: Exception) -> bool:
    """Worth another attempt: 408, 429, 5xx, resets, timeouts; not a refusal (401, 403) or a wrong request."""
    status = _status(error)
    if status is not None:
        return status in (408, 429) or status >= 500
    name = type(error).__name__
    return isinstance(error, ConnectionError | TimeoutError) or any(
        word in name
        for word in ("Timeout", "Connect", "ClientOS", "Disconnected", "ClientPayload", "IncompleteRead")
    )


def _status(error: Exception) -> int | None:
    """The HTTP status of a cloud client's exception: gcsfs `code`, aiohttp `status`, botocore `response`."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    found = getattr(error, "code", None) or getattr(error, "status", None)
    return int(str(found)) if str(found).isdigit() else None


@cache
def _filesystem(scheme: str) -> Any:
    import fsspec

    options: dict[str, Any] = {"use_listings_cache": False} if scheme != "memory" else {}
    if scheme in ("gs", "gcs") and os.environ.get("STORAGE_EMULATOR_HOST"):
        # gcsfs >= 2026 asks a bucket for its storage layout, which stalls 60 s on an emulator
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        options["token"] = "anon"
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs a traceback for what we say in one line
    try:
        return fsspec.filesystem(scheme, **options)
    except ImportError as error:
        extra = {"gs": "gcs", "gcs": "gcs", "s3": "s3"}.get(scheme)
        advice = f'; pip install "octshard[{extra}]"' if extra else ""
        raise StoreError(f"{scheme}://: {_one_line(error)}{advice}") from error
    except ValueError as error:
        raise StoreError(
            f"{scheme}://: {_one_line(error)}, want a local path, gs://, s3:// or memory://"
        ) from error


def local_path(url: str) -> Path:
    """The path of a local URL."""
    return Path(url.removeprefix("file://"))


def _bare(url: str) -> str:
    return url.split("://", 1)[1].rstrip("/")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
