"""What a remote store is asked: one client per scheme. The only cloud import.

A client asks, once, or fails with whatever its library raises; to try again, and to say what went wrong, is
`store`'s business. A version is an opaque text that changes whenever the object is replaced.
"""

import io
import logging
import os
import threading
import uuid
from collections.abc import Callable
from functools import cache, partial
from types import MethodType
from typing import Any, BinaryIO, NamedTuple, Protocol
from urllib.parse import quote

from octshard.fault import ShortReply, StoreError, kind_of, one_line

Again = Callable[[Callable[[], Any]], Any]  # does one request of several, with retries

PART = 2**25  # a larger object goes up in parts of so many bytes, each tried again by itself
S3_PARTS = 10_000  # S3 takes no more
CONNECT_S = 20.0
STALL_S = 60.0  # a reply that brings no byte for so long is given up
BYTES = "application/octet-stream"


class Piece(NamedTuple):
    """Bytes of an object, and of which object: how many it has in all, and its version ('' if not told)."""

    data: bytes
    size: int
    version: str


class Client(Protocol):
    """One remote store; `fs` is its fsspec filesystem, for what all of them do alike."""

    fs: Any

    def head(self, url: str) -> Piece:
        """Size and version, no bytes."""

    def get(self, url: str, start: int, stop: int | None, version: str) -> Piece:
        """Bytes [start, stop), fewer only where the object ends; only of that version, if one is named."""

    def put(self, url: str, data: bytes, over: str | None) -> str:
        """Puts an object, over anything (None), over nothing ('') or over that version; its new version."""

    def upload(self, url: str, file: BinaryIO, size: int, again: Again) -> None:
        """Puts a large object in parts; it appears with the last, and a failed upload is taken back."""

    def bucket(self, url: str) -> None:
        """FileNotFoundError if there is no such bucket."""

    def account(self) -> str:
        """As whom the store is asked, said without asking anybody."""


class Gcs(Client):
    """Google Cloud Storage by its JSON API; a version is a generation."""

    def __init__(self, fs: Any) -> None:
        self.fs = fs

    def head(self, url: str) -> Piece:
        bucket, key = places(url)
        found = self.fs.call("GET", "b/{}/o/{}", bucket, key, json_out=True)
        return Piece(b"", int(found["size"]), str(found["generation"]))

    def get(self, url: str, start: int, stop: int | None, version: str) -> Piece:
        link = self.fs.url("/".join(places(url)), generation=version or None)
        headers, data = self.fs.call("GET", link, headers=_range(start, stop))
        size = _whole(headers.get("Content-Range"), len(data))
        return _checked(Piece(data, size, headers.get("X-Goog-Generation", "")), start, stop)

    def put(self, url: str, data: bytes, over: str | None) -> str:
        bucket, key = places(url)
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
            raise ShortReply(f"{len(data)} bytes were sent, {made['size']} stand there")
        return str(made["generation"])

    def upload(self, url: str, file: BinaryIO, size: int, again: Again) -> None:
        bucket, key = places(url)
        session = str(again(lambda: self._begin(bucket, key, size)))
        start = 0
        try:
            while start < size:
                file.seek(start)
                data = file.read(PART)
                start = again(partial(self._part, session, data, start, size))
        except BaseException:
            _try_to(lambda: self.fs.call("DELETE", session))  # it would end by itself in a week
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
            raise ShortReply(f"bytes from {start} on were sent, {held} stand there")
        return held

    def _uploads(self, bucket: str) -> str:
        root = str(self.fs.base).removesuffix("/storage/v1/")
        return f"{root}/upload/storage/v1/b/{quote(bucket, safe='')}/o"

    def bucket(self, url: str) -> None:
        self.fs.call("GET", "b/{}/o", places(url)[0], maxResults=1, json_out=True)

    def account(self) -> str:
        known = self.fs.credentials.credentials
        if known is None:
            return "anonymous (no credentials found)"
        names = (getattr(known, name, None) for name in ("service_account_email", "signer_email", "account"))
        return next((str(name) for name in names if name), "the owner of the credentials found")


class S3(Client):
    """S3 and what speaks like it; a version is an ETag."""

    def __init__(self, fs: Any) -> None:
        self.fs = fs

    def head(self, url: str) -> Piece:
        found = self._call("head_object", url)
        return Piece(b"", int(found["ContentLength"]), str(found["ETag"]))

    def get(self, url: str, start: int, stop: int | None, version: str) -> Piece:
        from fsspec.asyn import sync

        bucket, key = places(url)
        wanted = {**_range(start, stop), **({"IfMatch": version} if version else {})}

        async def ask() -> tuple[Any, bytes]:
            reply = await self.fs._call_s3("get_object", Bucket=bucket, Key=key, **wanted)
            async with reply["Body"] as body:
                return reply, await body.read()

        reply, data = sync(self.fs.loop, ask)
        size = _whole(reply.get("ContentRange"), int(reply["ContentLength"]))
        return _checked(Piece(data, size, str(reply["ETag"])), start, stop)

    def put(self, url: str, data: bytes, over: str | None) -> str:
        if over is None:
            return str(self._call("put_object", url, Body=data)["ETag"])
        condition = {"IfMatch": over} if over else {"IfNoneMatch": "*"}
        mark = {"put": uuid.uuid4().hex}
        try:
            return str(self._call("put_object", url, Body=data, Metadata=mark, **condition)["ETag"])
        except OSError as error:
            # aiohttp sends a PUT again by itself if the connection breaks: our own may be in the way
            found = self._call("head_object", url) if kind_of(error) == "taken" else {}
            if found.get("Metadata") != mark:
                raise
            return str(found["ETag"])

    def upload(self, url: str, file: BinaryIO, size: int, again: Again) -> None:
        step = max(PART, -(-size // S3_PARTS))
        upload = {"UploadId": again(lambda: self._call("create_multipart_upload", url))["UploadId"]}
        parts = []
        try:
            for number in range(1, -(-size // step) + 1):
                part = {**upload, "PartNumber": number, "Body": file.read(step)}
                made = again(partial(self._call, "upload_part", url, **part))
                parts.append({"PartNumber": number, "ETag": made["ETag"]})
            whole = {**upload, "MultipartUpload": {"Parts": parts}}
            again(lambda: self._call("complete_multipart_upload", url, **whole))
        except FileNotFoundError:
            # nobody but us ends this upload: what is gone was completed, and only the reply was lost
            if not parts or again(lambda: self.head(url)).size != size:
                raise
        except BaseException:
            _try_to(lambda: self._call("abort_multipart_upload", url, **upload))
            raise

    def _call(self, verb: str, url: str, **more: Any) -> dict[str, Any]:
        bucket, key = places(url)
        return dict(self.fs.call_s3(verb, Bucket=bucket, Key=key, **more))

    def bucket(self, url: str) -> None:
        self.fs.call_s3("list_objects_v2", Bucket=places(url)[0], MaxKeys=1)

    def account(self) -> str:
        signer = getattr(getattr(self.fs, "_s3", None), "_request_signer", None)
        key = getattr(getattr(signer, "_credentials", None), "access_key", None)
        return f"access key {key}" if key else "anonymous (no credentials found)"


class Plain(Client):
    """Any other fsspec filesystem, meant for memory://; conditions hold within this process."""

    def __init__(self, fs: Any) -> None:
        self.fs = fs
        self._putting = threading.Lock()

    def head(self, url: str) -> Piece:
        info = self.fs.info(url)
        if info["type"] == "directory":
            raise FileNotFoundError(url)
        return Piece(b"", int(info["size"]), f"{info['size']} {info.get('created', '')}")

    def get(self, url: str, start: int, stop: int | None, version: str) -> Piece:
        known = self.head(url)
        if version and version != known.version:
            raise FileExistsError(url)
        return known._replace(data=bytes(self.fs.cat_file(url, start=start, end=stop)))

    def put(self, url: str, data: bytes, over: str | None) -> str:
        with self._putting:
            if over is not None and over != (self.head(url).version if self.fs.exists(url) else ""):
                raise FileExistsError(url)
            self.fs.pipe_file(url, data)
            return self.head(url).version

    def upload(self, url: str, file: BinaryIO, size: int, again: Again) -> None:
        data = file.read()
        again(lambda: self.put(url, data, None))

    def bucket(self, url: str) -> None:
        pass

    def account(self) -> str:
        return "this process"


def client(url: str) -> Client:
    """The client for a URL, one per scheme and endpoint; StoreError for a scheme that none speaks."""
    scheme = url.split("://", 1)[0].replace("gcs", "gs")
    names = {"gs": ["STORAGE_EMULATOR_HOST"], "s3": ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]}
    found = (os.environ.get(name) for name in names.get(scheme, []))
    return _client(scheme, next((name for name in found if name), ""))


def places(url: str) -> tuple[str, str]:
    """(bucket, key) of a URL."""
    bucket, _, key = url.split("://", 1)[1].partition("/")
    return bucket, key


@cache
def _client(scheme: str, endpoint: str) -> Client:
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # it would import gRPC, for nothing
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs a traceback for what we say in one line
    try:
        import fsspec

        if scheme == "gs":
            return Gcs(_gcsfs(endpoint))
        return S3(_s3fs(endpoint)) if scheme == "s3" else Plain(fsspec.filesystem(scheme))
    except ImportError as error:
        extra = {"gs": "gcs", "s3": "s3"}.get(scheme)
        advice = f'; pip install "octshard[{extra}]"' if extra else ""
        raise StoreError(f"{scheme}://: {one_line(error)}{advice}") from error
    except ValueError as error:
        wanted = "want a local path, gs://, s3:// or memory://"
        raise StoreError(f"{scheme}://: {one_line(error)}, {wanted}") from error


def _gcsfs(endpoint: str) -> Any:
    import aiohttp
    from gcsfs.core import GCSFileSystem  # the plain one: another asks each bucket for its layout, by gRPC

    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if endpoint:
        options |= {"token": "anon", "endpoint_url": endpoint}
    # left alone, gcsfs waits for a stalled reply for ever
    patience = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=STALL_S)
    made = GCSFileSystem(requests_timeout=patience, **options)
    # its own six tries within each of ours would make 36, up to half a minute apart
    if once := getattr(type(made)._request, "__wrapped__", None):
        made._request = MethodType(once, made)
    return made


def _s3fs(endpoint: str) -> Any:
    from s3fs import S3FileSystem

    options = {"use_listings_cache": False, "skip_instance_cache": True, "endpoint_url": endpoint or None}
    patience = {"connect_timeout": CONNECT_S, "read_timeout": STALL_S}
    made = S3FileSystem(config_kwargs={"retries": {"total_max_attempts": 1}, **patience}, **options)
    made.retries = 1  # as for gcsfs
    return made


def _range(start: int, stop: int | None) -> dict[str, str]:
    return {} if stop is None else {"Range": f"bytes={start}-{stop - 1}"}


def _whole(content_range: str | None, otherwise: int) -> int:
    """How many bytes the object has: `bytes 0-4/10` says 10."""
    return int(content_range.rsplit("/", 1)[1]) if content_range else otherwise


def _checked(piece: Piece, start: int, stop: int | None) -> Piece:
    wanted = max(0, min(piece.size, piece.size if stop is None else stop) - start)
    if len(piece.data) != wanted:
        raise ShortReply(f"{wanted} bytes from {start} on were promised, {len(piece.data)} came")
    return piece


def _try_to(act: Callable[[], Any]) -> None:
    """Tidies up after a failure, without hiding it behind another."""
    try:
        act()
    except Exception as error:  # cloud clients raise kinds of their own
        logging.getLogger(__name__).debug("an unfinished upload stays: %s", one_line(error))
