"""Amazon S3 and stores with the same protocol, through s3fs; the only s3fs import."""

import re
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any, BinaryIO

from octshard.storage import client, transport
from octshard.storage.client import (
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
from octshard.storage.errors import classify

MAX_PARTS = 10_000  # of one upload, a limit of S3
MD5_ETAG = re.compile(r'"?([0-9a-f]{32})"?')  # of an object that was put whole; one put in parts has a dash


class S3(Client):
    """S3 and stores with the same protocol; a version is an ETag."""

    def __init__(self, fs: Any) -> None:
        self.fs = fs

    def head(self, url: str) -> Blob:
        reply = self._call("head_object", url)
        return Blob(b"", int(reply["ContentLength"]), str(reply["ETag"]), _told_checksum(reply))

    def get(self, url: str, start: int, stop: int | None, version: str) -> Blob:
        bucket, key = split_url(url)
        conditions = {**range_header(start, stop), **({"IfMatch": version} if version else {})}

        async def fetch() -> tuple[Any, bytes]:
            reply = await self.fs._call_s3("get_object", Bucket=bucket, Key=key, **conditions)
            async with reply["Body"] as body:
                return reply, await body.read()

        reply, data = transport.wait(self.fs.loop, fetch)
        size = object_size(reply.get("ContentRange"), int(reply["ContentLength"]))
        return check(Blob(data, size, str(reply["ETag"]), _told_checksum(reply)), start, stop)

    def put(self, url: str, data: bytes, if_version: str | None) -> str:
        if if_version is None:
            return str(self._call("put_object", url, Body=data)["ETag"])
        condition = {"IfMatch": if_version} if if_version else {"IfNoneMatch": "*"}
        marker = {"put": uuid.uuid4().hex}
        try:
            return str(self._call("put_object", url, Body=data, Metadata=marker, **condition)["ETag"])
        except OSError as error:
            # aiohttp repeats a PUT if the connection breaks: the object there may be our own
            current = self._call("head_object", url) if classify(error) == "failed_precondition" else {}
            if current.get("Metadata") != marker:
                raise
            return str(current["ETag"])

    def upload(self, url: str, file: BinaryIO, size: int, retry: Retry) -> None:
        part_size = max(client.PART, -(-size // MAX_PARTS))
        upload = {"UploadId": retry(lambda: self._call("create_multipart_upload", url))["UploadId"]}
        parts = []
        try:
            for number in range(1, -(-size // part_size) + 1):
                part = {**upload, "PartNumber": number, "Body": file.read(part_size)}
                reply = retry(partial(self._call, "upload_part", url, **part))
                parts.append({"PartNumber": number, "ETag": reply["ETag"]})
            whole = {**upload, "MultipartUpload": {"Parts": parts}}
            retry(lambda: self._call("complete_multipart_upload", url, **whole))
        except FileNotFoundError:
            # no other process ends this upload: it was completed, and only the reply was lost
            if not parts or retry(lambda: self.head(url)).size != size:
                raise
        except BaseException:
            best_effort(lambda: self._call("abort_multipart_upload", url, **upload))
            raise

    def _call(self, verb: str, url: str, **arguments: Any) -> dict[str, Any]:
        bucket, key = split_url(url)
        return dict(call(self.fs, "call_s3", verb, Bucket=bucket, Key=key, **arguments))

    def bucket(self, url: str) -> None:
        call(self.fs, "call_s3", "list_objects_v2", Bucket=split_url(url)[0], MaxKeys=1)

    def account(self) -> str:
        signer = getattr(getattr(self.fs, "_s3", None), "_request_signer", None)
        key = getattr(getattr(signer, "_credentials", None), "access_key", None)
        return f"access key {key}" if key else "anonymous (no credentials found)"


def _told_checksum(reply: Mapping[str, Any]) -> str:
    """The MD5 of the whole object, where the ETag is one: not where the store encrypts with a named key."""
    own_key = reply.get("SSECustomerAlgorithm") or reply.get("ServerSideEncryption", "AES256") != "AES256"
    etag = MD5_ETAG.fullmatch(str(reply["ETag"]))
    return f"md5:{etag[1]}" if etag and not own_key and not reply.get("ContentEncoding") else ""


def s3_filesystem(endpoint: str) -> Any:
    """The s3fs filesystem, with timeouts and without retries; `endpoint`: another store's URL, or empty."""
    from s3fs import S3FileSystem

    options = {"use_listings_cache": False, "skip_instance_cache": True, "endpoint_url": endpoint or None}
    timeouts = {"connect_timeout": client.CONNECT_S, "read_timeout": client.STALL_S}
    filesystem = S3FileSystem(config_kwargs={"retries": {"total_max_attempts": 1}, **timeouts}, **options)
    filesystem.retries = 1  # `remote` retries
    return filesystem
