"""Any other fsspec filesystem, meant for memory://."""

import threading
from typing import Any, BinaryIO

from octshard.storage.client import Again, Blob, Client


class FsspecClient(Client):
    """Any other fsspec filesystem, meant for memory://; conditions hold within this process."""

    def __init__(self, fs: Any) -> None:
        self.fs = fs
        self._putting = threading.Lock()

    def head(self, url: str) -> Blob:
        info = self.fs.info(url)
        if info["type"] == "directory":
            raise FileNotFoundError(url)
        return Blob(b"", int(info["size"]), f"{info['size']} {info.get('created', '')}")

    def get(self, url: str, start: int, stop: int | None, version: str) -> Blob:
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
