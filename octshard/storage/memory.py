"""Any other fsspec filesystem, meant for memory://."""

import threading
from typing import Any, BinaryIO

from octshard.storage.client import Blob, Client, Retry


class FsspecClient(Client):
    """Any other fsspec filesystem, meant for memory://; if_version holds within this process."""

    def __init__(self, fs: Any) -> None:
        self.fs = fs
        self._put_lock = threading.Lock()

    def head(self, url: str) -> Blob:
        info = self.fs.info(url)
        if info["type"] == "directory":
            raise FileNotFoundError(url)
        return Blob(b"", int(info["size"]), f"{info['size']} {info.get('created', '')}")

    def get(self, url: str, start: int, stop: int | None, version: str) -> Blob:
        blob = self.head(url)
        if version and version != blob.version:
            raise FileExistsError(url)
        return blob._replace(data=bytes(self.fs.cat_file(url, start=start, end=stop)))

    def put(self, url: str, data: bytes, if_version: str | None) -> str:
        with self._put_lock:
            if if_version is not None and if_version != (
                self.head(url).version if self.fs.exists(url) else ""
            ):
                raise FileExistsError(url)
            self.fs.pipe_file(url, data)
            return self.head(url).version

    def upload(self, url: str, file: BinaryIO, size: int, retry: Retry) -> None:
        data = file.read()
        retry(lambda: self.put(url, data, None))

    def bucket(self, url: str) -> None:
        pass

    def account(self) -> str:
        return "this process"
