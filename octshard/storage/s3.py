"""Amazon S3 and what speaks its protocol, through s3fs; the only s3fs import."""

import uuid
from functools import partial
from typing import Any, BinaryIO

from octshard.storage import client
from octshard.storage.client import (
    Again,
    Blob,
    Client,
    check_size,
    object_size,
    range_header,
    split_url,
    try_to,
)
from octshard.storage.errors import classify

S3_PARTS = 10_000  # S3 takes no more


class S3(Client):
    """S3 and what speaks like it; a version is an ETag."""

    def __init__(self, fs: Any) -> None:
        self.fs = fs

    def head(self, url: str) -> Blob:
        found = self._call("head_object", url)
        return Blob(b"", int(found["ContentLength"]), str(found["ETag"]))

    def get(self, url: str, start: int, stop: int | None, version: str) -> Blob:
        from fsspec.asyn import sync

        bucket, key = split_url(url)
        wanted = {**range_header(start, stop), **({"IfMatch": version} if version else {})}

        async def ask() -> tuple[Any, bytes]:
            reply = await self.fs._call_s3("get_object", Bucket=bucket, Key=key, **wanted)
            async with reply["Body"] as body:
                return reply, await body.read()

        reply, data = sync(self.fs.loop, ask)
        size = object_size(reply.get("ContentRange"), int(reply["ContentLength"]))
        return check_size(Blob(data, size, str(reply["ETag"])), start, stop)

    def put(self, url: str, data: bytes, over: str | None) -> str:
        if over is None:
            return str(self._call("put_object", url, Body=data)["ETag"])
        condition = {"IfMatch": over} if over else {"IfNoneMatch": "*"}
        mark = {"put": uuid.uuid4().hex}
        try:
            return str(self._call("put_object", url, Body=data, Metadata=mark, **condition)["ETag"])
        except OSError as error:
            # aiohttp sends a PUT again by itself if the connection breaks: our own may be in the way
            found = self._call("head_object", url) if classify(error) == "failed_precondition" else {}
            if found.get("Metadata") != mark:
                raise
            return str(found["ETag"])

    def upload(self, url: str, file: BinaryIO, size: int, again: Again) -> None:
        step = max(client.PART, -(-size // S3_PARTS))
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
            try_to(lambda: self._call("abort_multipart_upload", url, **upload))
            raise

    def _call(self, verb: str, url: str, **more: Any) -> dict[str, Any]:
        bucket, key = split_url(url)
        return dict(self.fs.call_s3(verb, Bucket=bucket, Key=key, **more))

    def bucket(self, url: str) -> None:
        self.fs.call_s3("list_objects_v2", Bucket=split_url(url)[0], MaxKeys=1)

    def account(self) -> str:
        signer = getattr(getattr(self.fs, "_s3", None), "_request_signer", None)
        key = getattr(getattr(signer, "_credentials", None), "access_key", None)
        return f"access key {key}" if key else "anonymous (no credentials found)"


def s3_filesystem(endpoint: str) -> Any:
    from s3fs import S3FileSystem

    options = {"use_listings_cache": False, "skip_instance_cache": True, "endpoint_url": endpoint or None}
    patience = {"connect_timeout": client.CONNECT_S, "read_timeout": client.STALL_S}
    made = S3FileSystem(config_kwargs={"retries": {"total_max_attempts": 1}, **patience}, **options)
    made.retries = 1  # as for gcsfs
    return made
