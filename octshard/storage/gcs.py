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
    Again,
    Blob,
    Client,
    check_size,
    object_size,
    range_header,
    split_url,
    try_to,
)
from octshard.storage.errors import IncompleteRead


class Gcs(Client):
    """Google Cloud Storage by its JSON API; a version is a generation."""

    def __init__(self, fs: Any) -> None:
        self.fs = fs

    def head(self, url: str) -> Blob:
        bucket, key = split_url(url)
        found = self.fs.call("GET", "b/{}/o/{}", bucket, key, json_out=True)
        return Blob(b"", int(found["size"]), str(found["generation"]))

    def get(self, url: str, start: int, stop: int | None, version: str) -> Blob:
        link = self.fs.url("/".join(split_url(url)), generation=version or None)
        headers, data = self.fs.call("GET", link, headers=range_header(start, stop))
        size = object_size(headers.get("Content-Range"), len(data))
        return check_size(Blob(data, size, headers.get("X-Goog-Generation", "")), start, stop)

    def put(self, url: str, data: bytes, over: str | None) -> str:
        bucket, key = split_url(url)
        edge = f"octshard-{uuid.uuid4().hex}"
        meta = f"--{edge}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--{edge}\r\nContent-Type: {BYTES}"
        body = b"".join([meta.encode(), b"\r\n\r\n", data, f"\r\n--{edge}--".encode()])
        made = self.fs.call(
            "POST",
            self._uploads(bucket),
            uploadType="multipart",
            name=key,
            ifGenerationMatch=None if over is None else over or "0",
            headers={"Content-Type": f"multipart/related; boundary={edge}"},
            data=io.BytesIO(body),
            json_out=True,
        )
        if int(made["size"]) != len(data):
            raise IncompleteRead(f"{len(data)} bytes were sent, {made['size']} stand there")
        return str(made["generation"])

    def upload(self, url: str, file: BinaryIO, size: int, again: Again) -> None:
        bucket, key = split_url(url)
        session = str(again(lambda: self._begin(bucket, key, size)))
        start = 0
        try:
            while start < size:
                file.seek(start)
                data = file.read(client.PART)
                start = again(partial(self._part, session, data, start, size))
        except BaseException:
            try_to(lambda: self.fs.call("DELETE", session))  # it would end by itself in a week
            raise

    def _begin(self, bucket: str, key: str, size: int) -> str:
        headers, _ = self.fs.call(
            "POST",
            self._uploads(bucket),
            uploadType="resumable",
            name=key,
            headers={"X-Upload-Content-Type": BYTES, "X-Upload-Content-Length": str(size)},
            json={"name": key},
        )
        return str(headers["Location"])

    def _part(self, session: str, data: bytes, start: int, size: int) -> int:
        """How many bytes stand there now; sending some of them twice does no harm."""
        span = f"bytes {start}-{start + len(data) - 1}/{size}"
        headers, reply = self.fs.call("PUT", session, headers={"Content-Range": span}, data=io.BytesIO(data))
        if reply:  # the finished object is described; until then there is nothing to say
            return size
        held = int(headers.get("Range", "0--1").split("-", 1)[1]) + 1
        if held <= start:
            raise IncompleteRead(f"bytes from {start} on were sent, {held} stand there")
        return held

    def _uploads(self, bucket: str) -> str:
        root = str(self.fs.base).removesuffix("/storage/v1/")
        return f"{root}/upload/storage/v1/b/{quote(bucket, safe='')}/o"

    def bucket(self, url: str) -> None:
        self.fs.call("GET", "b/{}/o", split_url(url)[0], maxResults=1, json_out=True)

    def account(self) -> str:
        known = self.fs.credentials.credentials
        if known is None:
            return "anonymous (no credentials found)"
        names = (getattr(known, name, None) for name in ("service_account_email", "signer_email", "account"))
        return next((str(name) for name in names if name), "the owner of the credentials found")


def gcs_filesystem(endpoint: str) -> Any:
    import aiohttp
    from gcsfs.core import GCSFileSystem  # the plain one: another asks each bucket for its layout, by gRPC

    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if endpoint:
        options |= {"token": "anon", "endpoint_url": endpoint}
    # left alone, gcsfs waits for a stalled reply for ever
    patience = aiohttp.ClientTimeout(total=None, sock_connect=client.CONNECT_S, sock_read=client.STALL_S)
    made = GCSFileSystem(requests_timeout=patience, **options)
    # its own six tries within each of ours would make 36, up to half a minute apart
    if once := getattr(type(made)._request, "__wrapped__", None):
        made._request = MethodType(once, made)
    return made
