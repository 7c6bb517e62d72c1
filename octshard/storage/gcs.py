"""Google Cloud Storage through gcsfs; the only gcsfs import."""

import io
import uuid
from functools import partial
from types import MethodType
from typing import Any, BinaryIO
from urllib.parse import quote

from octshard.storage import client
from octshard.storage.client import (
    BYTES,
    Blob,
    Client,
    Retry,
    best_effort,
    check_size,
    object_size,
    range_header,
    split_url,
)
from octshard.storage.errors import IncompleteRead


class Gcs(Client):
    """Google Cloud Storage by its JSON API; a version is a generation."""

    def __init__(self, fs: Any) -> None:
        self.fs = fs

    def head(self, url: str) -> Blob:
        bucket, key = split_url(url)
        metadata = self.fs.call("GET", "b/{}/o/{}", bucket, key, json_out=True)
        return Blob(b"", int(metadata["size"]), str(metadata["generation"]))

    def get(self, url: str, start: int, stop: int | None, version: str) -> Blob:
        link = self.fs.url("/".join(split_url(url)), generation=version or None)
        headers, data = self.fs.call("GET", link, headers=range_header(start, stop))
        size = object_size(headers.get("Content-Range"), len(data))
        return check_size(Blob(data, size, headers.get("X-Goog-Generation", "")), start, stop)

    def put(self, url: str, data: bytes, if_version: str | None) -> str:
        bucket, key = split_url(url)
        boundary = f"octshard-{uuid.uuid4().hex}"
        preamble = (
            f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n"
            f"--{boundary}\r\nContent-Type: {BYTES}\r\n\r\n"
        )
        body = b"".join([preamble.encode(), data, f"\r\n--{boundary}--".encode()])
        metadata = self.fs.call(
            "POST",
            self._uploads(bucket),
            uploadType="multipart",
            name=key,
            ifGenerationMatch=None if if_version is None else if_version or "0",
            headers={"Content-Type": f"multipart/related; boundary={boundary}"},
            data=io.BytesIO(body),
            json_out=True,
        )
        if int(metadata["size"]) != len(data):
            raise IncompleteRead(f"{len(data)} bytes were sent, {metadata['size']} stand there")
        return str(metadata["generation"])

    def upload(self, url: str, file: BinaryIO, size: int, retry: Retry) -> None:
        bucket, key = split_url(url)
        session = str(retry(lambda: self._start_upload(bucket, key, size)))
        start = 0
        try:
            while start < size:
                file.seek(start)
                data = file.read(client.PART)
                start = retry(partial(self._put_part, session, data, start, size))
        except BaseException:
            best_effort(lambda: self.fs.call("DELETE", session))  # it would expire in a week
            raise

    def _start_upload(self, bucket: str, key: str, size: int) -> str:
        headers, _ = self.fs.call(
            "POST",
            self._uploads(bucket),
            uploadType="resumable",
            name=key,
            headers={"X-Upload-Content-Type": BYTES, "X-Upload-Content-Length": str(size)},
            json={"name": key},
        )
        return str(headers["Location"])

    def _put_part(self, session: str, data: bytes, start: int, size: int) -> int:
        """Sends one part and returns how many bytes are stored now; repeated bytes do no harm."""
        span = f"bytes {start}-{start + len(data) - 1}/{size}"
        headers, reply = self.fs.call("PUT", session, headers={"Content-Range": span}, data=io.BytesIO(data))
        if reply:  # only the last part is answered with the finished object
            return size
        stored = int(headers.get("Range", "0--1").split("-", 1)[1]) + 1
        if stored <= start:
            raise IncompleteRead(f"bytes from {start} on were sent, {stored} stand there")
        return stored

    def _uploads(self, bucket: str) -> str:
        root = str(self.fs.base).removesuffix("/storage/v1/")
        return f"{root}/upload/storage/v1/b/{quote(bucket, safe='')}/o"

    def bucket(self, url: str) -> None:
        self.fs.call("GET", "b/{}/o", split_url(url)[0], maxResults=1, json_out=True)

    def account(self) -> str:
        credentials = self.fs.credentials.credentials
        if credentials is None:
            return "anonymous (no credentials found)"
        names = (
            getattr(credentials, name, None) for name in ("service_account_email", "signer_email", "account")
        )
        return next((str(name) for name in names if name), "the owner of the credentials found")


def gcs_filesystem(endpoint: str) -> Any:
    """The gcsfs filesystem, with timeouts and without retries; `endpoint`: an emulator's URL, or empty."""
    import aiohttp
    from gcsfs.core import GCSFileSystem  # the other class asks each bucket for its layout, by gRPC

    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if endpoint:
        options |= {"token": "anon", "endpoint_url": endpoint}
    # by default gcsfs waits for a stalled reply for ever
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=client.CONNECT_S, sock_read=client.STALL_S)
    filesystem = GCSFileSystem(requests_timeout=timeout, **options)
    # gcsfs retries six times by itself: within our six attempts that would make 36
    if unretried := getattr(type(filesystem)._request, "__wrapped__", None):
        filesystem._request = MethodType(unretried, filesystem)
    return filesystem
