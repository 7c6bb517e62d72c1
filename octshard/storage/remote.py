"""Requests to remote stores: the only retry, and the error that a failed request becomes."""

import errno
import io
import logging
import math
import os
import random
from collections.abc import Callable
from functools import cache
from typing import Any, BinaryIO, TypeVar

from octshard.errors import UsageError
from octshard.extras import install_advice
from octshard.storage import client as clients
from octshard.storage import lease, transport
from octshard.storage.checksum import WholeChecksum
from octshard.storage.client import Blob, Client, split_url
from octshard.storage.errors import OutOfRange, StoreError, Unimplemented, classify, one_line
from octshard.storage.gcs import Gcs, gcs_filesystem
from octshard.storage.memory import FsspecClient
from octshard.storage.s3 import S3, s3_filesystem

Result = TypeVar("Result")
_known_buckets: set[str] = set()  # buckets known to exist
ATTEMPTS = 6  # at a request with transient faults; waits with full jitter up to 0.5, 1, 2, 4, 8 s between
DEADLINE_S = 120.0  # for a request with all its attempts and waits, unless the environment says otherwise
DEADLINE_NAME = "OCTSHARD_STORE_DEADLINE_S"
ADVICE = {
    "gs": "run `gcloud auth application-default login`, set GOOGLE_APPLICATION_CREDENTIALS, or ask its owner",
    "s3": "set AWS_PROFILE or AWS_ACCESS_KEY_ID, or ask its owner",
}


def read(url: str) -> Blob:
    """A whole object, of one version, in requests of at most PART bytes; compared with its checksum."""
    blob = _read_parts(url)
    if len(blob.data) > clients.PART and _difference(blob):  # less has been compared by the client
        blob = _read_parts(url)
        if difference := _difference(blob):
            raise _altered(url, difference)
    return blob


def _difference(blob: Blob) -> str:
    whole = WholeChecksum(blob.checksum)
    whole.update(blob.data)
    return whole.difference()


def _read_parts(url: str) -> Blob:
    try:
        first = request(url, lambda client: client.get(url, 0, clients.PART, ""))
    except OutOfRange:  # of an empty object
        return request(url, lambda client: client.get(url, 0, None, ""))
    parts, at = [first.data], len(first.data)
    while at < first.size:
        parts.append(_same_version(url, first, at, min(at + clients.PART, first.size)).data)
        at += len(parts[-1])
    return first._replace(data=b"".join(parts))


def _same_version(url: str, first: Blob, start: int, stop: int) -> Blob:
    """Bytes [start, stop) of an object of which `first` was read; StoreError if it is another one now."""
    try:
        blob = request(url, lambda client: client.get(url, start, stop, first.version))
    except (FileNotFoundError, FileExistsError, OutOfRange):
        blob = None
    if blob is None or blob.size != first.size:
        raise StoreError(f"{url}: the object changed while it was read; run again when it is at rest")
    return blob


def _altered(url: str, difference: str) -> StoreError:
    return StoreError(f"{url}: {difference}: altered on the way, or in the store; run again, or put it again")


def read_range(url: str, start: int, stop: int) -> Blob:
    """Bytes [start, stop), fewer where the object ends; none for an empty range."""
    if stop <= start:
        return Blob(b"", 0, "")
    try:
        return request(url, lambda client: client.get(url, start, stop, ""))
    except OutOfRange:
        return Blob(b"", 0, "")


class RemoteFile(io.RawIOBase):
    """One remote object as a raw file: every read is one ranged request for the version at opening.

    An object that is read from its beginning to its end is compared with its checksum at the end.
    """

    def __init__(self, url: str) -> None:
        self._head = request(url, lambda client: client.head(url))
        self._url, self._size, self._at = url, self._head.size, 0
        self._whole, self._compared = WholeChecksum(self._head.checksum), 0  # so many bytes, from the first

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        at = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence] + offset
        if at < 0:
            raise OSError(
                errno.EINVAL, f"{self._url}: byte {at} is before the beginning"
            )  # as for a local file
        self._at = at
        return at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self._read(min(self._at + len(view), self._size))
        view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        pieces = []
        while self._at < self._size:
            pieces.append(self._read(min(self._at + clients.PART, self._size)))
        return b"".join(pieces)

    def _read(self, stop: int) -> bytes:
        start = self._at
        if stop <= start:
            return b""
        data = _same_version(self._url, self._head, start, stop).data
        self._at += len(data)
        if start == self._compared:
            self._whole.update(data)
            self._compared = self._at
            if self._compared == self._size and (difference := self._whole.difference()):
                raise _altered(self._url, difference)
        return data


def upload(url: str, file: BinaryIO, size: int) -> None:
    """Puts a file's `size` bytes, in parts if there are more than PART."""
    file.seek(0)
    try:
        if size > clients.PART:
            client_for(url).upload(url, file, size, lambda operation: change(url, lambda _: operation()))
        else:
            data = file.read()
            change(url, lambda client: client.put(url, data, None))
    except FileNotFoundError as error:
        raise StoreError(_no_bucket_line(url)) from error


def request(url: str, operation: Callable[[Client], Result]) -> Result:
    """`operation(client)` with bounded, jittered retries of transient faults; the only retry in octshard.

    It ends by the deadline of all requests, and by `transport.until`.
    """
    return _naming_bucket(url, operation, changes=False)


def change(url: str, operation: Callable[[Client], Result]) -> Result:
    """A `request` that changes what is stored: only while this run holds the lease of the folder, if any."""
    return _naming_bucket(url, operation, changes=True)


def deadline_s() -> float:
    """Seconds for a request with all its attempts; UsageError if the environment gives no such number."""
    text = os.environ.get(DEADLINE_NAME, "")
    try:
        seconds = float(text) if text else DEADLINE_S
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UsageError(f"{DEADLINE_NAME}={text}: want a number of seconds above 0")
    return seconds


def _naming_bucket(url: str, operation: Callable[[Client], Result], *, changes: bool) -> Result:
    try:
        return _with_retries(url, operation, changes=changes)
    except FileNotFoundError as error:
        if not _bucket_exists(url):
            raise StoreError(_no_bucket_line(url)) from error
        raise


def _with_retries(url: str, operation: Callable[[Client], Result], *, changes: bool = False) -> Result:
    client, begin = client_for(url), transport.clock()
    end = min(begin + deadline_s(), transport.limit())
    for attempt in range(1, ATTEMPTS + 1):
        held = lease.seconds_left(url) if changes else math.inf  # an error once the lease is lost
        try:
            with transport.until(min(end, transport.clock() + held)):
                return operation(client)
        except transport.Cancelled:
            raise
        except Exception as error:  # each cloud library raises classes of its own; `classify` sorts them
            if (kind := classify(error)) != "transient":
                raise _permanent_error(url, kind, error) from error
            if attempt == ATTEMPTS:
                raise StoreError(f"{url}: gave up after {ATTEMPTS} attempts: {one_line(error)}") from error
            pause = random.uniform(0, 0.5 * 2 ** (attempt - 1))
            if transport.clock() + pause >= end:
                text = f"{url}: gave up after {end - begin:.3g} s and {attempt} attempts: {one_line(error)}"
                raise StoreError(f"{text}; {DEADLINE_NAME} sets the time") from error
        transport.scope().sleep(pause)
    raise AssertionError("unreachable")


def _permanent_error(url: str, kind: str, error: Exception) -> Exception:
    """The exception for a failure that a retry does not mend."""
    if kind == "not_found":
        return FileNotFoundError(errno.ENOENT, "no such object", url)
    if kind == "failed_precondition":
        return FileExistsError(errno.EEXIST, "another version stands there", url)
    if kind == "out_of_range":
        return OutOfRange(f"{url}: bytes asked for that lie behind its end")
    if kind == "unimplemented":
        return Unimplemented(f"{url}: this store does not do that ({one_line(error)})")
    if kind == "permission_denied":
        scheme, bucket = url.split("://", 1)[0].replace("gcs", "gs"), split_url(url)[0]
        refusal = f"{scheme}://{bucket} does not let {client_for(url).account()} do this"
        return StoreError(f"{url}: {refusal} ({one_line(error)}); {ADVICE.get(scheme, 'ask its owner')}")
    return StoreError(f"{url}: {type(error).__name__}: {one_line(error)}")


def _bucket_exists(url: str) -> bool:
    """False only if the store says that there is no such bucket; one request for each that exists."""
    root = "/".join(url.split("/", 3)[:3])
    if root in _known_buckets:
        return True
    try:
        _with_retries(url, lambda client: client.bucket(url))
    except FileNotFoundError:
        return False
    except StoreError:
        return True  # an account that may not list a bucket may still read its objects
    _known_buckets.add(root)
    return True


def _no_bucket_line(url: str) -> str:
    return f"{url}: no bucket {split_url(url)[0]}, want one that exists and that you may use"


def client_for(url: str) -> Client:
    """The client for a URL, one per scheme, endpoint and process; StoreError for an unknown scheme."""
    scheme = url.split("://", 1)[0].replace("gcs", "gs")
    variables = {"gs": ["STORAGE_EMULATOR_HOST"], "s3": ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]}
    endpoints = (os.environ.get(name) for name in variables.get(scheme, []))
    return _open_client(scheme, next((name for name in endpoints if name), ""), os.getpid())


@cache
def _open_client(scheme: str, endpoint: str, process: int) -> Client:
    """process: clients do not survive a fork, so that a forked worker opens its own."""
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # it would import gRPC without need
    # it logs a traceback for errors that we put in one line
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    try:
        import fsspec

        if scheme == "gs":
            return Gcs(gcs_filesystem(endpoint))
        return S3(s3_filesystem(endpoint)) if scheme == "s3" else FsspecClient(fsspec.filesystem(scheme))
    except ImportError as error:
        extra = {"gs": "gcs", "s3": "s3"}.get(scheme)
        advice = f"; {install_advice(extra)}" if extra else ""
        raise StoreError(f"{scheme}://: {one_line(error)}{advice}") from error
    except ValueError as error:
        schemes = "want a local path, gs://, s3:// or memory://"
        raise StoreError(f"{scheme}://: {one_line(error)}, {schemes}") from error
