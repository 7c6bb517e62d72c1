"""Google Cloud Storage through gcsfs; the only gcsfs import."""

import base64
import io
import json
import uuid
from collections.abc import Mapping
from functools import partial
from types import MethodType
from typing import Any, BinaryIO
from urllib.parse import quote

from octshard.storage import checksum, client
from octshard.storage.client import (
    BYTES,
    Blob,
    Client,
    Retry,
    best_effort,
    call,
    check,
    object_size,
    range_header,
    split_url,
)
from octshard.storage.errors import IncompleteRead

UPLOAD_GOES_ON = 308  # the status of a part that is not the last


class UnexpectedStatus(OSError):
    """A reply with a status that answers nothing."""

    def __init__(self, code: int) -> None:
        super().__init__(f"status {code}")
        self.code = code


class Gcs(Client):
    """Google Cloud Storage by its JSON API; a version is a generation."""

    def __init__(self, fs: Any) -> None:
        self.fs = fs

    def head(self, url: str) -> Blob:
        bucket, key = split_url(url)
        metadata = call(self.fs, "call", "GET", "b/{}/o/{}", bucket, key, json_out=True)
        crc32c = "" if metadata.get("contentEncoding") else metadata.get("crc32c", "")
        told = f"crc32c:{crc32c}" if crc32c else ""
        return Blob(b"", _size(metadata), _generation(metadata), told)

    def get(self, url: str, start: int, stop: int | None, version: str) -> Blob:
        link = self.fs.url("/".join(split_url(url)), generation=version or None)
        headers, data = call(self.fs, "call", "GET", link, headers=range_header(start, stop))
        size = object_size(headers.get("Content-Range"), len(data))
        blob = Blob(data, size, headers.get("X-Goog-Generation", ""), _told_checksum(headers))
        return check(blob, start, stop)

    def put(self, url: str, data: bytes, if_version: str | None) -> str:
        bucket, key = split_url(url)
        boundary = f"octshard-{uuid.uuid4().hex}"
        resource = json.dumps({"crc32c": _base64(checksum.crc32c(data))})  # other bytes are refused
        preamble = (
            f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{resource}\r\n"
            f"--{boundary}\r\nContent-Type: {BYTES}\r\n\r\n"
        )
        body = b"".join([preamble.encode(), data, f"\r\n--{boundary}--".encode()])
        metadata = call(
            self.fs,
            "call",
            "POST",
            self._uploads(bucket),
            uploadType="multipart",
            name=key,
            ifGenerationMatch=None if if_version is None else if_version or "0",
            headers={"Content-Type": f"multipart/related; boundary={boundary}"},
            data=io.BytesIO(body),
            json_out=True,
        )
        if _size(metadata) != len(data):
            raise IncompleteRead(f"{len(data)} bytes were sent, {_size(metadata)} stand there")
        return _generation(metadata)

    def upload(self, url: str, file: BinaryIO, size: int, retry: Retry) -> None:
        bucket, key = split_url(url)
        crc32c = _base64(_crc32c_of(file))
        session = str(retry(lambda: self._start_upload(bucket, key, size, crc32c)))
        start = 0
        try:
            while start < size:
                file.seek(start)
                data = file.read(client.PART)
                start = retry(partial(self._put_part, session, data, start, size))
        except BaseException:
            best_effort(lambda: call(self.fs, "call", "DELETE", session))  # it would expire in a week
            raise

    def _start_upload(self, bucket: str, key: str, size: int, crc32c: str) -> str:
        headers, _ = call(
            self.fs,
            "call",
            "POST",
            self._uploads(bucket),
            uploadType="resumable",
            name=key,
            headers={"X-Upload-Content-Type": BYTES, "X-Upload-Content-Length": str(size)},
            json={"name": key, "crc32c": crc32c},
        )
        return str(headers["Location"])

    def _put_part(self, session: str, data: bytes, start: int, size: int) -> int:
        """Sends one part and returns how many bytes are stored now; repeated bytes do no harm."""
        span = f"bytes {start}-{start + len(data) - 1}/{size}"
        part = {"headers": {"Content-Range": span}, "data": io.BytesIO(data)}
        headers, reply = call(self.fs, "call", "PUT", session, **part)
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
        call(self.fs, "call", "GET", "b/{}/o", split_url(url)[0], maxResults=1, json_out=True)

    def account(self) -> str:
        credentials = self.fs.credentials.credentials
        if credentials is None:
            return "anonymous (no credentials found)"
        names = (
            getattr(credentials, name, None) for name in ("service_account_email", "signer_email", "account")
        )
        return next((str(name) for name in names if name), "the owner of the credentials found")


def _size(metadata: Mapping[str, Any]) -> int:
    """Bytes of an object; JSON made of protocol buffers leaves out a size of 0."""
    return int(metadata.get("size", 0))


def _generation(metadata: Mapping[str, Any]) -> str:
    if "generation" not in metadata:
        raise IncompleteRead("a reply without the object's generation")
    return str(metadata["generation"])


def _told_checksum(headers: Any) -> str:
    """The CRC-32C of the whole object in the headers of a read; empty if its bytes come encoded."""
    if headers.get("Content-Encoding", "identity") != "identity":
        return ""
    hashes = ",".join(headers.getall("X-Goog-Hash", [])).split(",")
    values = dict(text.strip().partition("=")[::2] for text in hashes)
    return f"crc32c:{values['crc32c']}" if values.get("crc32c") else ""


def _crc32c_of(file: BinaryIO) -> int:
    file.seek(0)
    crc32c = 0
    while data := file.read(2**22):
        crc32c = checksum.crc32c(data, crc32c)
    return crc32c


def _base64(crc32c: int) -> str:
    return base64.b64encode(crc32c.to_bytes(4, "big")).decode()


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
    unretried = getattr(type(filesystem)._request, "__wrapped__", type(filesystem)._request)

    async def request(self: Any, *args: Any, **arguments: Any) -> Any:
        reply = await unretried(self, *args, **arguments)
        if 300 <= reply[0] < 400 and reply[0] != UPLOAD_GOES_ON:
            # gcsfs takes what stands in a redirection that leads nowhere for the object
            raise UnexpectedStatus(reply[0])
        return reply

    filesystem._request = MethodType(request, filesystem)
    return filesystem
